"""The face as a mesh of MediaPipe's landmarks, and the picture field of a mesh that moves. No torch.

The mesh has the 468 points of the face's surface, a ring of hair and neck around them that follows the head, and a
rim that stands still. Its triangles are the same for every face. A portrait is warped by moving the mesh's points:
each pixel of the frame looks up the place in the portrait that its triangle came from.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import Complex64, Float, Int, UInt8

from emote_cli.perception.landmarks import (
    INNER_LIPS,
    LID_EDGES,
    LOWER_INNER_LIP,
    OVAL,
    SKULL,
    UPPER_INNER_LIP,
)
from emote_cli.types import Pixels

N_SURFACE = 468
"""Landmarks of the surface; the ten behind them are the irises."""
RING, RIM = 1.35, 2.0
"""How far ring and rim are from the middle of the face, over the outline's distance."""
RING_FOLLOWS = 0.8
"""How much of the head's motion the ring makes."""
SLIVER = 5
"""Pixels: where the mesh folds over itself, triangles thinner than half of it are not seen."""
LASHES = 0.06
"""How far above MediaPipe's edge of the upper lid the lashes begin, over the eye's width."""
_SHIFT = 4
"""Binary digits behind the point in OpenCV's polygons."""
_LEAST_AREA, _STEEPEST = 1e-3, 8
"""Triangles that are seen edge-on would be enlarged without end."""

Points = Float[np.ndarray, "points 2"]


