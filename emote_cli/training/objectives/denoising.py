"""Stages `image`, `video` and `speed`: predict what was noise in the latents of the target frames."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from emote_cli.data.dataset import TrainingExample
from emote_cli.diffusion.objective import min_snr_weight, per_sample_loss, target_for
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.model.conditioning import Conditioning
from emote_cli.model.emo import Emo
from emote_cli.training.objectives.base import Objective
from emote_cli.training.objectives.draws import Draw, draw
from emote_cli.training.settings import StepSettings, TrainSettings


class Denoising(Objective):
    """Noisy latents -> what the schedule's objective asks for (v, noise or picture).

    Args:
        model: whose parameters are frozen for the stage here.
        settings: of the stage.
    """

    def __init__(self, model: Emo, settings: TrainSettings) -> None:
        super().__init__(model, settings)
        self.schedule = NoiseSchedule(model.settings.diffusion)

    def forward(self, batch: TrainingExample, step: int, first: int) -> Float[Tensor, " b"]:
        """One loss per sample; see `Objective.forward`."""
        batch = encode_pictures(self.model, batch)
        drawn = draw(batch, self.schedule, self.settings.step, self.settings.seed, step, first)
        temporal = self.settings.stage != "image"
        return loss_for(self.model, self.schedule, batch, drawn, self.settings.step, temporal)


def disturb_motion(batch: TrainingExample, drawn: Draw, settings: StepSettings) -> Float[Tensor, "b n c h w"]:
    """Disturb motion frames as an imperfect chunk before would have left them.

    Args:
        batch: of latents.
        drawn: its noise, and which cells are kept.
        settings: how strong the noise is, and whether cells are blanked.
    """
    motion = batch.motion
    if settings.motion_noise:
        deviation = motion.std(dim=(1, 2, 3, 4), keepdim=True)
        motion = motion + settings.motion_noise * deviation * drawn.motion_noise.to(motion)
    return motion * drawn.motion_kept.to(motion) if settings.motion_patch_drop else motion


def conditioning_for(
    model: Emo,
    batch: TrainingExample,
    drawn: Draw,
    settings: StepSettings,
    temporal: bool,
) -> Conditioning:
    """Build the conditioning by the model's own function, then drop what was drawn to be dropped.

    Args:
        model: that trains.
        batch: of latents.
        drawn: what is dropped from which sample.
        settings: how motion frames are disturbed.
        temporal: whether frames follow each other (all stages but image).
    """
    full = model.condition(
        reference=model.encode_reference(batch.reference),
        motion=disturb_motion(batch, drawn, settings) if temporal else None,
        audio=batch.audio,
        face_region=batch.face_region,
        speed=batch.speed if temporal else None,
        temporal=temporal,
    )
    first = tuple(not has for has in batch.has_motion.tolist())
    return full.drop(motion=first, **drawn.dropped)


def loss_for(
    model: Emo,
    schedule: NoiseSchedule,
    batch: TrainingExample,
    drawn: Draw,
    settings: StepSettings,
    temporal: bool,
) -> Float[Tensor, " b"]:
    """Compute one loss per sample, weighted after the mean over the sample, before the mean over the batch.

    Args:
        model: that trains.
        schedule: of the noise.
        batch: of latents.
        drawn: its noise, timesteps, and what is dropped.
        settings: chances and weights.
        temporal: whether frames follow each other (all stages but image).
    """
    clean = model.to_target(batch.target, batch.reference)
    noise, timestep = drawn.noise.to(clean), drawn.timestep.to(clean.device)
    conditioning = conditioning_for(model, batch, drawn, settings, temporal)
    predicted = model(schedule.add_noise(clean, noise, timestep), timestep, conditioning)
    losses = per_sample_loss(predicted, target_for(schedule, clean, noise, timestep), batch.weight)
    return losses * min_snr_weight(schedule, timestep) if settings.min_snr else losses


@torch.no_grad()
def encode_pictures(model: Emo, batch: TrainingExample) -> TrainingExample:
    """Encode a batch of pictures to latents; one that is in latents already passes through."""
    if batch.target.shape[2] == model.settings.autoencoder.latent_channels:
        return batch
    with torch.autocast(batch.target.device.type, enabled=False):

        def encode(frames: Float[Tensor, "b f c h w"]) -> Tensor:
            latents = model.autoencoder.encode(rearrange(frames, "b f c h w -> (b f) c h w"))
            return rearrange(latents, "(b f) c h w -> b f c h w", b=len(frames))

        return batch._replace(
            target=encode(batch.target),
            motion=encode(batch.motion),
            reference=model.autoencoder.encode(batch.reference),
        )
