"""Still places get back the portrait's own detail that the autoencoder loses; on the model's device, at its size.

The loss is known exactly, since the portrait is: portrait - decode(encode(portrait)). It is added to every frame
under a soft mask that is 1 where the frame looks like the decoded portrait and falls to 0 where it moved (mouth,
blinking eyes, a turned head). What the model's size loses beside it, `enlarge.py` gives back.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

STILL = 0.05
"""Difference of blurred frames, in units of [-1, 1], at which the mask has fallen to 1/e."""
BLUR_SHARE = 1 / 64
"""Radius of the blur over the picture's side."""

Frames = Float[Tensor, "f 3 h w"]


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
