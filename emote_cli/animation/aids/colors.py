"""A frame shows no color that the portrait has neither at that place nor at the mouth.

Such colors come from latents that lie far off those that the autoencoder was trained on. And a model whose heads do not
move anyway may keep everything but the lower face as it is in the portrait (`keep_portrait`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (BT.601)."""
RARE, STRANGE, LEEWAY = 0.02, 0.15, 0.025
"""Shares of the portrait's colors that are left out at either end, of the mouth and of the skin around it (where a
collar may be), and what is added again, in units of [-1, 1]."""
NEXT = 1
"""How many pixels away a color of the portrait is still at that place: a dark collar begins right below a chin."""

Frames = Float[Tensor, "f 3 h w"]


def keep_portrait(frames: Frames, portrait: Float[Tensor, "1 3 h w"], mask: Float[Tensor, "h w"]) -> Frames:
    """Keep the portrait where the mask is 0, the frames where it is 1.

    Args:
        frames: in [-1, 1].
        portrait: at the same size, in [-1, 1].
        mask: 0 ... 1, the same for all frames.
    """
    return portrait + mask * (frames - portrait)


def split_luma(frames: Frames) -> tuple[Float[Tensor, "f h w"], Float[Tensor, "f 2 h w"]]:
    """Split pictures into brightness, and how far red and blue differ from it.

    Returns:
        Brightness, in the unit of the frames; and red and blue minus brightness.
    """
    luma = torch.einsum("fchw,c->fhw", frames, frames.new_tensor(LUMA))
    return luma, frames[:, [0, 2]] - luma[:, None]


@dataclass(frozen=True, slots=True)
class ColorLimits:
    """How far red and blue may differ from the brightness, pixel by pixel."""

    low: Float[Tensor, "1 2 h w"]
    high: Float[Tensor, "1 2 h w"]


def find_color_limits(
    portrait: Float[Tensor, "1 3 h w"], mask: Float[Tensor, "h w"], lips: Float[Tensor, "h w"]
) -> ColorLimits:
    """Find the colors that the portrait has at each place; at the lips also all that it has at the mouth.

    Away from the lips it is the skin around them that counts: a grey chin would be a stain. Nor are teeth and shadow
    greyer than the palest place at the mouth: beside warm skin grey looks blue.

    Args:
        portrait: in [-1, 1].
        mask: of the mouth and what is around it; counts as there where it is over a half. A mouth outside the
            picture sets no limits.
        lips: softly, the part of it that may open.
    """
    own = split_luma(portrait)[1]
    if not (mask > 0.5).any():
        return ColorLimits(torch.full_like(own, -torch.inf), torch.full_like(own, torch.inf))
    low, high = find_usual(own, mask > 0.5, RARE)
    skin = (mask > 0.5) & (lips < 0.5)
    if skin.any():
        low, high = (
            torch.lerp(*ends, lips) for ends in zip(find_usual(own, skin, STRANGE), (low, high), strict=True)
        )
    least = -functional.max_pool2d(-own, 2 * NEXT + 1, 1, NEXT)
    greatest = functional.max_pool2d(own, 2 * NEXT + 1, 1, NEXT)
    return ColorLimits(torch.minimum(low, least) - LEEWAY, torch.maximum(high, greatest) + LEEWAY)


def find_usual(
    chroma: Float[Tensor, "1 2 h w"], place: Bool[Tensor, "h w"], rare: float
) -> tuple[Float[Tensor, "1 2 1 1"], Float[Tensor, "1 2 1 1"]]:
    """Find the least and the greatest color difference at a place, without the rarest at either end.

    Args:
        chroma: of one picture, from `split_luma`.
        place: which pixels count; at least one.
        rare: share that is left out at either end, 0 ... 0.5.

    Returns:
        The least and the greatest value, of red and blue apart.
    """
    low, high = (chroma[0, :, place].quantile(share, dim=1).view(1, 2, 1, 1) for share in (rare, 1 - rare))
    return low, high


def lock_colors(frames: Frames, limits: ColorLimits) -> Frames:
    """Bring colors inside the limits; the brightness stays.

    Args:
        frames: in [-1, 1].
        limits: from `find_color_limits`.
    """
    luma, found = split_luma(frames)
    red, blue = found.clamp(limits.low, limits.high).unbind(1)
    green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
    return (luma[:, None] + torch.stack([red, green, blue], 1)).clamp(-1, 1)
