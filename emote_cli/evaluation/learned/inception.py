"""Inception v3 as FID knows it: the weights that Google published on 2015-12-05, which are not torchvision's.

The names of the weights are those of torchvision's network, as pytorch-fid's file has them. Three poolings differ from it:
the averages leave the border out, and the last block takes maxima (Szegedy et al. 2015; Heusel et al. 2017).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.evaluation.learned.weights import load_named

SIDE, WIDTH = 299, 2048
"""Side of its pictures in pixels; numbers that it makes of one."""

_Way = Sequence[str]
"""Convolutions one after the other, as `NAME OUT KERNEL`: 3 is 3x3, 1x7 is 1 high and 7 wide, 3/2 takes every second pixel."""

_average = functools.partial(
    functional.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False
)
_maximum = functools.partial(functional.max_pool2d, kernel_size=3, stride=1, padding=1)
_halve = functools.partial(functional.max_pool2d, kernel_size=3, stride=2)


class Convolution(nn.Module):
    """A convolution without bias, normalized, without what is below zero."""

    def __init__(
        self, n_in: int, n_out: int, kernel: tuple[int, int], stride: int = 1, same: bool = True
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if same else 0
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(n_out, eps=0.001)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """Of the same size with `same`, else smaller by the kernel."""
        return functional.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Several ways through, side by side, and a pooling; all that comes out is stacked.

    Args:
        n_in: channels.
        ways: see `_Way`. `NAMEa|NAMEb` splits the way in two.
        pool: the pooling; followed by `branch_pool` where that has channels.
        pooled: these channels.
    """

    def __init__(
        self, n_in: int, ways: Sequence[_Way], pool: functools.partial[Tensor], pooled: int = 0
    ) -> None:
        super().__init__()
        self.ways: list[list[list[str]]] = []
        for way in ways:
            n_now, names = n_in, []
            for step in way:
                parts = [part.split() for part in step.split("|")]
                for name, n_out, kernel in parts:
                    self.add_module(name, _convolution(n_now, int(n_out), kernel))
                n_now = sum(int(n_out) for _, n_out, _ in parts)
                names.append([name for name, _, _ in parts])
            self.ways.append(names)
        self.pool = pool
        self.branch_pool = Convolution(n_in, pooled, (1, 1)) if pooled else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h2 w2"]:
        """All ways."""
        found = []
        for way in self.ways:
            y = x
            for names in way:
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1)
            found.append(y)
        return torch.cat([*found, self.branch_pool(self.pool(x))], 1)


def _convolution(n_in: int, n_out: int, kernel: str) -> Convolution:
    size, _, stride = kernel.partition("/")
    high, _, wide = size.partition("x")
    return Convolution(n_in, n_out, (int(high), int(wide or high)), int(stride or 1), same=not stride)


def _block_a(n_in: int, pooled: int) -> Block:
    ways = (
        ["branch1x1 64 1"],
        ["branch5x5_1 48 1", "branch5x5_2 64 5"],
        ["branch3x3dbl_1 64 1", "branch3x3dbl_2 96 3", "branch3x3dbl_3 96 3"],
    )
    return Block(n_in, ways, _average, pooled)


def _block_c(inner: int) -> Block:
    n = inner
    ways = (
        ["branch1x1 192 1"],
        [f"branch7x7_1 {n} 1", f"branch7x7_2 {n} 1x7", "branch7x7_3 192 7x1"],
        [
            *(f"branch7x7dbl_1 {n} 1", f"branch7x7dbl_2 {n} 7x1", f"branch7x7dbl_3 {n} 1x7"),
            *(f"branch7x7dbl_4 {n} 7x1", "branch7x7dbl_5 192 1x7"),
        ],
    )
    return Block(768, ways, _average, 192)


def _block_e(n_in: int, pool: functools.partial[Tensor]) -> Block:
    ways = (
        ["branch1x1 320 1"],
        ["branch3x3_1 384 1", "branch3x3_2a 384 1x3|branch3x3_2b 384 3x1"],
        ["branch3x3dbl_1 448 1", "branch3x3dbl_2 384 3", "branch3x3dbl_3a 384 1x3|branch3x3dbl_3b 384 3x1"],
    )
    return Block(n_in, ways, pool, 192)


class Inception(nn.Module):
    """The network up to its 2048 numbers; `fc`, which names 1008 things, is there for the weights' sake."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, (3, 3), 2, same=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, (3, 3), same=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = Convolution(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = Convolution(80, 192, (3, 3), same=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = (
            _block_a(n, pooled) for n, pooled in ((192, 32), (256, 64), (288, 64))
        )
        double = ["branch3x3dbl_1 64 1", "branch3x3dbl_2 96 3", "branch3x3dbl_3 96 3/2"]
        self.Mixed_6a = Block(288, (["branch3x3 384 3/2"], double), _halve)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (
            _block_c(inner) for inner in (128, 160, 160, 192)
        )
        long = [
            "branch7x7x3_1 192 1",
            "branch7x7x3_2 192 1x7",
            "branch7x7x3_3 192 7x1",
            "branch7x7x3_4 192 3/2",
        ]
        self.Mixed_7a = Block(768, (["branch3x3_1 192 1", "branch3x3_2 320 3/2"], long), _halve)
        self.Mixed_7b, self.Mixed_7c = _block_e(1280, _average), _block_e(2048, _maximum)
        self.fc = nn.Linear(WIDTH, 1008)

    def forward(self, x: Float[Tensor, "b 3 299 299"]) -> Float[Tensor, "b 2048"]:
        """Features of pictures in [-1, 1]."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(_halve(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(_halve(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))


def load_inception(path: Path) -> Inception:
    """The network with its weights (`emote download metrics`).

    Raises:
        WeightsError: the file is unreadable, or of another network.
    """
    return load_named(Inception(), path)


@torch.inference_mode()
def embed_pictures(
    network: Inception, pictures: UInt8[np.ndarray, "b 299 299 3"]
) -> Float[np.ndarray, "b 2048"]:
    """The 2048 numbers of each picture."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return network(x).numpy()
