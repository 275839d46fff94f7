"""Networks of no depth that are called as the published ones are."""

import torch
from torch import nn

from emote_cli.evaluation.learned.inception import Inception
from emote_cli.evaluation.learned.networks import Networks
from emote_cli.evaluation.learned.syncnet import SyncNet


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class Glance(SyncNet):
    """Brightness over time, and spectra, through fixed random numbers."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.lips, self.ears = draw(5 * 3, 1024), draw(13 * 20, 1024) / 40

    def look(self, frames):
        colors = frames[0].mean((2, 3)).unfold(1, 5, 1)  # 3, looks, 5
        return colors.permute(1, 0, 2).flatten(1) @ self.lips

    def hear(self, columns):
        return columns.flatten(1) @ self.ears


class Colors(Inception):
    """The mean color in each of 4x4 fields, through fixed random numbers."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.mix = draw(48, 2048)

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(x, 4).flatten(1) @ self.mix


class Piece(nn.Module):
    """Stands in for I3D: 400 numbers of a piece."""

    def forward(
        self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        assert not rescale
        assert not resize
        assert return_features
        return x.mean(dim=[1, 3, 4]).repeat(1, 25)


def stand_ins() -> Networks:
    """All three."""
    return Networks(Colors(), Piece(), Glance())
