"""A model that predicts the mean of all that could be moves the lips too little; this moves them farther.

The way from what silence makes of the portrait to what speech makes of it is shown longer than it is: at the mouth,
and where it is short. Longer ways are stretched less, since the autoencoder draws stains where latents lie far off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from emote_cli.animation.detail import CHIN, soft_hull
from emote_cli.perception.regions import LIPS
from emote_cli.shapes import VideoLatents
from emote_cli.types import Face

FAR = 5.0
"""Length of the way, over a cell's channels in the autoencoder's own unit, at which half of the stretching is left."""
ROOM, SOFT = 0.05, 0.05
"""How far the mouth's surroundings reach beyond lips and chin, and how soft they end, over the face's height."""


@dataclass(frozen=True, slots=True)
class Articulation:
    """How the latents that are shown differ from those that the model made.

    Attributes:
        rest: latents of the portrait in silence.
        times: per cell, how many times a short way from there is shown; 1 is as the model says.
        far: length of the way at which half of the stretching is left.
    """

    rest: Float[Tensor, "b 1 c h w"]
    times: Float[Tensor, "h w"]
    far: float

    def shown(self, latents: VideoLatents) -> VideoLatents:
        """The latents to decode; those of the next chunk's motion frames stay as they are."""
        way = latents - self.rest
        length = way.square().sum(2, keepdim=True).sqrt()
        return self.rest + (1 + (self.times - 1) / (1 + (length / self.far) ** 2)) * way


def mouth(face: Face, size: int, *, chin: bool = True) -> Float[np.ndarray, "size size"]:
    """A soft mask: 1 over lips and chin; everywhere, where a person drew the face's box.

    Args:
        face: in a square picture.
        size: of its side in pixels.
        chin: whether it reaches down there.
    """
    if not face.blendshapes:
        return np.ones((size, size), np.float32)
    points, height = face.landmarks_px[[*LIPS, CHIN] if chin else list(LIPS), :2], face.box_px.height
    return soft_hull(points, size, SOFT * height, round(ROOM * height))


def articulate(silent: VideoLatents, times: float, face: Face, size: int, scale: float) -> Articulation:
    """From what the model makes of the portrait in silence.

    Args:
        silent: a chunk of it.
        times: how many times a short way from there is shown, at the mouth.
        face: of the portrait.
        size: of the portrait's side in pixels.
        scale: of the latents: the autoencoder's scaling factor.
    """
    place = torch.from_numpy(mouth(face, size))[None, None]
    cells = functional.adaptive_avg_pool2d(place, (silent.shape[-2], silent.shape[-1]))[0, 0]
    return Articulation(silent.mean(1, keepdim=True), 1 + (times - 1) * cells.to(silent.device), FAR * scale)
