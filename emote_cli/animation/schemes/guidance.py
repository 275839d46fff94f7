"""Classifier-free guidance of public checkpoints: their two conditionings through one network."""

from __future__ import annotations

from functools import partial

from emote_cli.animation.quality import Recipe
from emote_cli.diffusion.sampler import Denoise, guide
from emote_cli.model.adapters import GuidedConditioning
from emote_cli.model.emo import Emo


def guide_checkpoint(model: Emo, both: GuidedConditioning, how: Recipe) -> Denoise:
    """Bind the network to what its two halves are told.

    Args:
        model: of the checkpoint.
        both: with an unconditional half unless `how.guidance` is 1.
        how: the scale, and down to which timestep it counts.
    """
    return guide(
        partial(model, conditioning=both.conditional),
        partial(model, conditioning=both.unconditional),
        how.guidance,
        how.guided_from,
    )
