"""Clips in motion latents: made from the tracks alone, in seconds, without decoding a picture.

Each clip is seen from several portraits (frames of its own), and once more as altered copies: mirrored, larger,
turned, faster, in another room. The head is held as the portrait holds it: sound tells how the face moves; where the
head goes is another matter.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from emote_cli.data.variants import Variant
from emote_cli.perception.landmarks import SKULL
from emote_cli.perception.motion_latents import Grid, mean_face

GROUP_WEIGHTS = (1.0, 4.0, 4.0, 2.0, 1.0)
"""How much an error counts at a landmark of each group: see perception/motion_latents.py."""
BACKGROUND_WEIGHT = 0.02
"""How much it counts where there is no landmark."""

Points3 = Float[np.ndarray, "frames 478 3"]


@cache
def mirror_pairs() -> Int[np.ndarray, " 478"]:
    """For each landmark the one on the other side of the face."""
    face = mean_face()
    away = ((face[:, None] - (face * [-1, 1])[None]) ** 2).sum(-1)
    return np.asarray(away.argmin(1))


def hold_head(points: Points3, portrait: Float[np.ndarray, "478 3"]) -> Points3:
    """The same faces, turned, scaled and moved in space until the skull is where the portrait has it."""
    skull = list(SKULL)
    goal = portrait[skull].astype(np.float64)
    middle = goal.mean(0)
    faces = points[:, skull].astype(np.float64)
    middles = faces.mean(1, keepdims=True)
    spread = faces - middles
    u, size, vt = np.linalg.svd(np.einsum("fpi,pj->fij", spread, goal - middle))
    flip = np.sign(np.linalg.det(u @ vt))
    u[..., 2] *= flip[:, None]
    size[..., 2] *= flip
    turn = u @ vt
    scale = size.sum(-1) / np.maximum((spread**2).sum((1, 2)), 1e-9)
    held = np.einsum("fpi,fij->fpj", points - middles, turn) * scale[:, None, None] + middle
    return held.astype(np.float32)


def alter(points: Points3, variant: Variant, size: int) -> Points3:
    """The landmarks of an altered copy."""
    affine = variant.affine(size)
    moved = points.copy()
    moved[..., :2] = points[..., :2] @ affine[:, :2].T + affine[:, 2]
    moved[..., 2] *= variant.scale
    return moved[:, mirror_pairs()] if variant.mirrored else moved


def weights_of(grid: Grid) -> Float[Tensor, "c y x"]:
    """Loss weights on the latent grid: where each group's landmarks are."""
    maps = []
    for lookup, weight in zip(grid.lookups, GROUP_WEIGHTS, strict=True):
        share = lookup.sum(0).reshape(grid.cells, grid.cells)
        maps += [BACKGROUND_WEIGHT + weight * share / share.sum() * 20] * 2
    return torch.stack(maps)
