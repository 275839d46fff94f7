"""Who a face is: SCRFD finds five points in it, a similarity brings them to their places, ArcFace reads it.

What Hallo's weights are used with, in the order and with the constants of that lineage of networks, written
anew for onnxruntime. On stand-in networks it meets the original programs' stored numbers (`tests/golden`). No torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from emote_cli.errors import WeightsError
from emote_cli.perception.onnx import open_session
from emote_cli.types import Box, Pixels

DETECTOR, EMBEDDER = "scrfd_10g_bnkps.onnx", "glintr100.onnx"
HINT = "emote download hallo --accept-licence"

FACE_SIDE = 112
"""ArcFace sees faces of this size in pixels."""
PLACES = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where it expects the eyes, the tip of the nose and the corners of the mouth (x, y; left in the picture first)."""

_DETECTOR_SIDE = 640
_STRIDES = (8, 16, 32)
_PER_CELL = 2
_LEAST_SCORE = 0.5
_SAME_FACE = 0.4

Points = Float[np.ndarray, "5 2"]


@dataclass(frozen=True, slots=True)
class Detection:
    """One face as SCRFD sees it.

    Attributes:
        box: in pixels of the picture.
        points: eyes, nose, corners of the mouth in pixels of the picture.
        score: 0..1.
    """

    box: Box
    points: Points
    score: float


class IdentityReader:
    """Both networks, loaded.

    Args:
        folder: holds `DETECTOR` and `EMBEDDER`.

    Raises:
        WeightsError: a file is missing, damaged or another network.
    """

    def __init__(self, folder: Path) -> None:
        self.detector = open_session(folder / DETECTOR, HINT)
        self.embedder = open_session(folder / EMBEDDER, HINT)
        if len(self.detector.get_outputs()) != 3 * len(_STRIDES):
            raise WeightsError(
                f"{folder / DETECTOR} has {len(self.detector.get_outputs())} outputs, SCRFD with points has 9",
                hint=HINT,
            )

    def detect(self, pixels: Pixels) -> list[Detection]:
        """Find all faces of a picture, the surest first."""
        canvas, scale = fit(pixels, _DETECTOR_SIDE)
        name = self.detector.get_inputs()[0].name
        outputs = self.detector.run(None, {name: to_blob(canvas, 128.0)})
        found = [
            detection
            for level, stride in enumerate(_STRIDES)
            for detection in _decode(outputs[level], outputs[level + 3], outputs[level + 6], stride, scale)
        ]
        return without_repeats(found)

    def embed(self, pixels: Pixels, points: Points) -> Float[np.ndarray, " embedding"]:
        """Compute the embedding of one face, not normalized."""
        face = align(pixels, points)
        name = self.embedder.get_inputs()[0].name
        out = self.embedder.run(None, {name: to_blob(face, 127.5)})[0]
        return np.asarray(out, np.float32).reshape(-1)

    @staticmethod
    def check(embedding: Float[np.ndarray, " embedding"], length: int) -> None:
        """Raise WeightsError unless an embedding has the length that the model takes."""
        if len(embedding) != length:
            raise WeightsError(
                f"{EMBEDDER} gives {len(embedding)} numbers, the model takes {length}", hint=HINT
            )


def fit(pixels: Pixels, side: int) -> tuple[UInt8[np.ndarray, "{side} {side} 3"], float]:
    """Fit a picture into the top left of a black square, and tell by how much it was scaled."""
    height, width = pixels.shape[:2]
    if height > width:
        new_height, new_width = side, int(side * width / height)
    else:
        new_height, new_width = int(side * height / width), side
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[:new_height, :new_width] = cv2.resize(pixels, (max(new_width, 1), max(new_height, 1)))
    return canvas, new_height / height


def to_blob(pixels: Pixels, spread: float) -> Float[np.ndarray, "1 3 height width"]:
    """Bring bytes to (x - 127.5) / spread, channels first."""
    scaled = (pixels.astype(np.float32) - 127.5) / np.float32(spread)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def _decode(
    scores: Float[np.ndarray, "... 1"],
    edges: Float[np.ndarray, "... 4"],
    points: Float[np.ndarray, "... 10"],
    stride: int,
    scale: float,
) -> list[Detection]:
    """One level's outputs, two guesses per cell: distances from the cell's corner, in strides."""
    scores, edges, points = scores.reshape(-1), edges.reshape(-1, 4), points.reshape(-1, 5, 2)
    cells = _DETECTOR_SIDE // stride
    found = []
    for index in np.flatnonzero(scores >= _LEAST_SCORE):
        row, column = divmod(int(index) // _PER_CELL, cells)
        corner = np.array([column, row]) * float(stride)
        low, high = corner - edges[index, :2] * stride, corner + edges[index, 2:] * stride
        box = Box(*(float(value) / scale for value in (*low, *high)))
        found.append(Detection(box, (corner + points[index] * stride) / scale, float(scores[index])))
    return found


def without_repeats(found: list[Detection]) -> list[Detection]:
    """Of detections that overlap much (intersection over union above 0.4) only the surest, the surest first.

    Boxes are of pixels, both edges included, as the original counts them.
    """
    ordered = sorted(found, key=lambda detection: -detection.score)
    edges = np.array([(one.box.x0, one.box.y0, one.box.x1, one.box.y1) for one in ordered]).reshape(-1, 4)
    areas = (edges[:, 2:] - edges[:, :2] + 1).prod(1)
    kept, left = [], np.arange(len(ordered))
    while len(left):
        first, rest = left[0], left[1:]
        kept.append(ordered[first])
        low, high = (
            np.maximum(edges[rest, :2], edges[first, :2]),
            np.minimum(edges[rest, 2:], edges[first, 2:]),
        )
        both = (high - low + 1).clip(min=0).prod(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            left = rest[both / (areas[rest] + areas[first] - both) <= _SAME_FACE]
    return kept


def similarity(points: Points, places: Points = PLACES) -> Float[np.ndarray, "2 3"]:
    """Find the turn, scale and shift that bring points closest to their places, by least squares.

    As a complex number, a turn and scale is one factor: with both sets centered, the best one is
    <points, places> / <points, points>.
    """
    here, there = (side[:, 0] + 1j * side[:, 1] for side in (points.astype(float), places.astype(float)))
    factor = np.vdot(here - here.mean(), there - there.mean()) / np.vdot(
        here - here.mean(), here - here.mean()
    )
    shift = there.mean() - factor * here.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def align(pixels: Pixels, points: Points) -> UInt8[np.ndarray, "112 112 3"]:
    """Bring a face to ArcFace's size, its five points to their places; black beyond the picture."""
    return np.asarray(cv2.warpAffine(pixels, similarity(points), (FACE_SIDE, FACE_SIDE)), np.uint8)


def choose(found: list[Detection], near: Box) -> Detection | None:
    """Choose the largest detection whose center lies in a box; None where there is none."""
    inside = [
        one
        for one in found
        if near.x0 <= one.box.center[0] < near.x1 and near.y0 <= one.box.center[1] < near.y1
    ]
    return max(inside, key=lambda one: one.box.area, default=None)
