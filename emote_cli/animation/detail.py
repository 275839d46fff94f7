"""Detail transfer: what the autoencoder loses of the portrait is given back where the picture stands still.

A quality aid outside the network. The loss is known exactly, since the portrait is:
portrait - decode(encode(portrait)). It is added to every frame under a soft mask that is 1 where the frame
looks like the decoded portrait and 0 where it moved (mouth, blinking eyes, a turned head).
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


def blurred(maps: Float[Tensor, "f c h w"]) -> Float[Tensor, "f c h w"]:
    """Two box blurs, edges repeated."""
    radius = max(int(maps.shape[-1] * BLUR_SHARE), 1)
    for _ in range(2):
        padded = functional.pad(maps, (radius,) * 4, mode="replicate")
        maps = functional.avg_pool2d(padded, 2 * radius + 1, stride=1)
    return maps


def stillness(frames: Frames, decoded: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "f 1 h w"]:
    """1 where a frame looks like the decoded portrait, falling to 0 where it differs."""
    change = blurred((frames - decoded).abs().mean(1, keepdim=True))
    return blurred(torch.exp(-((change / STILL) ** 2)))


def transfer_detail(
    frames: Frames, portrait: Float[Tensor, "1 3 h w"], decoded: Float[Tensor, "1 3 h w"]
) -> Frames:
    """Add the lost detail to still places.

    Args:
        frames: decoded frames in [-1, 1].
        portrait: the portrait itself.
        decoded: the portrait through the autoencoder.
    """
    return (frames + stillness(frames, decoded) * (portrait - decoded)).clamp(-1, 1)
