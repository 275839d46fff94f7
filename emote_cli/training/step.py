"""One training step, without its optimizer: batch -> one loss per sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.data.dataset import TrainingExample
from emote_cli.diffusion.objective import min_snr_weight, per_sample_loss, target_for
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.model.conditioning import Conditioning
from emote_cli.model.emo import Emo
from emote_cli.settings import Settings


class StepSettings(Settings):
    """What is dropped and disturbed while training."""

    drop_reference: float = 0.05
    drop_audio: float = 0.05
    drop_face_region: float = 0.1
    drop_speed: float = 0.1
    motion_noise: float = 0.0
    """Noise on the motion frames' latents, as a share of their own standard deviation: against drift."""
    noise_offset: float = 0.0
    min_snr: bool = True


@dataclass(frozen=True, slots=True)
class Draw:
    """The randomness of one batch, drawn on the CPU from (seed, step)."""

    noise: Tensor
    timestep: Tensor
    motion_noise: Tensor
    dropped: dict[str, tuple[bool, ...]]


def draw(batch: TrainingExample, schedule: NoiseSchedule, settings: StepSettings, seed: int, step: int) -> Draw:
    """All random numbers of a step; they depend on (seed, step) and the batch's shape only."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    rows = len(batch.target)
    noise = torch.randn(batch.target.shape, generator=generator)
    if settings.noise_offset:
        noise = noise + settings.noise_offset * torch.randn(*noise.shape[:3], 1, 1, generator=generator)
    chances = torch.rand(4, rows, generator=generator).tolist()
    limits = (settings.drop_reference, settings.drop_audio, settings.drop_face_region, settings.drop_speed)
    names = ("reference", "audio", "face_region", "speed")
    return Draw(
        noise=noise,
        timestep=schedule.random_timesteps(rows, generator),
        motion_noise=torch.randn(batch.motion.shape, generator=generator),
        dropped={
            name: tuple(chance < limit for chance in row)
            for name, row, limit in zip(names, chances, limits, strict=True)
        },
    )


def conditioning_for(
    model: Emo, batch: TrainingExample, drawn: Draw, settings: StepSettings, temporal: bool
) -> Conditioning:
    """Build the conditioning by the model's own function, then drop parts of it."""
    motion = batch.motion + settings.motion_noise * batch.motion.std() * drawn.motion_noise.to(batch.motion)
    full = model.condition(
        reference=model.encode_reference(batch.reference),
        motion=motion if temporal else None,
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
    """One weighted loss per sample (weighted after the mean over the sample, before the mean over the batch)."""
    clean = model.to_target(batch.target, batch.reference)
    noise, timestep = drawn.noise.to(clean), drawn.timestep.to(clean.device)
    conditioning = conditioning_for(model, batch, drawn, settings, temporal)
    predicted = model(schedule.add_noise(clean, noise, timestep), timestep, conditioning)
    losses = per_sample_loss(predicted, target_for(schedule, clean, noise, timestep), batch.weight)
    return losses * min_snr_weight(schedule, timestep) if settings.min_snr else losses
