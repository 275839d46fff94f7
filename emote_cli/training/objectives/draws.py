"""The randomness of a training step: noise, timesteps, and what is dropped.

All randomness of a sample depends on (seed, step, its number in the step) only. How a step's samples are
spread over processes and forward passes changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from emote_cli.data.dataset import TrainingExample
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.training.settings import StepSettings

Droppable = Literal["reference", "audio", "face_region", "speed"]


@dataclass(frozen=True, slots=True)
class Draw:
    """The randomness of one batch.

    Attributes:
        noise: that is added, and predicted.
        timestep: per row.
        motion_noise: on the motion frames.
        motion_kept: 1 where a cell of the motion frames is kept, 0 where it is blanked.
        dropped: part of the conditioning -> which rows go without it.
    """

    noise: Float[Tensor, "b f c h w"]
    timestep: Tensor
    motion_noise: Float[Tensor, "b n c h w"]
    motion_kept: Float[Tensor, "b n 1 h w"]
    dropped: dict[str, tuple[bool, ...]]


def sample_generator(seed: int, step: int, sample: int) -> torch.Generator:
    """Make the source of all randomness of one sample of one step.

    Args:
        seed: of the run.
        step: number of the optimizer step.
        sample: number of the sample in the step, over all processes.
    """
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
    """Draw all random numbers of a batch of latents.

    Args:
        batch: only its shape counts.
        schedule: draws the timesteps.
        settings: chances and sizes.
        seed: of the run.
        step: number of the optimizer step.
        first: number, within the step, of the batch's first sample.
    """
    if settings.noise_on == "device":
        return draw_at_once(batch, schedule, settings, sample_generator(seed, step, first))
    generators = (sample_generator(seed, step, first + row) for row in range(len(batch.target)))
    rows = [draw_sample(batch, schedule, settings, generator) for generator in generators]
    return Draw(
        noise=torch.stack([row.noise for row in rows]),
        timestep=torch.stack([row.timestep for row in rows]),
        motion_noise=torch.stack([row.motion_noise for row in rows]),
        motion_kept=torch.stack([row.motion_kept for row in rows]),
        dropped=join_dropped([row.dropped for row in rows]),
    )


class SampleDraw(NamedTuple):
    """The randomness of one sample; see `Draw`."""

    noise: Float[Tensor, "f c h w"]
    timestep: Int[Tensor, ""]
    motion_noise: Float[Tensor, "n c h w"]
    motion_kept: Float[Tensor, "n 1 h w"]
    dropped: dict[str, bool]


def draw_sample(
    batch: TrainingExample, schedule: NoiseSchedule, settings: StepSettings, generator: torch.Generator
) -> SampleDraw:
    """Draw all random numbers of one sample of a batch, on the CPU; see `draw`."""
    noise = torch.randn(batch.target.shape[1:], generator=generator)
    if settings.noise_offset:
        noise = noise + settings.noise_offset * torch.randn(*noise.shape[:2], 1, 1, generator=generator)
    chances = torch.rand(7, generator=generator).tolist()  # the last one is spare: streams stay as they were
    timestep = draw_timestep(schedule, settings, generator, chances[5])
    motion_noise = torch.randn(batch.motion.shape[1:], generator=generator)
    frames, _, height, width = motion_noise.shape
    kept = torch.rand(frames, 1, height, width, generator=generator) >= settings.motion_patch_drop
    return SampleDraw(noise, timestep, motion_noise, kept.float(), draw_dropped(chances, settings))


def draw_at_once(
    batch: TrainingExample, schedule: NoiseSchedule, settings: StepSettings, generator: torch.Generator
) -> Draw:
    """Draw all random numbers of a batch, its noise in one call on the batch's device: nothing is brought over.

    They depend on the generator of the batch's first sample, and so on how many processes share a step.

    Args:
        batch: only its shape and its device count.
        schedule: draws the timesteps.
        settings: chances and sizes.
        generator: of the batch's first sample.
    """
    device, rows = batch.target.device, len(batch.target)
    there = torch.Generator(device).manual_seed(generator.initial_seed())
    noise = torch.randn(batch.target.shape, generator=there, device=device)
    if settings.noise_offset:
        shared = torch.randn(*noise.shape[:3], 1, 1, generator=there, device=device)
        noise = noise + settings.noise_offset * shared
    motion_noise = torch.randn(batch.motion.shape, generator=there, device=device)
    frames, _, height, width = motion_noise.shape[1:]
    kept = torch.rand(rows, frames, 1, height, width, generator=there, device=device)
    chances = torch.rand(rows, 6, generator=generator).tolist()
    return Draw(
        noise=noise,
        timestep=torch.stack([draw_timestep(schedule, settings, generator, row[5]) for row in chances]),
        motion_noise=motion_noise,
        motion_kept=(kept >= settings.motion_patch_drop).float(),
        dropped=join_dropped([draw_dropped(row, settings) for row in chances]),
    )


def draw_timestep(
    schedule: NoiseSchedule, settings: StepSettings, generator: torch.Generator, chance: float
) -> Int[Tensor, ""]:
    """Draw a timestep: all are as likely; or take the last one, with the chance `terminal`.

    Args:
        schedule: says how many there are.
        settings: of them `terminal`.
        generator: of the sample.
        chance: a number of the sample's, 0 ... 1; below `terminal` the last timestep is taken.
    """
    drawn = schedule.random_timesteps(1, generator)[0]
    last = schedule.settings.timesteps - 1
    return torch.full_like(drawn, last) if chance < settings.terminal else drawn


def draw_dropped(chances: list[float], settings: StepSettings) -> dict[str, bool]:
    """Draw which parts of the conditioning one sample goes without, from the first five of its chances."""
    both = chances[4] < settings.drop_both
    return {
        "reference": both or chances[0] < settings.drop_reference,
        "audio": both or chances[1] < settings.drop_audio,
        "face_region": chances[2] < settings.drop_face_region,
        "speed": chances[3] < settings.drop_speed,
    }


def join_dropped(rows: list[dict[str, bool]]) -> dict[str, tuple[bool, ...]]:
    """Join what each sample goes without: for each part, which samples go without it."""
    return {name: tuple(row[name] for row in rows) for name in get_args(Droppable)}
