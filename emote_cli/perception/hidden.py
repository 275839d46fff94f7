"""Whether a face shows what a video needs: a mouth, and open eyes. From colors at landmarks; nothing learned."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from emote_cli.perception.landmarks import LIPS
from emote_cli.types import Face, Pixels

_AROUND_MOUTH = (164, 167, 393, 165, 391, 18, 200, 199, 32, 262, 57, 287)
_ON_CHEEKS = (50, 280, 205, 425, 117, 346)
_PATCH_SHARE = 0.01
"""Reach of the patch around a landmark, over the picture's side."""

_BARELY_RED, _LITTLE_RED = 0.6, 2.0
"""How much redder than the skin around them (a of CIE Lab) the redder quarter of lips is: 0.9 and more in photos."""

_OTHER_COLOR, _OTHER_LIGHT = 16.0, 20.0
"""Around the mouth against the cheeks, in CIE Lab: beards and shadows stay below 14 and 13."""

_GRAY = 5.0
_CLOSED = 0.5


def is_mouth_covered(pixels: Pixels, face: Face) -> bool:
    """Whether the mouth cannot be told from what is around it, as under a mask, a hand or a microphone.

    Args:
        pixels: a picture of the face alone.
        face: in its coordinates; a drawn one, without blendshapes, is not judged.
    """
    if not face.blendshapes:
        return False
    lab = cv2.cvtColor((pixels / 255).astype(np.float32), cv2.COLOR_RGB2LAB)
    lab = cv2.GaussianBlur(lab, (0, 0), max(_PATCH_SHARE * lab.shape[0], 0.5))  # grain is no lip
    points = face.landmarks_px[:, :2]
    inside = np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillPoly(inside, [points[list(LIPS)].astype(np.int32)], 1)
    if not inside.any():
        return False
    around, cheeks = (_color_at(lab, points[list(places)]) for places in (_AROUND_MOUTH, _ON_CHEEKS))
    differs = abs(around[0] - cheeks[0]) > _OTHER_LIGHT or np.hypot(*(around - cheeks)[1:]) > _OTHER_COLOR
    if np.percentile(np.hypot(lab[..., 1], lab[..., 2]), 90) < _GRAY:  # no color tells
        return bool(differs)
    redder = float(np.percentile(lab[inside > 0][:, 1], 75) - around[1])
    return bool(redder < _BARELY_RED or (redder < _LITTLE_RED and differs))


def are_eyes_closed(face: Face) -> bool:
    """Whether both eyes are closed, or nearly."""
    return min(face.blendshapes.get(name, 0.0) for name in ("eyeBlinkLeft", "eyeBlinkRight")) > _CLOSED


def _color_at(
    lab: Float[np.ndarray, "height width 3"], points: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, " 3"]:
    """The median color of patches around points; those outside of the picture are left out."""
    reach = max(1, round(lab.shape[0] * _PATCH_SHARE))
    patches = [
        lab[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].reshape(-1, 3)
        for x, y in points.astype(int)
        if 0 <= y < lab.shape[0] and 0 <= x < lab.shape[1]
    ]
    return np.median(np.concatenate(patches), 0) if patches else np.zeros(3, np.float32)
