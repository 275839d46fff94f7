"""Group normalization that leaves maps channels-last, on a GPU as well, and is quick on a CPU.

Torch's own turns channels-last maps on a GPU round to channels-first before it reads them, and the convolution behind
it turns them back: two copies of every map, at every normalization. On a CPU it reads them number by number.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.shapes import Maps

LARGE = 16_000_000
"""Numbers in a map from which on our way is faster on an H200 (320 channels at 64x64: 0.42 ms against 0.58 ms, with the
convolution behind it; 640 at 32x32: 0.40 against 0.37). A recorded step has no launches to wait for."""

TORCHS_PLACES, TORCHS_WIDTH = 1024, 8
"""Places of a map, and channels of a group, from which on torch is quick on a CPU, in fp32."""

FEWEST_READINGS, MOST_NUMBERS = 12_000, 600_000
"""On a CPU our way takes 60 us and 0.8 ns a number, so it pays between these. Measured on an AMD with one thread, ours
over torch's, 12 frames in 32 groups: 64 channels at 16x16 0.26, 192 there 0.57, 64 at 8x8 0.52, 128 there 0.64, 256
there 1.5, 128 at 4x4 1.4; 5 frames in 8 groups (`tiny`) 0.9 to 4.4."""


class GroupNorm(nn.GroupNorm):
    """Torch's layer, with the way that copies nothing where it is to be had."""

    def forward(self, input: Maps) -> Maps:
        """Maps of the same shape and memory format."""
        if _is_turned_round(input) and _agrees(input.device.type, input.dtype, self.weight.dtype):
            return normalize(input, self.num_groups, self.weight, self.bias, self.eps)
        if _is_read_slowly(input, self.num_groups):
            return normalize_on_cpu(input, self.num_groups, self.weight, self.bias, self.eps)
        if _crashes_torch(input, self.weight):
            return super().forward(input.contiguous())
        return super().forward(input)


def _is_turned_round(maps: Maps) -> bool:
    """Whether torch would copy these maps, and they are large enough that the copies cost more than more launches."""
    if not (maps.is_cuda and _is_plain_channels_last(maps)) or torch.is_autocast_enabled("cuda"):
        return False
    return maps.numel() >= LARGE or torch.cuda.is_current_stream_capturing()


def _is_read_slowly(maps: Maps, groups: int) -> bool:
    """Whether torch would read these maps number by number, and so many of them that our way is faster.

    Torch reads maps of `TORCHS_PLACES` and more in whole rows, and of others as many numbers at a time as a group has,
    from `TORCHS_WIDTH` on; else it takes 8 ns for each group at each place. In 16 bits it takes 28 ns, and rounds
    otherwise: there our way is always taken.
    """
    if maps.device.type != "cpu" or maps.dtype == torch.float64 or not _is_plain_channels_last(maps):
        return False
    if maps.dtype != torch.float32:
        return True
    rows, channels, places = maps.shape[0], maps.shape[1], maps.shape[2] * maps.shape[3]
    narrow = channels // groups < TORCHS_WIDTH
    pays = rows * groups * places >= FEWEST_READINGS and maps.numel() <= MOST_NUMBERS
    return pays and narrow and places < TORCHS_PLACES


def _crashes_torch(maps: Maps, weight: Tensor) -> bool:
    """Whether torch (2.13, on a CPU) would write a gradient that nobody wants: of frozen layers' channels-last maps."""
    frozen = torch.is_grad_enabled() and weight.requires_grad and not maps.requires_grad
    return (
        frozen
        and maps.device.type == "cpu"
        and maps.dim() == 4
        and maps.is_contiguous(memory_format=torch.channels_last)
    )


def _is_plain_channels_last(maps: Maps) -> bool:
    """Whether maps are channels-last; in training and in compiled graphs torch is left to itself."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return maps.is_contiguous(memory_format=torch.channels_last)


def normalize_on_cpu(
    maps: Maps, groups: int, weight: Float[Tensor, " c"], bias: Float[Tensor, " c"], eps: float
) -> Maps:
    """Group normalization of channels-last maps in whole rows, in fp32: up to 4 (16 bits: 9) times torch's speed.

    Args:
        maps: channels-last.
        groups: a divisor of the channels.
        weight: a factor for each channel.
        bias: added to each channel.
        eps: added to the variance.
    """

    def over_group(rows: Float[Tensor, "b hw c"]) -> Float[Tensor, "b 1 c"]:
        """The mean over the places and the channels of each group."""
        grouped = rearrange(rows.mean(1), "b (g c) -> b g c", g=groups)
        return rearrange(grouped.mean(-1, keepdim=True).expand_as(grouped), "b g c -> b 1 (g c)")

    rows = rearrange(maps, "b c h w -> b (h w) c").float()
    rows = rows - over_group(rows)
    scale = (over_group(rows.square()) + eps).rsqrt() * weight.float()
    out = torch.addcmul(bias.float(), rows, scale).to(maps.dtype)
    return rearrange(out, "b (h w) c -> b h w c", h=maps.shape[2]).permute(0, 3, 1, 2)


def normalize(
    maps: Maps, groups: int, weight: Float[Tensor, " c"], bias: Float[Tensor, " c"], eps: float
) -> Maps:
    """Group normalization of channels-last maps: two readings for mean and variance, a third one writes the result.

    All sums are fp32, whatever the maps are.

    Args:
        maps: channels-last.
        groups: a divisor of the channels.
        weight: a factor for each channel.
        bias: added to each channel.
        eps: added to the variance.
    """
    height, width = maps.shape[-2:]
    tokens = rearrange(maps, "b c h w -> b (h w) c")
    means = tokens.mean(1, dtype=torch.float32)
    squares = torch.linalg.vector_norm(tokens, dim=1, dtype=torch.float32).square() / (height * width)
    mean, square = (rearrange(part, "b (g c) -> b g c", g=groups).mean(-1) for part in (means, squares))
    inverse = ((square - mean.square()).clamp_min(0) + eps).rsqrt()
    scale = inverse[..., None] * rearrange(weight.float(), "(g c) -> g c", g=groups)
    shift = rearrange(bias.float(), "(g c) -> g c", g=groups) - mean[..., None] * scale
    scale, shift = (rearrange(part, "b g c -> b 1 (g c)") for part in (scale, shift))
    out = torch.addcmul(shift, tokens, scale, out=torch.empty_like(tokens))
    return rearrange(out, "b (h w) c -> b h w c", h=height).permute(0, 3, 1, 2)


@lru_cache
def _agrees(device: str, dtype: torch.dtype, weights: torch.dtype) -> bool:
    """Tried once on a few numbers: the sums in another format than the maps' are not to be had everywhere."""
    generator = torch.Generator().manual_seed(0)
    maps = (3 + torch.randn(2, 16, 5, 7, generator=generator)).to(device, dtype)
    maps = maps.to(memory_format=torch.channels_last)
    weight, bias = (torch.randn(16, generator=generator).to(device, weights) for _ in range(2))
    try:
        out = normalize(maps, 4, weight, bias, 1e-5).float()
    except (RuntimeError, TypeError):
        return False
    expected = functional.group_norm(maps.float(), 4, weight.float(), bias.float(), 1e-5)
    near = 1e-4 if dtype == torch.float32 else 2e-2
    return torch.allclose(out, expected, near, near)
