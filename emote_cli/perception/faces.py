"""Faces in pictures: MediaPipe's landmarker, and the geometry of its boxes and poses. No torch."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from emote_cli.errors import WeightsError
from emote_cli.types import Box, Face, Pixels

CROP_EXPAND = 1.7
"""Side of the square crop over the longer side of the face box."""

WIDE_FACTOR = 1.6
"""Sides of the wide face region over those of the tight one."""

N_LANDMARKS = 478

FaceRegion = Literal["tight", "wide", "full"]

_LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409]
_NOSE_TIP = 1

_SAME_FACE = 0.3
"""Overlap from which on two boxes are one face, seen in two tiles."""

_SMALLEST_TILE = 64
"""Pixels; smaller squares are not searched any further."""


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep what C++ libraries write to file descriptor 2 off the user's terminal."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as sink:
            os.dup2(sink.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


class FaceAnalyzer:
    """MediaPipe's face landmarker; use it as a context manager.

    Args:
        model_path: the `face_landmarker.task` file.
        max_faces: how many faces to look for; with 1 MediaPipe picks one, not the largest.
        video: track from picture to picture (smoother, faster); the pictures must then follow in time.

    Raises:
        WeightsError: the model file is missing or damaged.
    """

    def __init__(self, model_path: Path, max_faces: int = 5, video: bool = False) -> None:
        if not Path(model_path).is_file():
            raise WeightsError(f"the face model {model_path} is missing", hint="reinstall emote-cli")
        os.environ.setdefault("GLOG_minloglevel", "2")
        self.video = video
        self._next_ms = 0
        with _quiet_stderr():
            self._landmarker = self._load(Path(model_path), max_faces)
            # The first picture makes MediaPipe talk on stderr.
            self._detect(np.zeros((64, 64, 3), np.uint8), 0)
        self._next_ms = 1

    def _load(self, model_path: Path, max_faces: int) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        mode = vision.RunningMode.VIDEO if self.video else vision.RunningMode.IMAGE
        try:
            return vision.FaceLandmarker.create_from_options(
                vision.FaceLandmarkerOptions(
                    base_options=BaseOptions(model_asset_buffer=model_path.read_bytes()),
                    running_mode=mode,
                    num_faces=max_faces,
                    output_face_blendshapes=True,
                    output_facial_transformation_matrixes=True,
                )
            )
        except (RuntimeError, ValueError) as error:
            raise WeightsError(
                f"the face model {model_path} could not be loaded: {error}", hint="reinstall emote-cli"
            ) from error

    def __enter__(self) -> FaceAnalyzer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._landmarker.close()

    def analyze(self, rgb: Pixels, timestamp_ms: int | None = None) -> list[Face]:
        """All faces of a picture, largest first; an empty list if there is none.

        MediaPipe overlooks faces below a tenth of the picture's width. Where it finds none in a still,
        the picture is searched again in overlapping squares.

        Args:
            rgb: uint8 [height, width, 3].
            timestamp_ms: in video mode, the time of the picture; raised where needed to keep times ascending.
                None counts on by 40 ms.
        """
        if not self.video:
            return self._analyze_picture(rgb)
        when = self._next_ms if timestamp_ms is None else max(timestamp_ms, self._next_ms)
        self._next_ms = when + (40 if timestamp_ms is None else 1)
        return _largest_first(self._faces(rgb, when))

    def _analyze_picture(self, rgb: Pixels) -> list[Face]:
        height, width = rgb.shape[:2]
        for side in (max(height, width), min(height, width), min(height, width) // 2):
            found: list[Face] = []
            for x, y in _tiles(width, height, side):
                for face in self._faces(rgb[y : y + side, x : x + side], 0):
                    moved = to_crop(face, Box(-x, -y, side - x, side - y), side)
                    if all(overlap(moved.box_px, other.box_px) < _SAME_FACE for other in found):
                        found.append(moved)
            if found or side < _SMALLEST_TILE:
                return _largest_first(found)
        return []

    def _faces(self, rgb: Pixels, when: int) -> list[Face]:
        result = self._detect(rgb, when)
        height, width = rgb.shape[:2]
        return [
            _to_face(landmarks, shapes, matrix, width, height)
            for landmarks, shapes, matrix in zip(
                result.face_landmarks,
                result.face_blendshapes,
                result.facial_transformation_matrixes,
                strict=True,
            )
        ]

    def _detect(self, rgb: Pixels, when: int) -> Any:
        import mediapipe

        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        return (
            self._landmarker.detect_for_video(image, when) if self.video else self._landmarker.detect(image)
        )


def _largest_first(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: -face.box_px.area)


def _tiles(width: int, height: int, side: int) -> list[tuple[int, int]]:
    """Upper left corners of squares that cover a picture and overlap by half."""

    def starts(length: int) -> list[int]:
        room = max(0, length - side)
        count = -(-2 * room // side) + 1
        return [room * i // max(1, count - 1) for i in range(count)]

    return [(x, y) for y in starts(height) for x in starts(width)]


def _to_face(landmarks: Any, shapes: Any, matrix: Any, width: int, height: int) -> Face:
    points = np.array([(p.x * width, p.y * height, p.z * width) for p in landmarks], np.float32)
    return Face(
        box_px=face_box(points),
        landmarks_px=points,
        pose_4x4=np.asarray(matrix, np.float32).reshape(4, 4),
        blendshapes={shape.category_name: float(shape.score) for shape in shapes},
    )


# ------------------------------------------------------------------------------------------------ pose


def rotation(pose: Float[np.ndarray, "*batch rows columns"]) -> Float[np.ndarray, "*batch 3 3"]:
    """The nearest pure rotations to the upper left 3x3 of poses (which also scale)."""
    u, _, vt = np.linalg.svd(np.asarray(pose, np.float64)[..., :3, :3])
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[..., None]
    return np.asarray(u @ vt)


def euler_deg(pose_4x4: Float[np.ndarray, "4 4"]) -> tuple[float, float, float]:
    """Pitch, yaw and roll in degrees.

    Pitch is positive with the nose down, yaw with the nose to the right of the picture, roll when the head
    leans counter-clockwise in the picture.
    """
    r = rotation(pose_4x4)
    pitch = np.arcsin(np.clip(-r[1, 2], -1, 1))
    yaw, roll = np.arctan2(r[0, 2], r[2, 2]), np.arctan2(r[1, 0], r[1, 1])
    return float(np.degrees(pitch)), float(np.degrees(yaw)), float(np.degrees(roll))


# -------------------------------------------------------------------------------------- boxes and regions


def face_box(landmarks_px: Float[np.ndarray, "points 3"]) -> Box:
    """The smallest box around landmarks."""
    (x0, y0), (x1, y1) = landmarks_px[:, :2].min(axis=0), landmarks_px[:, :2].max(axis=0)
    return Box(float(x0), float(y0), float(x1), float(y1))


def mouth_box(landmarks_px: Float[np.ndarray, "478 3"]) -> Box:
    """The smallest box around the outer lips."""
    return face_box(landmarks_px[_LIPS])


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    both = max(width, 0.0) * max(height, 0.0)
    return both / max(a.area + b.area - both, 1e-9)


def union_box(boxes_px: Float[np.ndarray, "boxes 4"]) -> Box:
    """The smallest box around all boxes; rows with NaN do not count.

    Raises:
        ValueError: no row is without NaN.
    """
    good = boxes_px[~np.isnan(boxes_px).any(axis=1)]
    if len(good) == 0:
        raise ValueError("there is no box to unite")
    return Box(*(float(v) for v in (*good[:, :2].min(axis=0), *good[:, 2:].max(axis=0))))


def crop_square(box: Box, image_width: int, image_height: int, expand: float = CROP_EXPAND) -> Box:
    """The square to crop around a face: `expand` times the longer side of its box, in whole pixels.

    It is shifted into the picture; only what cannot fit stays outside, and is padded when cropping.
    """
    side = max(round(max(box.width, box.height) * expand), 2)
    x0 = _shifted_inside(box.center[0] - side / 2, side, image_width)
    y0 = _shifted_inside(box.center[1] - side / 2, side, image_height)
    return Box(x0, y0, x0 + side, y0 + side)


def _shifted_inside(start: float, side: int, length: int) -> float:
    low, high = min(0, length - side), max(0, length - side)
    return float(min(max(round(start), low), high))


def region_mask(box: Box, size: int, face_region: FaceRegion = "tight") -> Float[np.ndarray, "1 size size"]:
    """Where the face may be, as 0 and 1.

    Args:
        box: the face (or the union of its boxes), in pixels of the square picture.
        size: side of that picture.
        face_region: `tight` is the box, `wide` 1.6 times its sides, `full` the whole picture.
    """
    mask = np.zeros((1, size, size), np.float32)
    if face_region == "full":
        return mask + 1
    area = box if face_region == "tight" else box.scaled(WIDE_FACTOR)
    x0, y0, x1, y1 = (min(max(round(v), 0), size) for v in (area.x0, area.y0, area.x1, area.y1))
    mask[:, y0:y1, x0:x1] = 1
    return mask


# ----------------------------------------------------------------------------------------- coordinates


def box_to_crop(box: Box, crop_px: Box, size: int) -> Box:
    """A box of the picture, in pixels of the square `crop_px` scaled to `size`."""
    k = size / crop_px.width
    return Box(
        *(
            (v - o) * k
            for v, o in zip((box.x0, box.y0, box.x1, box.y1), (crop_px.x0, crop_px.y0) * 2, strict=True)
        )
    )


def to_crop(face: Face, crop_px: Box, size: int) -> Face:
    """The same face in pixels of the square `crop_px` scaled to `size`; the pose stays the camera's."""
    points = points_to_crop(face.landmarks_px, crop_px, size)
    return Face(box_to_crop(face.box_px, crop_px, size), points, face.pose_4x4, face.blendshapes)


def points_to_crop(
    points_px: Float[np.ndarray, "*points 3"], crop_px: Box, size: int
) -> Float[np.ndarray, "*points 3"]:
    """Landmarks of the picture, in pixels of the square `crop_px` scaled to `size`."""
    origin = np.array([crop_px.x0, crop_px.y0, 0], np.float64)
    return ((points_px - origin) * (size / crop_px.width)).astype(np.float32)


def draw_pose_axes(pixels: Pixels, face: Face) -> Pixels:
    """A copy of the picture with the head's axes at the nose: x red, y green, z (out of the face) blue."""
    import cv2

    drawn = pixels.copy()
    r = rotation(face.pose_4x4)
    length = max(face.box_px.width, face.box_px.height) / 2
    start = face.landmarks_px[_NOSE_TIP, :2]
    for axis, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        end = start + np.array([r[0, axis], -r[1, axis]]) * length
        ends = [(round(float(x)), round(float(y))) for x, y in (start, end)]
        cv2.line(drawn, ends[0], ends[1], color, max(1, round(length / 30)), cv2.LINE_AA)
    return drawn
