"""One training step, without its optimizer: batch -> one loss per sample.

All randomness of a sample depends on (seed, step, its number in the step) only. How a step's samples are
spread over processes and forward passes changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from emote_cli.data.dataset import TrainingExample
from emote_cli.diffusion.objective import min_snr_weight, per_sample_loss, target_for
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.model.conditioning import Conditioning
from emote_cli.model.emo import Emo
from emote_cli.settings import Settings
from emote_cli.training.teacher import Teacher

Droppable = Literal["reference", "audio", "face_region", "speed"]


class StepSettings(Settings):
    """What is dropped and disturbed while training: chances and shares, 0 to 1."""

    drop_reference: float = Field(0.05, ge=0, le=1)
    drop_audio: float = Field(0.05, ge=0, le=1)
    drop_both: float = Field(0.0, ge=0, le=1, description="reference and audio together: guidance's null")
    drop_face_region: float = Field(0.1, ge=0, le=1)
    drop_speed: float = Field(0.1, ge=0, le=1)
    motion_noise: float = Field(
        0.0, ge=0, description="against drift: noise on motion latents, as a share of their own deviation"
    )
    motion_patch_drop: float = Field(
        0.0, ge=0, le=1, description="against drift: share of the motion latents' cells that is blanked"
    )
    noise_offset: float = Field(0.0, ge=0, description="noise shared by all cells of a channel, per frame")
    terminal: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of samples drawn at the last timestep, where few-step sampling begins",
    )
    teach: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of samples whose audio tokens tell the true lips (lips.py); not in stage distill",
    )
    floor: int = Field(0, ge=0, description="smallest timestep: few-step sampling never sees those below")
    min_snr: bool = Field(True, description="weight samples by min(SNR + 1, 5)")


@dataclass(frozen=True, slots=True)
class Draw:
    """The randomness of one batch, drawn on the CPU.

    Attributes:
        noise: that is added, and predicted.
        timestep: per row.
        motion_noise: on the motion frames.
        motion_kept: 1 where a cell of the motion frames is kept, 0 where it is blanked.
        taught: 1 for rows whose audio tokens are moved to tell the true lips.
        dropped: part of the conditioning -> which rows go without it.
    """

    noise: Float[Tensor, "b f c h w"]
    timestep: Tensor
    motion_noise: Float[Tensor, "b n c h w"]
    motion_kept: Float[Tensor, "b n 1 h w"]
    taught: Float[Tensor, " b"]
    dropped: dict[str, tuple[bool, ...]]


def sample_generator(seed: int, step: int, sample: int) -> torch.Generator:
    """The source of all randomness of one sample of one step."""
    state = np.random.SeedSequence([seed, step, sample]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def draw(
    batch: TrainingExample,
    schedule: NoiseSchedule,
    settings: StepSettings,
    seed: int,
    step: int,
    first: int = 0,
) -> Draw:
    """All random numbers of a batch of latents.

    Args:
        batch: only its shape counts.
        schedule: draws the timesteps.
        settings: chances and sizes.
        seed: of the run.
        step: number of the optimizer step.
        first: number, within the step, of the batch's first sample.
    """
    rows = []
    for sample in range(first, first + len(batch.target)):
        generator = sample_generator(seed, step, sample)
        noise = torch.randn(batch.target.shape[1:], generator=generator)
        if settings.noise_offset:
            noise = noise + settings.noise_offset * torch.randn(*noise.shape[:2], 1, 1, generator=generator)
        chances = torch.rand(7, generator=generator).tolist()
        timestep = chosen_timestep(schedule, settings, generator, chances[5])
        motion_noise = torch.randn(batch.motion.shape[1:], generator=generator)
        frames, _, height, width = motion_noise.shape
        kept = torch.rand(frames, 1, height, width, generator=generator) >= settings.motion_patch_drop
        taught = chances[6] < settings.teach
        rows.append((noise, timestep, motion_noise, kept.float(), taught, drops(chances, settings)))
    noises, timesteps, motions, kepts, taughts, dropped = zip(*rows, strict=True)
    return Draw(
        noise=torch.stack(noises),
        timestep=torch.stack(timesteps),
        motion_noise=torch.stack(motions),
        motion_kept=torch.stack(kepts),
        taught=torch.tensor(taughts, dtype=torch.float32),
        dropped={name: tuple(row[name] for row in dropped) for name in get_args(Droppable)},
    )


def chosen_timestep(
    schedule: NoiseSchedule, settings: StepSettings, generator: torch.Generator, chance: float
) -> Int[Tensor, ""]:
    """Uniform, raised to the floor; or the last one."""
    drawn = schedule.random_timesteps(1, generator)[0]
    last = schedule.settings.timesteps - 1
    return (
        torch.full_like(drawn, last)
        if chance < settings.terminal
        else drawn.clamp(min=min(settings.floor, last))
    )


def drops(chances: list[float], settings: StepSettings) -> dict[str, bool]:
    """Which parts of the conditioning one sample goes without, from the first five numbers."""
    both = chances[4] < settings.drop_both
    return {
        "reference": both or chances[0] < settings.drop_reference,
        "audio": both or chances[1] < settings.drop_audio,
        "face_region": chances[2] < settings.drop_face_region,
        "speed": chances[3] < settings.drop_speed,
    }


def disturbed_motion(
    batch: TrainingExample, drawn: Draw, settings: StepSettings
) -> Float[Tensor, "b n c h w"]:
    """The motion frames as an imperfect chunk before would have left them."""
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
    teacher: Teacher | None = None,
) -> Conditioning:
    """Build the conditioning by the model's own function, correct what is heard, then drop parts."""
    full = model.condition(
        reference=model.encode_reference(batch.reference),
        motion=disturbed_motion(batch, drawn, settings) if temporal else None,
        audio=batch.audio,
        face_region=batch.face_region,
        speed=batch.speed if temporal else None,
        temporal=temporal,
    )
    if teacher is not None and full.audio is not None:
        rows = drawn.taught.to(batch.lips)
        full = replace(full, audio=teacher.correct(full.audio, batch.lips, rows))
    first = tuple(not has for has in batch.has_motion.tolist())
    return full.drop(motion=first, **drawn.dropped)


def loss_for(
    model: Emo,
    schedule: NoiseSchedule,
    batch: TrainingExample,
    drawn: Draw,
    settings: StepSettings,
    temporal: bool,
    teacher: Teacher | None = None,
) -> Float[Tensor, " b"]:
    """One loss per sample, weighted after the mean over the sample, before the mean over the batch."""
    clean = model.to_target(batch.target, batch.reference)
    noise, timestep = drawn.noise.to(clean), drawn.timestep.to(clean.device)
    conditioning = conditioning_for(model, batch, drawn, settings, temporal, teacher)
    predicted = model(schedule.add_noise(clean, noise, timestep), timestep, conditioning)
    losses = per_sample_loss(predicted, target_for(schedule, clean, noise, timestep), batch.weight)
    return losses * min_snr_weight(schedule, timestep) if settings.min_snr else losses
