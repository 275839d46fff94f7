"""FaceLocator: light convolutions over the face-region mask, added after conv_in (paper 3.2)."""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.settings import FaceLocatorSettings


class FaceLocator(nn.Module):
    """Mask `b c image_height image_width` in 0..1 -> features `b width h w`; starts at zero.

    The layers are ControlNet's (arXiv 2302.05543). The mask is the union of the face boxes of a clip, one per
    clip; a wider box allows more motion (paper 4.5).

    Args:
        width: channels of the features: the backbone's first.
        settings: channels of the mask, and of each size; every size after the first halves the picture.
    """

    def __init__(self, width: int, settings: FaceLocatorSettings) -> None:
        super().__init__()
        channels = settings.channels
        self.conv_in = nn.Conv2d(settings.in_channels, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for before, after in pairwise(channels):
            self.blocks.append(nn.Conv2d(before, before, 3, padding=1))
            self.blocks.append(nn.Conv2d(before, after, 3, padding=1, stride=2))
        self.conv_out = nn.Conv2d(channels[-1], width, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, mask: Float[Tensor, "b c image_height image_width"]) -> Float[Tensor, "b width h w"]:
        """Mask -> features."""
        maps = functional.silu(self.conv_in(mask.to(self.conv_in.weight.dtype)))
        for block in self.blocks:
            maps = functional.silu(block(maps))
        features: Tensor = self.conv_out(maps)
        return features
