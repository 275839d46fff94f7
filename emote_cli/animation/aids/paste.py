"""From the model's square back into the photo that it was cut from."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import UInt8

from emote_cli.animation.aids.enlarge import Enlarged, Enlarger
from emote_cli.animation.aids.masks import draw_head_mask
from emote_cli.animation.portrait import cut_square, turn_matrix
from emote_cli.media.image import resize
from emote_cli.types import Box, Pixels, Portrait

Photo = UInt8[np.ndarray, "photo_height photo_width 3"]
Liven = Callable[[Enlarged, float], Enlarged]
"""What else happens to a finished square at a time, in seconds; see idle.py."""


def leave_as_is(square: Enlarged, time_s: float) -> Enlarged:
    """Change nothing."""
    return square


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
        sharp = cut_square(photo, crop, portrait.roll_deg, side)
        flat = resize(portrait.pixels, (side, side))
        self._enlarge = Enlarger(portrait.pixels, sharp if detail else flat)
        face = portrait.face.box_px
        scale = side / model_side
        mask = draw_head_mask(face.resized(scale), side)
        small = draw_head_mask(face, model_side)
        self._rim = (small > 0.02) & (small < 0.6)
        self._at_rim = portrait.pixels[self._rim].astype(np.float32)
        self._back = map_to_photo(crop, portrait.roll_deg)
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


def map_to_photo(crop: Box, roll: float) -> np.ndarray:
    """Make the affine matrix from pixels of the square to pixels of the photo."""
    if roll == 0:
        return np.array([[1, 0, crop.x0], [0, 1, crop.y0]], np.float64)
    matrix = turn_matrix(crop.center, -roll)
    matrix[:, 2] += matrix[:, :2] @ np.array([crop.x0, crop.y0])
    return matrix
