"""From noise to latents; the noise depends on (seed, frame) only."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.diffusion.solvers import make_solver
from emote_cli.shapes import VideoLatents

Denoise = Callable[[VideoLatents, int | Int[Tensor, " b"]], VideoLatents]
"""Noisy latents and their timestep (one number for all rows, or one per row) -> the network's prediction."""

COMMON = 2**32 - 1
"""In place of a frame's number: the noise that all frames share."""


def frame_noise(seed: int, frame: int, shape: tuple[int, ...]) -> Float[Tensor, ...]:
    """Draw standard normal noise for one frame, on the CPU: the same on every device and for any chunking.

    Args:
        seed: of the video.
        frame: number of the frame in the video, or `COMMON`.
        shape: channels, height and width of a frame's latents.
    """
    mixed = np.random.SeedSequence([seed, frame]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
    return torch.randn(shape, generator=generator)


def chunk_noise(
    seed: int, frames: range, shape: tuple[int, int, int], shared: float = 0.0
) -> Float[Tensor, "1 f c h w"]:
    """Draw the noise of several frames.

    Args:
        seed: of the video.
        frames: their numbers.
        shape: of one frame's latents.
        shared: share of the noise's variance that all frames of the video have in common: what the noise leaves
            in the picture then stays still instead of flickering.
    """
    own = torch.stack([frame_noise(seed, frame, shape) for frame in frames])[None]
    if not shared:
        return own
    return math.sqrt(shared) * frame_noise(seed, COMMON, shape) + math.sqrt(1 - shared) * own


def guide(conditional: Denoise, unconditional: Denoise, scale: float, guided_from: int = 0) -> Denoise:
    """Classifier-free guidance (Ho and Salimans, arXiv 2207.12598): u + scale (c - u).

    Args:
        conditional: told everything.
        unconditional: told next to nothing.
        scale: at 1 only the conditional network runs.
        guided_from: at timesteps below this one, too, only the conditional network runs; the timestep must then
            be one number for all rows.
    """
    if scale == 1.0:
        return conditional

    def denoise(noisy: VideoLatents, timestep: int | Int[Tensor, " b"]) -> VideoLatents:
        if guided_from and timestep < guided_from:
            return conditional(noisy, timestep)
        base = unconditional(noisy, timestep).float()
        return base + scale * (conditional(noisy, timestep).float() - base)

    return denoise


def guide_at_once(both: Denoise, conditional: Denoise, scale: float, guided_from: int = 0) -> Denoise:
    """`guide` with both halves in one batch.

    Args:
        both: told nearly nothing in the first half of its rows, and everything in the second.
        conditional: told everything.
        scale: not 1.
        guided_from: as in `guide`.
    """

    def denoise(noisy: VideoLatents, timestep: int | Int[Tensor, " b"]) -> VideoLatents:
        if guided_from and timestep < guided_from:
            return conditional(noisy, timestep)
        times = timestep if isinstance(timestep, int) else timestep.repeat(2)
        base, told = both(torch.cat([noisy, noisy]), times).float().chunk(2)
        return base + scale * (told - base)

    return denoise


def sample(
    denoise: Denoise, noise: VideoLatents, schedule: NoiseSchedule, *, steps: int, solver: str = "ddim"
) -> VideoLatents:
    """Denoise pure noise, step by step, to latents.

    By DDIM (Song et al., arXiv 2010.02502) or DPM-Solver++ (Lu et al., arXiv 2211.01095), see solvers.py.

    Args:
        denoise: noisy latents and timestep -> prediction (as the schedule's objective says).
        noise: standard normal.
        schedule: the schedule that the network was trained on.
        steps: denoising steps.
        solver: "ddim" or "dpm".
    """
    run, latents = make_solver(solver, schedule, steps), noise
    for timestep in run.timesteps:
        predicted = denoise(latents, timestep)
        latents = run.step(predicted.float(), timestep, latents.float()).to(noise.dtype)
    return latents
