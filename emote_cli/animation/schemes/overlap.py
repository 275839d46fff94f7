"""Long videos without motion frames: overlapping windows that are denoised together (EchoMimic).

In every denoising step the whole video's latents are cut into windows, the predictions are averaged where
windows overlap, and the cuts move on, so that no seam stays at the same frame. Memory for latents and sound grows
with the video (100 kB a frame at 512x512); the network sees one window at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch

from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.diffusion.solvers import make_solver
from emote_cli.shapes import VideoLatents

DenoiseWindow = Callable[[VideoLatents, int, list[int]], VideoLatents]


def plan_windows(
    frames: int, size: int, overlap: int, offset: int, turn_short: bool = False
) -> list[list[int]]:
    """Plan the windows of one denoising step, as frame numbers; each frame is in at least one.

    Args:
        frames: of the video.
        size: frames per window.
        overlap: frames that neighbors share.
        offset: how far the cuts have moved in this step. Frame numbers wrap around at the end of the video.
        turn_short: whether the only window of a short video moves as well, so that its end comes before its
            beginning.
    """
    if frames <= size:
        moved = offset if turn_short else 0
        return [[(index + moved) % frames for index in range(frames)]]
    starts = range(0, frames, size - overlap)
    return [[(start + offset + index) % frames for index in range(size)] for start in starts]


def split_into_spans(frames: list[int]) -> list[slice]:
    """Split frame numbers into slices: a new one begins where a number does not follow the last."""
    starts = [at for at in range(len(frames)) if at == 0 or frames[at] != frames[at - 1] + 1]
    return [slice(frames[start], frames[stop - 1] + 1) for start, stop in pairwise([*starts, len(frames)])]


def sample_overlapping(
    denoise: DenoiseWindow,
    noise: VideoLatents,
    schedule: NoiseSchedule,
    *,
    steps: int,
    size: int,
    overlap: int = 3,
    shift: int = 2,
    solver: str = "ddim",
    turn_short: bool = False,
) -> VideoLatents:
    """Denoise a whole video window by window.

    Args:
        denoise: noisy latents of a window, timestep, its frame numbers -> prediction.
        noise: of the whole video.
        schedule: that the network was trained on.
        steps: denoising steps.
        size: frames per window.
        overlap: frames that neighbors share.
        shift: frames by which the cuts move on in each step.
        solver: "ddim" or "dpm".
        turn_short: whether the cuts also move in a video no longer than one window.
    """
    run, latents = make_solver(solver, schedule, steps), noise
    for number, timestep in enumerate(run.timesteps):
        total = torch.zeros_like(latents, dtype=torch.float32)
        count = torch.zeros(latents.shape[1], device=latents.device)
        for window in plan_windows(latents.shape[1], size, overlap, number * shift, turn_short):
            parts = split_into_spans(window)
            part_of_video = torch.cat([latents[:, part] for part in parts], 1)
            predicted = denoise(part_of_video, timestep, window).float()
            for part, piece in zip(
                parts, torch.split(predicted, [part.stop - part.start for part in parts], 1), strict=True
            ):
                total[:, part] += piece
                count[part] += 1
        latents = run.step(total / count[:, None, None, None], timestep, latents.float()).to(noise.dtype)
    return latents
