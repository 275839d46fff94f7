"""Overlapping windows: every frame in each step, seams that move, and the oracle's answer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emote_cli.animation.schemes.overlap import plan_windows, sample_overlapping
from emote_cli.diffusion.objective import target_for
from emote_cli.diffusion.sampler import sample
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.settings import DiffusionSettings


@given(st.integers(1, 300), st.integers(2, 17), st.integers(0, 11), st.integers(0, 99))
def test_every_frame_is_in_a_window(frames: int, size: int, overlap: int, offset: int):
    windows = plan_windows(frames, size, min(overlap, size - 1), offset)
    assert {frame for window in windows for frame in window} == set(range(frames))
    for window in windows:
        assert len(window) == len(set(window)) == min(size, frames)


def test_the_cuts_move_from_step_to_step():
    first, second = plan_windows(50, 12, 3, 0), plan_windows(50, 12, 3, 2)
    assert {window[0] for window in first} != {window[0] for window in second}


@pytest.mark.parametrize("frames", [5, 13])
def test_an_oracle_returns_the_clean_latents(frames: int):
    schedule = NoiseSchedule(DiffusionSettings())
    clean, noise = torch.randn(1, frames, 3, 2, 5), torch.randn(1, frames, 3, 2, 5)

    def denoise(noisy, timestep, window):
        alpha, sigma = schedule.levels(timestep)
        part = clean[:, window]
        return target_for(schedule, part, (noisy - alpha * part) / sigma, torch.tensor([timestep]))

    out = sample_overlapping(denoise, noise, schedule, steps=5, size=7)
    torch.testing.assert_close(out, clean, atol=1e-4, rtol=1e-4)


def test_a_short_video_is_sampled_as_any_chunk():
    schedule = NoiseSchedule(DiffusionSettings())
    noise = torch.randn(1, 5, 3, 2, 5)
    ours = sample_overlapping(lambda noisy, *_: noisy.tanh(), noise, schedule, steps=4, size=7)
    assert torch.equal(ours, sample(lambda noisy, _: noisy.tanh(), noise, schedule, steps=4))


@pytest.mark.parametrize("frames", [1, 2, 5, 12, 13, 21, 22, 40])
@pytest.mark.parametrize("step", [0, 1, 7])
def test_windows_are_those_of_the_published_loop(frames: int, step: int):
    """12 frames, 3 shared, counted around the end; each step moves all by two, a short video's only one, too."""
    first = range(0, frames, 9) if frames > 12 else [0]
    told = [[(start + place + 2 * step) % frames for place in range(min(12, frames))] for start in first]
    assert plan_windows(frames, 12, 3, 2 * step, turn_short=True) == told
