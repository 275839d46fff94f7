"""From the model's square to what is shown: enlarged with the photo's own detail, or pasted back into it."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from emote_cli.animation.portrait import square_of, turn_matrix
from emote_cli.media.image import resize
from emote_cli.types import Box, Pixels, Portrait

STILL = 6.0
"""Mean difference from the portrait, in 0..255, at which the photo's detail has faded to 1/e."""
FEATHER = 0.3
"""How much of the head's ellipse is blended, over its radius."""

Enlarged = Float[np.ndarray, "side side 3"]
Photo = UInt8[np.ndarray, "photo_height photo_width 3"]
Liven = Callable[[Enlarged, float], Enlarged]
"""What else happens to a finished square at a time, in seconds; see idle.py."""


def leave_as_is(square: Enlarged, time_s: float) -> Enlarged:
    """Change nothing."""
    return square


class Enlarger:
    """Enlarges frames of the model's size; where they stand still they get the photo's detail.

    Args:
        portrait: what the model animates.
        sharp: the same square of the photo at the wanted size.
    """

    def __init__(self, portrait: Pixels, sharp: UInt8[np.ndarray, "side side 3"]) -> None:
        self._portrait = portrait.astype(np.float32)
        self._side = sharp.shape[0]
        self._lost = sharp.astype(np.float32) - resize(portrait, (self._side, self._side)).astype(np.float32)

    def __call__(self, frame: Pixels) -> Enlarged:
        """Values 0..255, not yet rounded."""
        radius = 2 * max(frame.shape[0] // 64, 1) + 1
        change = np.abs(frame.astype(np.float32) - self._portrait).mean(axis=2)
        still = np.exp(-((cv2.blur(change, (radius, radius)) / STILL) ** 2))
        side = (self._side, self._side)
        soft = cv2.resize(cv2.blur(still, (radius, radius)), side, interpolation=cv2.INTER_LINEAR)
        large = resize(frame, side).astype(np.float32) + soft[..., None] * self._lost
        return np.asarray(large.clip(0, 255), np.float32)


def head_mask(face: Box, side: int) -> Float[np.ndarray, "side side"]:
    """1 on the head, falling smoothly to 0 on an ellipse around it and at the square's edges.

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


class Paster:
    """Puts animated squares back into the photo, through a soft mask around the head; all else stays.

    Args:
        photo: the whole picture.
        portrait: the square that was cut from it.
        detail: whether still places get the photo's own detail.
        liven: moves the head in the square, at the square's size in the photo.
    """

    def __init__(
        self, photo: Photo, portrait: Portrait, detail: bool = True, liven: Liven = leave_as_is
    ) -> None:
        self.photo, self._liven = photo, liven
        crop, model_side = portrait.crop_px, portrait.pixels.shape[0]
        side = round(crop.width)
        sharp = square_of(photo, crop, portrait.roll_deg, side)
        flat = resize(portrait.pixels, (side, side))
        self._enlarge = Enlarger(portrait.pixels, sharp if detail else flat)
        face = portrait.face.box_px
        scale = side / model_side
        mask = head_mask(face.resized(scale), side)
        small = head_mask(face, model_side)
        self._rim = (small > 0.02) & (small < 0.6)
        self._at_rim = portrait.pixels[self._rim].astype(np.float32)
        self._back = to_photo(crop, portrait.roll_deg)
        corners = (
            np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]], np.float64) @ self._back.T
        )
        height, width = photo.shape[:2]
        self._x0, self._y0 = (max(int(np.floor(v)), 0) for v in corners.min(axis=0))
        self._x1, self._y1 = (
            min(int(np.ceil(v)), limit) for v, limit in zip(corners.max(axis=0), (width, height), strict=True)
        )
        self.mask = self._place(mask)[..., None]
        self._under = photo[self._y0 : self._y1, self._x0 : self._x1].astype(np.float32)

    def __call__(self, frame: Pixels, time_s: float = 0.0) -> Photo:
        """The photo with this frame as its head."""
        shift = np.median(self._at_rim - frame[self._rim], axis=0) if self._rim.any() else 0.0
        square = (self._enlarge(frame) + shift).clip(0, 255).astype(np.float32)
        head = self._place(self._liven(square, time_s))
        out = self.photo.copy()
        blended = self._under + self.mask * (head - self._under)
        out[self._y0 : self._y1, self._x0 : self._x1] = np.rint(blended).clip(0, 255).astype(np.uint8)
        return out

    def _place(self, square: np.ndarray) -> np.ndarray:
        """A picture of the square, in the part of the photo that it covers."""
        matrix = self._back.copy()
        matrix[:, 2] -= (self._x0, self._y0)
        size = (self._x1 - self._x0, self._y1 - self._y0)
        if np.array_equal(matrix[:, :2], np.eye(2)):
            x, y = (round(-v) for v in matrix[:, 2])
            return np.asarray(square[y : y + size[1], x : x + size[0]])
        return np.asarray(cv2.warpAffine(square, matrix, size, flags=cv2.INTER_CUBIC).clip(0, None))


def to_photo(crop: Box, roll: float) -> np.ndarray:
    """The affine matrix from pixels of the square to pixels of the photo."""
    if roll == 0:
        return np.array([[1, 0, crop.x0], [0, 1, crop.y0]], np.float64)
    matrix = turn_matrix(crop.center, -roll)
    matrix[:, 2] += matrix[:, :2] @ np.array([crop.x0, crop.y0])
    return matrix
