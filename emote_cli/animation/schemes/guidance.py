"""Classifier-free guidance: both of its halves through one network, one after the other or in one batch."""

from __future__ import annotations

from functools import partial

from emote_cli.animation.quality import Recipe
from emote_cli.diffusion.sampler import Denoise, guide, guide_at_once
from emote_cli.model.conditioning import GuidedConditioning, join_halves
from emote_cli.model.emo import Emo

AT_ONCE_MOST: dict[str, int] = {"cpu": 150_000}
"""Kind of device -> numbers in a chunk's largest maps up to which both halves go in one batch: where that is faster.

Measured on two cores, one thread, CPU time of one batch over that of two: 0.6 with 20,000 numbers, 0.8 with 50,000,
0.94 with 100,000, 1.05 with 200,000. The operations are the same, the largest maps twice as large. On a GPU the halves
follow each other until tests/gpu/measure.py says otherwise: the maps of 512x512 fill it, and memory is short.
"""


def guide_network(model: Emo, both: GuidedConditioning, how: Recipe) -> Denoise:
    """Bind a network to what its two halves are told.

    Args:
        model: any.
        both: with an unconditional half unless `how.guidance` is 1.
        how: the scale, and down to which timestep it counts.
    """
    conditional = partial(model, conditioning=both.conditional)
    if both.unconditional is None or how.guidance == 1.0:
        return conditional
    if goes_at_once(model):
        joined = partial(model, conditioning=join_halves(both.unconditional, both.conditional))
        return guide_at_once(joined, conditional, how.guidance, how.guided_from)
    unconditional = partial(model, conditioning=both.unconditional)
    return guide(conditional, unconditional, how.guidance, how.guided_from)


def goes_at_once(model: Emo) -> bool:
    """Whether both halves of a chunk go through the network in one batch."""
    settings, device = model.settings, model.backbone.conv_in.weight.device
    maps = settings.unet.block_channels[0] * settings.latent_size**2 * settings.temporal.chunk_frames
    return maps <= AT_ONCE_MOST.get(device.type, 0)