def _strip(upper: tuple[int, ...], lower: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Triangles between two edges that share their ends."""
    triangles = []
    for k in range(len(upper) - 1):
        a, b, c, d = upper[k], upper[k + 1], lower[k], lower[k + 1]
        triangles += [(a, b, c)] if a != c else []
        triangles += [(b, d, c)] if b != d else []
    return [t for t in triangles if len(set(t)) == 3]


@cache
def triangles() -> Int[np.ndarray, "triangles 3"]:
    """List the corners of every triangle, those in front last: 0 ... 467 is the surface, then ring and rim."""
    from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarksConnections

    edges: Any = FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION
    face = [tuple(edges[k + j].start for j in range(3)) for k in range(0, len(edges), 3)]
    n = len(OVAL)
    ring, rim = N_SURFACE, N_SURFACE + n
    loops = [OVAL, range(ring, ring + n), range(rim, rim + n)]
    outside = []
    for inner, outer in ((loops[1], loops[2]), (loops[0], loops[1])):
        for k in range(n):
            j = (k + 1) % n
            outside += [(inner[k], inner[j], outer[k]), (inner[j], outer[j], outer[k])]
    holes = _strip(UPPER_INNER_LIP, LOWER_INNER_LIP)
    for upper, lower in LID_EDGES:
        holes += _strip(upper, lower)
    return np.array([*outside, *face, *holes], np.int32)


def similarity(start: Points, end: Points) -> Float[np.ndarray, "2 3"]:
    """Find the turn, scale and shift that bring some points nearest to others, by least squares."""
    a, b = start.mean(0), end.mean(0)
    p, q = (start - a).astype(np.float64), (end - b).astype(np.float64)
    size = max(float((p**2).sum()), 1e-9)
    cos, sin = float((p * q).sum()) / size, float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()) / size
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.concatenate([turn, (b - turn @ a)[:, None]], 1)


def mesh_points(points: Points, rest: Points) -> Float[np.ndarray, "vertices 2"]:
    """Find all points of the mesh in a frame.

    Args:
        points: the frame's landmarks, in pixels.
        rest: the portrait's; ring and rim lie around them, and the ring follows the head.
    """
    surface, oval = rest[:N_SURFACE], rest[list(OVAL)]
    middle = oval.mean(0)
    ring, rim = (middle + (oval - middle) * far for far in (RING, RIM))
    skull = list(SKULL)
    turn = similarity(rest[skull], points[skull])
    moved = ring @ turn[:, :2].T + turn[:, 2]
    return np.concatenate([points[: len(surface)], ring + RING_FOLLOWS * (moved - ring), rim]).astype(
        np.float32
    )


def warp_field(points: Points, rest: Points, width: int, height: int) -> Float[np.ndarray, "height width 2"]:
    """Compute where each pixel of a frame comes from: x, y in the portrait, in pixels.

    Args:
        points: the frame's landmarks, in pixels.
        rest: the portrait's.
        width: of both pictures.
        height: of both pictures.
    """
    return places(width, height) + warp_shift(points, rest, width, height)


def warp_shift(points: Points, rest: Points, width: int, height: int) -> Float[np.ndarray, "height width 2"]:
    """Compute how far each pixel comes from its own place; see `warp_field`."""
    points, rest = (lift_lids(each, rest) for each in (points, rest))
    moved, still = mesh_points(points, rest)[triangles()], mesh_points(rest, rest)[triangles()]
    low, high = moved.min(1), moved.max(1)
    in_sight = (low < (width, height)).all(1) & (high > -1).all(1)
    moved, still = moved[in_sight], still[in_sight]
    owner = np.full((height, width), len(moved), np.int32)
    polygons = np.round(moved * (1 << _SHIFT)).astype(np.int32)
    for number, polygon in enumerate(polygons):
        cv2.fillConvexPoly(owner, polygon, number, cv2.LINE_8, _SHIFT)
    by_x, by_y, constant = _shift_maps(moved.astype(np.float64), still.astype(np.float64))
    owners = owner.astype(np.intp)
    shift = by_x.take(owners) * np.arange(width, dtype=np.float32)
    shift += by_y.take(owners) * np.arange(height, dtype=np.float32)[:, None]
    shift += constant.take(owners)
    return np.asarray(cv2.medianBlur(shift.view(np.float32).reshape(height, width, 2), SLIVER))


def lift_lids(points: Points, rest: Points) -> Points:
    """Take the upper lids' edges where the lashes begin: MediaPipe's lie a little lower, on the eye."""
    lifted = points.astype(np.float32)
    for upper, lower in LID_EDGES:
        inner = list(upper[1:-1])
        up = (rest[inner] - rest[list(lower[1:-1])]).mean(0)
        width = float(np.linalg.norm(rest[upper[-1]] - rest[upper[0]]))
        lifted[inner] += LASHES * width * up / max(float(np.linalg.norm(up)), 1e-3)
    return lifted


@lru_cache(maxsize=8)
def places(width: int, height: int) -> Float[np.ndarray, "height width 2"]:
    """Make the field that moves nothing: each pixel's own x and y. Do not write to it."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    field = np.stack([x, y], -1)
    field.flags.writeable = False
    return field


def _shift_maps(
    moved: Float[np.ndarray, "triangles 3 2"], still: Float[np.ndarray, "triangles 3 2"]
) -> tuple[Complex64[np.ndarray, " maps"], Complex64[np.ndarray, " maps"], Complex64[np.ndarray, " maps"]]:
    """For each triangle the affine map from its frame to the way to the portrait, as complex numbers x + iy.

    The last one is for what no triangle covers.

    Returns:
        What a step in x adds, what a step in y adds, the way at the origin.
    """
    (ax, ay), (bx, by) = ((moved[:, k] - moved[:, 0]).T for k in (1, 2))
    p, q = ((still[:, k] - still[:, 0]).T for k in (1, 2))
    area = ax * by - bx * ay
    area = np.where(np.abs(area) < _LEAST_AREA, np.copysign(_LEAST_AREA, area), area)
    by_x = np.clip((p * by - q * ay) / area, -_STEEPEST, _STEEPEST)
    by_y = np.clip((q * ax - p * bx) / area, -_STEEPEST, _STEEPEST)
    x, y = moved.mean(1).T
    constant = still.mean(1).T - by_x * x - by_y * y
    by_x[0] -= 1
    by_y[1] -= 1
    way, down, start = (np.append(v[0] + 1j * v[1], 0).astype(np.complex64) for v in (by_x, by_y, constant))
    return way, down, start


def fill_mouth(points: Points, width: int, height: int) -> UInt8[np.ndarray, "height width"]:
    """Draw the opening between the lips: 255 inside, 0 outside, with soft edges.

    Args:
        points: landmarks of the face in pixels.
        width: of the picture in pixels.
        height: of the picture.
    """
    mask = np.zeros((height, width), np.uint8)
    polygon = np.round(points[list(INNER_LIPS)] * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [polygon], 255, cv2.LINE_AA, _SHIFT)
    return mask


def warp(picture: Pixels, field: Float[np.ndarray, "height width 2"]) -> Pixels:
    """Look up a picture at the places of a field."""
    return np.asarray(cv2.remap(picture, field, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))
