"""The geometry of faces: poses, boxes, regions, and coordinates of crops. No torch."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from emote_cli.perception.landmarks import LIPS, LOWER_LIP, NOSE_TIP, UPPER_LIP
from emote_cli.types import Box, Face, Pixels

CROP_EXPAND = 1.7
"""Side of the square crop over the longer side of the face box."""


# ------------------------------------------------------------------------------------------------ pose


def rotation(pose: Float[np.ndarray, "*batch rows columns"]) -> Float[np.ndarray, "*batch 3 3"]:
    """Find the nearest pure rotations to the upper left 3x3 of poses (which also scale)."""
    u, _, vt = np.linalg.svd(np.asarray(pose, np.float64)[..., :3, :3])
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[..., None]
    return np.asarray(u @ vt)


def euler_deg(pose_4x4: Float[np.ndarray, "4 4"]) -> tuple[float, float, float]:
    """Compute pitch, yaw and roll in degrees.

    Pitch is positive with the nose down, yaw with the nose to the right of the picture, roll when the head
    leans counter-clockwise in the picture.
    """
    r = rotation(pose_4x4)
    pitch = np.arcsin(np.clip(-r[1, 2], -1, 1))
    yaw, roll = np.arctan2(r[0, 2], r[2, 2]), np.arctan2(r[1, 0], r[1, 1])
    return float(np.degrees(pitch)), float(np.degrees(yaw)), float(np.degrees(roll))


# -------------------------------------------------------------------------------------- boxes and regions


def face_box(landmarks_px: Float[np.ndarray, "points 3"]) -> Box:
    """Find the smallest box around landmarks."""
    (x0, y0), (x1, y1) = landmarks_px[:, :2].min(axis=0), landmarks_px[:, :2].max(axis=0)
    return Box(float(x0), float(y0), float(x1), float(y1))


def measure_gap(points: Float[np.ndarray, "*frames 478 _"]) -> Float[np.ndarray, "*frames"]:
    """Measure how far the lips are apart, in the landmarks' unit: in the picture, or in depth too."""
    return np.asarray(np.linalg.norm(points[..., UPPER_LIP, :] - points[..., LOWER_LIP, :], axis=-1))


def mouth_box(landmarks_px: Float[np.ndarray, "478 3"]) -> Box:
    """Find the smallest box around the outer lips."""
    return face_box(landmarks_px[list(LIPS)])


def overlap(a: Box, b: Box) -> float:
    """Compute intersection over union of two boxes, 0 ... 1."""
    width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    both = max(width, 0.0) * max(height, 0.0)
    return both / max(a.area + b.area - both, 1e-9)


def union_box(boxes_px: Float[np.ndarray, "boxes 4"]) -> Box:
    """Find the smallest box around all boxes; rows with NaN do not count.

    Raises:
        ValueError: no row is without NaN.
    """
    good = boxes_px[~np.isnan(boxes_px).any(axis=1)]
    if len(good) == 0:
        raise ValueError("there is no box to unite")
    return Box(*(float(v) for v in (*good[:, :2].min(axis=0), *good[:, 2:].max(axis=0))))


def crop_square(box: Box, image_width: int, image_height: int, expand: float = CROP_EXPAND) -> Box:
    """Find the square to crop around a face, in whole pixels.

    It is shifted into the picture; only what cannot fit stays outside, and is padded when cropping.

    Args:
        box: of the face, in pixels.
        image_width: in pixels.
        image_height: in pixels.
        expand: side of the square over the longer side of the box.
    """
    side = max(round(max(box.width, box.height) * expand), 2)
    x0 = _shift_inside(box.center[0] - side / 2, side, image_width)
    y0 = _shift_inside(box.center[1] - side / 2, side, image_height)
    return Box(x0, y0, x0 + side, y0 + side)


def _shift_inside(start: float, side: int, length: int) -> float:
    low, high = min(0, length - side), max(0, length - side)
    return float(min(max(round(start), low), high))


def region_mask(box: Box, size: int, scale: float = 1.0) -> Float[np.ndarray, "1 size size"]:
    """Draw where the face may be, as 0 and 1.

    Args:
        box: the face (or the union of its boxes), in pixels of the square picture.
        size: side of that picture.
        scale: sides of the region over those of the box; infinite is the whole picture.
    """
    if math.isinf(scale):
        return np.ones((1, size, size), np.float32)
    mask, area = np.zeros((1, size, size), np.float32), box.scaled(scale)
    x0, y0, x1, y1 = (min(max(round(v), 0), size) for v in (area.x0, area.y0, area.x1, area.y1))
    mask[:, y0:y1, x0:x1] = 1
    return mask


# ----------------------------------------------------------------------------------------- coordinates


def box_to_crop(box: Box, crop_px: Box, size: int) -> Box:
    """Bring a box from pixels of the picture to pixels of a square cut out of it.

    Args:
        box: in pixels of the picture.
        crop_px: the square, in pixels of the picture.
        size: side of the square after scaling.
    """
    k = size / crop_px.width
    return Box(
        *(
            (v - o) * k
            for v, o in zip((box.x0, box.y0, box.x1, box.y1), (crop_px.x0, crop_px.y0) * 2, strict=True)
        )
    )


def to_crop(face: Face, crop_px: Box, size: int) -> Face:
    """Bring a face from pixels of the picture to pixels of a square cut out of it; the pose stays the camera's.

    Args:
        face: in pixels of the picture.
        crop_px: the square, in pixels of the picture.
        size: side of the square after scaling.
    """
    points = points_to_crop(face.landmarks_px, crop_px, size)
    box, seen = box_to_crop(face.box_px, crop_px, size), face.mtcnn_px
    seen = None if seen is None else box_to_crop(seen, crop_px, size)
    return Face(box, points, face.pose_4x4, face.blendshapes, seen)


def points_to_crop(
    points_px: Float[np.ndarray, "*points 3"], crop_px: Box, size: int
) -> Float[np.ndarray, "*points 3"]:
    """Bring landmarks from pixels of the picture to pixels of a square cut out of it.

    Args:
        points_px: x, y and depth, in pixels of the picture.
        crop_px: the square, in pixels of the picture.
        size: side of the square after scaling.
    """
    origin = np.array([crop_px.x0, crop_px.y0, 0], np.float64)
    return ((points_px - origin) * (size / crop_px.width)).astype(np.float32)


def draw_pose_axes(pixels: Pixels, face: Face) -> Pixels:
    """Copy the picture and draw the head's axes at the nose: x red, y green, z (out of the face) blue."""
    import cv2

    drawn = pixels.copy()
    r = rotation(face.pose_4x4)
    length = max(face.box_px.width, face.box_px.height) / 2
    start = face.landmarks_px[NOSE_TIP, :2]
    for axis, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        end = start + np.array([r[0, axis], -r[1, axis]]) * length
        ends = [(round(float(x)), round(float(y))) for x, y in (start, end)]
        cv2.line(drawn, ends[0], ends[1], color, max(1, round(length / 30)), cv2.LINE_AA)
    return drawn
