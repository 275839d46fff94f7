"""Soft masks of places in a face, at which the aids work: 1 inside, 0 outside, a smooth edge between."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from emote_cli.perception.landmarks import CHEEKS, CHIN, JAW, LIPS, NOSE
from emote_cli.types import Box, Face

DROP, SOFT = 0.12, 0.05
"""How far the chin may drop, and the deviation of a mask's edge, over the face's height."""
ROOM = 0.05
"""How far the mouth's surroundings reach beyond lips and chin, over the face's height."""
FEATHER = 0.3
"""How much of the head's ellipse is blended, over its radius."""


def draw_hull(
    points: Float[np.ndarray, "points 2"], size: int, soft_px: float, reach_px: int = 0
) -> Float[np.ndarray, "size size"]:
    """Draw a mask: 1 inside the convex hull of some points and `reach_px` around it, falling to 0 softly.

    Args:
        points: x and y in pixels of a square picture.
        size: side of the picture in pixels.
        soft_px: standard deviation of the edge, at least 0.5.
        reach_px: how far the mask reaches beyond the hull.
    """
    mask = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.float32)).round().astype(np.int32), 1.0)
    if reach_px:
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach_px + 1,) * 2))
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(soft_px, 0.5)), np.float32)


def outline_lower_face(face: Face, drop_px: float) -> Float[np.ndarray, "points 2"]:
    """Find points around the lower face, and around where it is with the chin `drop_px` lower."""
    box = face.box_px
    if not face.blendshapes:  # a box that a person gave: its landmarks say nothing
        x, y = box.center
        return np.array([(box.x0, y), (box.x1, y), (box.x0, box.y1), (box.x1, box.y1), (x, box.y1 + drop_px)])
    jaw, cheeks = face.landmarks_px[list(JAW), :2], face.landmarks_px[list(CHEEKS), :2]
    # Not the pose's axis: the square may be turned.
    up = face.landmarks_px[NOSE, :2] - face.landmarks_px[CHIN, :2]
    return np.concatenate([jaw, cheeks, jaw - up / np.linalg.norm(up) * drop_px])


def draw_lower_face_mask(face: Face, size: int) -> Float[np.ndarray, "size size"]:
    """Draw a soft mask: 1 over mouth, jaw and the room that a dropping chin needs, 0 over eyes, hair and background."""
    height = face.box_px.height
    return draw_hull(outline_lower_face(face, DROP * height), size, SOFT * height)


def draw_mouth_mask(face: Face, size: int, *, chin: bool = True) -> Float[np.ndarray, "size size"]:
    """Draw a soft mask: 1 over lips and chin; 1 everywhere, where a person drew the face's box.

    Args:
        face: in a square picture.
        size: of its side in pixels.
        chin: whether it reaches down there.
    """
    if not face.blendshapes:
        return np.ones((size, size), np.float32)
    points, height = face.landmarks_px[[*LIPS, CHIN] if chin else list(LIPS), :2], face.box_px.height
    return draw_hull(points, size, SOFT * height, round(ROOM * height))


def draw_head_mask(face: Box, side: int) -> Float[np.ndarray, "side side"]:
    """Draw a mask: 1 on the head, falling smoothly to 0 on an ellipse around it and at the square's edges.

    Args:
        face: in pixels of the square.
        side: of the square, in pixels.
    """
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) + 0.5
    center_x, center_y = face.center
    radius_x, radius_y = 0.78 * face.width, 0.85 * face.height
    away = np.hypot((x - center_x) / radius_x, (y - (center_y - 0.08 * face.height)) / radius_y)
    inside = np.minimum(np.minimum(x, side - x), np.minimum(y, side - y)) - 1
    ramp = np.clip(np.minimum((1 - away) / FEATHER, inside / (0.07 * side)), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)
