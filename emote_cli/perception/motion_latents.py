"""Motion latents: how a face moves, on the latent grid, in place of how it looks.

What opens a mouth is nearly the same displacement in every face. So the mini diffuses displacements: how far each
landmark of the face mesh is from its place in the portrait. Near the lips neighbors part (the lower lip leaves the
upper one), so the landmarks come in groups that move smoothly, and each group has its own pair of channels (x, y).

    latents(frame) = place + GAIN * displacement(portrait -> frame)

`place` tells where in the picture the parts of the face are: each cell's coordinates in a mean face. It is what the
reference holds; what is diffused is the rest. Both are the smoothest maps whose values at the landmarks are right, so
the way back is looking them up at the portrait's landmarks.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from emote_cli.perception.landmarks import LOWER_LIP_SKIN, UPPER_LID_SKIN, UPPER_LIP_SKIN

GAIN = 36.0
"""Latents per displacement of a distance between the eyes."""
SMOOTHNESS, SMALLNESS = 3e-5, 3e-6
"""Weights of the maps' differences between cells and of their size, against their error at the landmarks."""

Landmarks = Float[Tensor, "*b 478 2"]


@cache
def mean_face() -> Float[np.ndarray, "478 2"]:
    """Load the mean of many faces: origin between the eyes, unit their distance, y down."""
    with resources.files("emote_cli").joinpath("perception", "mean_face.npy").open("rb") as file:
        return np.load(file).astype(np.float32)


@cache
def groups() -> tuple[Int[np.ndarray, " _"], ...]:
    """List which landmarks are in each group: face, upper lip, lower lip, chin and jaw, upper lids."""
    face, everyone = mean_face(), np.arange(len(mean_face()))
    lips = [np.isin(everyone, lip) for lip in (UPPER_LIP_SKIN, LOWER_LIP_SKIN)]
    lids = np.isin(everyone, UPPER_LID_SKIN)
    jaw = (face[:, 1] > face[[61, 291], 1].mean() + 0.02) & ~lips[0] & ~lips[1]
    others = ~(lips[0] | lips[1] | lids | jaw)
    return tuple(np.flatnonzero(which) for which in (others, *lips, jaw, lids))


def unit_px(points: Landmarks) -> Float[Tensor, "*b"]:
    """Measure the distance between the eyes, in pixels."""
    right, left = points[..., [33, 133], :].mean(-2), points[..., [362, 263], :].mean(-2)
    return (left - right).norm(dim=-1)


def lookup_matrix(
    points: Float[Tensor, "points 2"], cells: int, size: int
) -> Float[Tensor, "points cells_2"]:
    """Compute bilinear weights of the grid's cells at places of the picture; beyond the edge the edge's cells count.

    Args:
        points: x and y in pixels.
        cells: along one side of the grid.
        size: side of the picture in pixels.

    Returns:
        For each point a weight of each cell, row by row of the grid; the weights of a point sum to 1.
    """
    place = (points * (cells / size) - 0.5).clamp(0, cells - 1 - 1e-4)
    low = place.floor()
    share, (x, y) = place - low, low.long().unbind(-1)
    weights = points.new_zeros(len(points), cells, cells)
    rows = torch.arange(len(points))
    for dy in (0, 1):
        for dx in (0, 1):
            wx = share[:, 0] if dx else 1 - share[:, 0]
            wy = share[:, 1] if dy else 1 - share[:, 1]
            weights[rows, y + dy, x + dx] += wx * wy
    return rearrange(weights, "p y x -> p (y x)")


@cache
def _roughness(cells: int) -> Float[Tensor, "cells_2 cells_2"]:
    """The sum of squared second differences of a map, as a matrix."""
    one = torch.zeros(cells - 2, cells, dtype=torch.float64)
    for k in range(cells - 2):
        one[k, k : k + 3] = torch.tensor([1.0, -2.0, 1.0])
    line = one.T @ one
    eye = torch.eye(cells, dtype=torch.float64)
    return torch.kron(line, eye) + torch.kron(eye, line)


class Grid:
    """The latent grid over one portrait: landmarks to maps and back.

    Args:
        portrait: the portrait's landmarks, in pixels of the square picture.
        cells: side of the grid.
        size: side of the picture in pixels.
    """

    def __init__(self, portrait: Float[Tensor, "478 2"], cells: int, size: int) -> None:
        self.portrait, self.cells, self.unit = portrait, cells, unit_px(portrait)
        self.lookups, self.spreads = [], []
        smooth = SMOOTHNESS * _roughness(cells) + SMALLNESS * torch.eye(cells**2, dtype=torch.float64)
        for which in groups():
            lookup = lookup_matrix(portrait[torch.from_numpy(which)].double(), cells, size)
            spread = torch.linalg.solve(lookup.T @ lookup / len(which) + smooth, lookup.T / len(which))
            self.lookups.append(lookup.float())
            self.spreads.append(spread.float())

    def spread(self, values: Float[Tensor, "f 478 2"]) -> Float[Tensor, "f c y x"]:
        """Spread values at the landmarks over maps, smoothly."""
        maps = [
            torch.einsum("sp,fpd->fds", spread, values[:, torch.from_numpy(which)])
            for which, spread in zip(groups(), self.spreads, strict=True)
        ]
        return rearrange(torch.cat(maps, 1), "f c (y x) -> f c y x", y=self.cells)

    def look_up(self, maps: Float[Tensor, "f c y x"]) -> Float[Tensor, "f 478 2"]:
        """Look values up in maps, at the landmarks."""
        flat = rearrange(maps, "f (g d) y x -> f g (y x) d", d=2)
        values = maps.new_zeros(len(maps), len(self.portrait), 2)
        for number, (which, lookup) in enumerate(zip(groups(), self.lookups, strict=True)):
            values[:, torch.from_numpy(which)] = lookup.to(maps) @ flat[:, number]
        return values

    def place(self) -> Float[Tensor, "1 c y x"]:
        """Tell where the parts of the face are: the mean face's coordinates, as maps."""
        return self.spread(torch.from_numpy(mean_face())[None])

    def encode(self, points: Float[Tensor, "f 478 2"]) -> Float[Tensor, "f c y x"]:
        """Turn landmarks of frames, in pixels, into motion latents."""
        return self.place() + self.spread((points - self.portrait) * (GAIN / self.unit))

    def decode(self, latents: Float[Tensor, "f c y x"]) -> Float[Tensor, "f 478 2"]:
        """Turn motion latents into landmarks of frames, in pixels."""
        moved = self.look_up(latents.float() - self.place().to(latents.device))
        return self.portrait.to(moved) + moved * (self.unit / GAIN)
