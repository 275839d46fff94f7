"""Frames at the size that is shown: enlarged, and still places get back the photo's detail that the model's size loses.

What is lost is known exactly: photo - enlarged portrait. It is added under a soft mask like that of `detail.py`, which
gives back what the autoencoder loses beside it. Bytes and no torch: a job is checked without the network's libraries.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from emote_cli.media.image import resize
from emote_cli.types import Pixels

STILL = 6.0
"""Mean difference from the portrait, in 0..255, at which the mask has fallen to 1/e."""

Enlarged = Float[np.ndarray, "side side 3"]


def enlarge_plainly(frame: Pixels, side: int) -> Enlarged:
    """Scale a frame to another size, with nothing added."""
    return resize(frame, (side, side)).astype(np.float32)


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
