"""The model predicts an average, so lips move too little; this exaggerates their motion.

The latents that silence gives are subtracted from those that speech gives, and the difference is scaled at the mouth.
Large differences are scaled less, because the autoencoder draws stains far from the latents that it was trained on.
Dark skin and beards give small differences: how far loud speech moves the lips of this portrait sets the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from emote_cli.animation.aids.masks import draw_mouth_mask
from emote_cli.perception.features import SAMPLE_RATE_HZ
from emote_cli.shapes import VideoLatents
from emote_cli.types import Chunk, Face, Sound

FAR = 5.0
"""Length of the way, over a cell's channels in the autoencoder's own unit, at which half of the stretching is left."""
USUAL = 1.4
"""Length of a usual way at a mouth while the sound is loud, in the same unit: such lips are stretched as told."""
LEAST, MOST = 0.75, 4.0
"""How many times that much others are stretched."""


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

    def stretch(self, latents: VideoLatents) -> VideoLatents:
        """Exaggerate latents before they are decoded; motion frames are taken from those that the model made."""
        way = latents - self.rest
        length = way.square().sum(2, keepdim=True).sqrt()
        return self.rest + (1 + (self.times - 1) / (1 + (length / self.far) ** 2)) * way


def find_loudest(speech: Sound, chunks: Sequence[Chunk], fps: int) -> Chunk:
    """Find the chunk in which the sound has the most power.

    Args:
        speech: at 16 kHz.
        chunks: to choose from.
        fps: of their frames.
    """

    def power(chunk: Chunk) -> float:
        first, last = (round(SAMPLE_RATE_HZ * frame / fps) for frame in (chunk.start, chunk.stop))
        return float((speech.read(first, last).astype(np.float64) ** 2).sum())

    return max(chunks, key=power)


def articulate(
    silent: VideoLatents, loud: VideoLatents, times: float, face: Face, size: int, scale: float
) -> Articulation:
    """Work out the exaggeration: from what silence gives, and how far loud speech goes from there.

    Args:
        silent: a chunk of it.
        loud: a chunk of loud speech.
        times: how many times a short way from there is shown at a mouth of the usual kind; 1 is as the model says.
        face: of the portrait.
        size: of the portrait's side in pixels.
        scale: of the latents: the autoencoder's scaling factor.
    """
    place = torch.from_numpy(draw_mouth_mask(face, size))[None, None]
    cells = functional.adaptive_avg_pool2d(place, (silent.shape[-2], silent.shape[-1]))[0, 0].to(silent)
    rest = silent.mean(1, keepdim=True)
    share = scale_stretching(loud - rest, cells, scale) if face.blendshapes else 1.0
    return Articulation(rest, 1 + (times - 1) * share * cells, FAR * scale)


def scale_stretching(way: VideoLatents, cells: Float[Tensor, "h w"], scale: float) -> float:
    """Scale the stretching for this mouth: the shorter its way, the more.

    Args:
        way: from silence to loud speech.
        cells: where the mouth is, 0 ... 1.
        scale: of the latents.
    """
    length = (way.square().sum(2).sqrt().mean((0, 1)) * cells).sum() / cells.sum().clamp_min(1e-6)
    return min(max(USUAL * scale / max(float(length), 1e-6), LEAST), MOST)
