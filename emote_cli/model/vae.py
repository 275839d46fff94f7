"""SD's variational autoencoder with its parameter names: its deterministic parts, the posterior's mean only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.model.attention import Attention, attend_itself
from emote_cli.model.blocks import Downsample, ResidualBlock, Upsample
from emote_cli.model.normalize import GroupNorm
from emote_cli.shapes import ImageLatents, Maps

EPS = 1e-6


class MapAttention(Attention):
    """One head over all places of a map, behind a normalization, added to the map.

    Args:
        width: channels of the map.
        groups: of the normalization.
    """

    def __init__(self, width: int, groups: int) -> None:
        super().__init__(width, heads=1, bias=True)
        self.group_norm = GroupNorm(groups, width, eps=EPS)

    def forward(self, maps: Maps) -> Maps:
        """Every place attends to every place."""
        tokens = rearrange(self.group_norm(maps), "b c h w -> b (h w) c")
        seen = attend_itself(self, tokens)
        return maps + rearrange(seen, "b (h w) c -> b c h w", h=maps.shape[-2])


class Level(nn.Module):
    """Residual blocks of one size, then a change of size (none at the last level).

    Args:
        width_in: channels of the input.
        width: of the output.
        blocks: residual blocks.
        groups: of the normalizations.
        halve: whether the size is halved at the end.
        double: whether it is doubled.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        *,
        blocks: int,
        groups: int,
        halve: bool = False,
        double: bool = False,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResidualBlock(width if index else width_in, width, groups=groups, eps=EPS)
            for index in range(blocks)
        )
        self.downsamplers = nn.ModuleList([Downsample(width, padding=0)] if halve else [])
        self.upsamplers = nn.ModuleList([Upsample(width)] if double else [])

    def forward(self, maps: Maps) -> Float[Tensor, "bf _ _ _"]:
        """Maps of this level -> maps of the next."""
        for layer in (*self.resnets, *self.downsamplers, *self.upsamplers):
            maps = layer(maps)
        return maps


class Middle(nn.Module):
    """Residual block, attention, residual block, at the coarsest size.

    Args:
        width: channels.
        groups: of the normalizations.
    """

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        first = ResidualBlock(width, width, groups=groups, eps=EPS)
        self.attentions = nn.ModuleList([MapAttention(width, groups)])
        self.resnets = nn.ModuleList([first, ResidualBlock(width, width, groups=groups, eps=EPS)])

    def forward(self, maps: Maps) -> Maps:
        """Maps of the same shape."""
        out: Tensor = self.resnets[1](self.attentions[0](self.resnets[0](maps)))
        return out


class Encoder(nn.Module):
    """Pixels -> moments of the latents.

    Args:
        channels: of the pictures.
        out: channels of the moments, two for each channel of the latents.
        widths: channels of the levels, finest first; every level but the last halves the size.
        blocks: residual blocks in a level.
        groups: of the normalizations.
    """

    def __init__(self, channels: int, out: int, widths: Sequence[int], blocks: int, groups: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        last = len(widths) - 1
        self.down_blocks = nn.ModuleList(
            Level(width_in, width, blocks=blocks, groups=groups, halve=index < last)
            for index, (width_in, width) in enumerate(pairwise([widths[0], *widths]))
        )
        self.mid_block = Middle(widths[-1], groups)
        self.conv_norm_out = GroupNorm(groups, widths[-1], eps=EPS)
        self.conv_out = nn.Conv2d(widths[-1], out, 3, padding=1)

    def forward(self, pixels: Float[Tensor, "b c height width"]) -> Float[Tensor, "b moments h w"]:
        """One row per picture."""
        maps = self.conv_in(pixels)
        for level in self.down_blocks:
            maps = level(maps)
        out: Tensor = self.conv_out(functional.silu(self.conv_norm_out(self.mid_block(maps))))
        return out


class Decoder(nn.Module):
    """Latents -> pixels; one residual block per level more than the encoder.

    Args:
        channels: of the latents.
        out: channels of the pictures.
        widths: channels of the levels, finest first; behind every level but the finest the size doubles.
        blocks: residual blocks in a level of the encoder.
        groups: of the normalizations.
    """

    def __init__(self, channels: int, out: int, widths: Sequence[int], blocks: int, groups: int) -> None:
        super().__init__()
        coarse_first = list(widths)[::-1]
        self.conv_in = nn.Conv2d(channels, coarse_first[0], 3, padding=1)
        self.mid_block = Middle(coarse_first[0], groups)
        last = len(widths) - 1
        self.up_blocks = nn.ModuleList(
            Level(width_in, width, blocks=blocks + 1, groups=groups, double=index < last)
            for index, (width_in, width) in enumerate(pairwise([coarse_first[0], *coarse_first]))
        )
        self.conv_norm_out = GroupNorm(groups, widths[0], eps=EPS)
        self.conv_out = nn.Conv2d(widths[0], out, 3, padding=1)

    def forward(self, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out height width"]:
        """One row per picture."""
        maps = self.mid_block(self.conv_in(latents))
        for level in self.up_blocks:
            maps = level(maps)
        out: Tensor = self.conv_out(functional.silu(self.conv_norm_out(maps)))
        return out


class Vae(nn.Module):
    """Encoder and decoder with the 1x1 convolutions between them.

    Args:
        channels: of the pixels.
        latent_channels: of the latents.
        widths: of the levels, finest first; each level but the last halves the size.
        blocks: residual blocks per level of the encoder; the decoder has one more.
        groups: of the normalizations.
    """

    def __init__(
        self, *, channels: int, latent_channels: int, widths: Sequence[int], blocks: int, groups: int
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels, 2 * latent_channels, widths, blocks, groups)
        self.decoder = Decoder(latent_channels, channels, widths, blocks, groups)
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)

    def encode(self, pixels: Float[Tensor, "b channels height width"]) -> ImageLatents:
        """The mean of the posterior; its other half, the variance, is not used."""
        mean: Tensor = self.quant_conv(self.encoder(pixels)).chunk(2, 1)[0]
        return mean

    def decode(self, latents: ImageLatents) -> Float[Tensor, "b channels height width"]:
        """Latents -> pixels."""
        pixels: Tensor = self.decoder(self.post_quant_conv(latents))
        return pixels
