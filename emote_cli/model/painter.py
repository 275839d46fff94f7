"""The Painter: what a moved portrait cannot show, above all the inside of a mouth that was closed.

A portrait that is warped shows a stranger's own skin, beard and lips, as sharp as the photo. What it cannot show is
what was hidden: teeth and tongue. The Painter sees the square around the mouth of the warped portrait, with a sketch
of the mouth's inside, and draws new pixels and a mask:

    shown = warped + mask * (drawn - warped)
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

VIEW = 128
"""Side of the square that the Painter sees, in its own pixels."""
HINTS = 5
"""Channels beside the pictures: the opening in frame and portrait, the place in the face (2), the depth."""

View = Float[Tensor, "b 3 side side"]


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.conv2(functional.silu(self.conv1(functional.silu(maps))))


class Painter(nn.Module):
    """A small U-Net over the square around the mouth.

    Args:
        channels: widths, finest first; the finest works at half the square's resolution.
    """

    def __init__(self, channels: tuple[int, ...] = (32, 64, 96)) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d((6 + HINTS) * 4, channels[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(_Block(width) for width in channels)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(channels))
        self.up = nn.ModuleList(
            nn.Conv2d(b, a, 1) for a, b in zip(channels[-2::-1], channels[:0:-1], strict=True)
        )
        self.up_blocks = nn.ModuleList(_Block(width) for width in channels[-2::-1])
        self.conv_out = nn.Conv2d(channels[0], 4 * 4, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, warped: View, portrait: View, hints: Float[Tensor, "b hints side side"]
    ) -> tuple[View, Float[Tensor, "b 1 side side"]]:
        """Draw what is new.

        Args:
            warped: the portrait moved as the frame wants it, in [-1, 1].
            portrait: the portrait, moved with the head only: teeth that it shows keep their size.
            hints: see HINTS; the opening in the frame comes first.

        Returns:
            New pixels, and the mask that says where they are shown, 0..1.
        """
        maps = self.conv_in(functional.pixel_unshuffle(torch.cat([warped, portrait, hints], 1), 2))
        skips = []
        for index, block in enumerate(self.down_blocks):
            maps = block(maps)
            if index < len(self.down):
                skips.append(maps)
                maps = self.down[index](maps)
        for reduce, block in zip(self.up, self.up_blocks, strict=True):
            larger = functional.interpolate(reduce(maps), scale_factor=2.0, mode="nearest")
            maps = block(larger + skips.pop())
        out = functional.pixel_shuffle(self.conv_out(functional.silu(maps)), 2)
        mask = torch.sigmoid(out[:, 3:] + 6 * hints[:, :1] - 4)
        return warped + out[:, :3], mask

    def paint(self, warped: View, portrait: View, hints: Float[Tensor, "b hints side side"]) -> View:
        """Draw what is new (mouth, teeth, shadow) into the warped portrait.

        Args:
            warped: the moved portrait with the sketch of a mouth in it, in [-1, 1].
            portrait: moved with the head only, in [-1, 1].
            hints: see HINTS; the opening in the frame comes first.

        Returns:
            Not clamped: values may lie a little outside [-1, 1].
        """
        drawn, mask = self(warped, portrait, hints)
        return warped + mask * (drawn - warped)
