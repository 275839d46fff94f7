"""The building blocks of SD's networks, with its parameter names, so that published weights load by name."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.model.normalize import GroupNorm
from emote_cli.shapes import Maps, Tokens


class ResidualBlock(nn.Module):
    """Two convolutions, each behind normalization and SiLU; the time embedding is added between them.

    Args:
        width_in: channels of the input.
        width: channels of the output.
        groups: of the normalizations.
        eps: of the normalizations.
        time_width: of the time embedding; None: there is none (VAE).
    """

    def __init__(
        self, width_in: int, width: int, *, groups: int, eps: float, time_width: int | None = None
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, width_in, eps=eps)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.time_emb_proj = None if time_width is None else nn.Linear(time_width, width)
        self.norm2 = GroupNorm(groups, width, eps=eps)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = None if width_in == width else nn.Conv2d(width_in, width, 1)

    def forward(self, maps: Maps, time: Float[Tensor, "bf time_width"] | None = None) -> Maps:
        """Maps, and one time embedding per row."""
        inner = self.conv1(functional.silu(self.norm1(maps)))
        if self.time_emb_proj is not None:
            assert time is not None, "this block needs a time embedding"
            inner = inner + self.time_emb_proj(functional.silu(time))[:, :, None, None]
        inner = self.conv2(functional.silu(self.norm2(inner)))
        return inner + (maps if self.conv_shortcut is None else self.conv_shortcut(maps))


class Downsample(nn.Module):
    """Halve height and width with a convolution.

    Args:
        width: channels.
        padding: on every side (U-Net: 1); 0 pads right and bottom only (VAE).
    """

    def __init__(self, width: int, padding: int) -> None:
        super().__init__()
        self.padding = padding
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=padding)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
        """Maps of half the size."""
        out: Tensor = self.conv(maps if self.padding else functional.pad(maps, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Repeat every pixel 2 x 2 times, then a convolution.

    Args:
        width: channels, before and after.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
        """Maps of twice the size."""
        out: Tensor = self.conv(functional.interpolate(maps, scale_factor=2.0, mode="nearest"))
        return out


class GatedLinear(nn.Module):
    """GEGLU (arXiv 2002.05202): one half of a projection, times GELU of the other half.

    Args:
        width: of the input.
        inner: of the output.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, tokens: Float[Tensor, "b k d"]) -> Float[Tensor, "b k inner"]:
        """Tokens of `inner` numbers."""
        value, gate = self.proj(tokens).chunk(2, dim=-1)
        gated: Tensor = value * functional.gelu(gate)
        return gated


class FeedForward(nn.Module):
    """The feed-forward part of a transformer block; its inner width is `mult` times the outer one.

    Args:
        width: of input and output.
        mult: inner width over the outer one.
    """

    def __init__(self, width: int, mult: int) -> None:
        super().__init__()
        # SD has a dropout layer at 1; Identity keeps the place of the second projection.
        self.net = nn.ModuleList(
            [GatedLinear(width, width * mult), nn.Identity(), nn.Linear(width * mult, width)]
        )

    def forward(self, tokens: Tokens) -> Tokens:
        """Each token by itself."""
        out: Tensor = self.net[2](self.net[0](tokens))
        return out


def time_waves(timestep: Int[Tensor, " b"], width: int) -> Float[Tensor, "b width"]:
    """Compute cosines, then sines, of the timestep at `width / 2` frequencies from 1 down to nearly 1/10000."""
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32, device=timestep.device) * (-math.log(10000) / half)
    angle = timestep[:, None].float() * exponent.exp()
    return torch.cat([angle.cos(), angle.sin()], -1)


class TimeEmbedding(nn.Module):
    """Timestep (0 ... 999) -> waves -> two linear layers with SiLU between them.

    Args:
        width: waves in the first embedding, an even number.
        out: length of the embedding.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, out)
        self.linear_2 = nn.Linear(out, out)

    def forward(self, timestep: Int[Tensor, " b"], dtype: torch.dtype) -> Float[Tensor, "b out"]:
        """One embedding per row, in `dtype`."""
        waves = time_waves(timestep, self.linear_1.in_features).to(dtype)
        out: Tensor = self.linear_2(functional.silu(self.linear_1(waves)))
        return out
