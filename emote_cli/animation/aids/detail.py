"""Still places get the portrait's own detail back, which the network loses.

It is lost twice, and given back twice, each time under a soft mask that is 1 where the frame looks like the portrait
and falls to 0 where it moved (mouth, blinking eyes, a turned head):

- `transfer_detail` gives back what the autoencoder loses, portrait - decode(encode(portrait)): at the model's size.
- `Enlarger` gives back what the model's size loses, photo - enlarged portrait: at the size that is shown.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from emote_cli.media.image import resize
from emote_cli.types import Pixels

STILL = 0.05
"""Difference of blurred frames, in units of [-1, 1], at which the mask has fallen to 1/e: for `transfer_detail`."""
STILL_BYTES = 6.0
"""The same for `Enlarger`: mean difference from the portrait, in units of 0..255."""
BLUR_SHARE = 1 / 64
"""Radius of the blur over the picture's side."""

Frames = Float[Tensor, "f 3 h w"]
Enlarged = Float[np.ndarray, "side side 3"]


def blur_radius(maps: Float[Tensor, "f c h w"]) -> int:
    """Compute how far a box blur of pictures of this size reaches, in pixels."""
    return max(int(maps.shape[-1] * BLUR_SHARE), 1)


def blur(maps: Float[Tensor, "f c h w"]) -> Float[Tensor, "f c h w"]:
    """Blur twice with a box, edges repeated."""
    radius = blur_radius(maps)
    for _ in range(2):
        padded = functional.pad(maps, (radius,) * 4, mode="replicate")
        maps = functional.avg_pool2d(padded, 2 * radius + 1, stride=1)
    return maps


def measure_stillness(frames: Frames, decoded: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "f 1 h w"]:
    """Measure where a frame looks like the decoded portrait: 1 there, falling to 0 where it differs.

    Args:
        frames: in [-1, 1].
        decoded: the portrait through the autoencoder, in [-1, 1].
    """
    change = blur((frames - decoded).abs().mean(1, keepdim=True))
    return blur(torch.exp(-((change / STILL) ** 2)))


def transfer_detail(
    frames: Frames, portrait: Float[Tensor, "1 3 h w"], decoded: Float[Tensor, "1 3 h w"]
) -> Frames:
    """Add the lost detail to still places.

    Args:
        frames: decoded frames in [-1, 1].
        portrait: the portrait itself.
        decoded: the portrait through the autoencoder.
    """
    return (frames + measure_stillness(frames, decoded) * (portrait - decoded)).clamp(-1, 1)


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
        still = np.exp(-((cv2.blur(change, (radius, radius)) / STILL_BYTES) ** 2))
        side = (self._side, self._side)
        soft = cv2.resize(cv2.blur(still, (radius, radius)), side, interpolation=cv2.INTER_LINEAR)
        large = resize(frame, side).astype(np.float32) + soft[..., None] * self._lost
        return np.asarray(large.clip(0, 255), np.float32)
