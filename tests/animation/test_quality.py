"""What the qualities mean, and which weights they ask for."""

import itertools
from pathlib import Path

import pytest
import torch

from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.quality import Recipe, choose_recipe
from emote_cli.animation.schemes.overlap import plan_windows
from emote_cli.animation.variants import find_variant
from emote_cli.diffusion.sampler import guide
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.diffusion.solvers import make_solver
from emote_cli.settings import load_preset

HALLO = load_preset("hallo").diffusion

SIX_STEP = "echomimic-6step"


def test_paper_is_the_models_own_way():
    assert (
        choose_recipe(HALLO, AnimateOptions())
        == choose_recipe(HALLO, AnimateOptions(quality="paper"))
        == Recipe("ddim", 40, 3.5, 0)
    )


def test_each_quality_costs_less_than_the_one_before():
    """Passes through the network: one per step, two where guidance is on."""
    schedule = NoiseSchedule(HALLO)
    passes = []
    for quality in ("paper", "balanced", "fast"):
        how = choose_recipe(HALLO, AnimateOptions(quality=quality))
        timesteps = make_solver(how.solver, schedule, how.steps).timesteps
        passes.append(len(timesteps) + sum(timestep >= how.guided_from for timestep in timesteps))
    assert passes == [80, 35, 15]


def test_what_is_named_wins():
    how = choose_recipe(HALLO, AnimateOptions(quality="fast", steps=17, guidance=1.5, solver="ddim"))
    assert (how.solver, how.steps, how.guidance) == ("ddim", 17, 1.5)


def test_models_made_for_few_steps_are_left_alone():
    for name in ("mini", SIX_STEP):
        settings = load_preset(name).diffusion
        assert choose_recipe(settings, AnimateOptions(quality="fast")) == choose_recipe(
            settings, AnimateOptions()
        )


def test_guidance_ends_at_its_timestep():
    calls = []
    denoise = guide(
        lambda noisy, time: calls.append("c") or noisy + 1,
        lambda noisy, time: calls.append("u") or noisy,
        2.0,
        250,
    )
    zeros = torch.zeros(1, 2, 3, 5, 7)
    assert torch.equal(denoise(zeros, 250), zeros + 2)
    assert torch.equal(denoise(zeros, 249), zeros + 1)
    assert calls == ["u", "c", "c"]


def test_six_steps_by_name_or_where_they_are_installed(tmp_path: Path):
    settings = load_preset("echomimic")
    assert find_variant(SIX_STEP, settings, None, tmp_path) == SIX_STEP
    assert find_variant("echomimic", settings, "fast", tmp_path) is None
    assert find_variant("echomimic", settings, "fast", None) is None
    for name in ("denoising_unet_acc.safetensors", "motion_module_acc.safetensors"):
        (tmp_path / name).touch()
    assert find_variant("echomimic", settings, "fast", tmp_path) == SIX_STEP
    assert find_variant("echomimic", settings, "balanced", tmp_path) is None
    assert find_variant("hallo", load_preset("hallo"), "fast", tmp_path) is None


def test_the_six_step_preset_differs_in_its_steps_only():
    usual, quick = load_preset("echomimic").model_dump(), load_preset(SIX_STEP).model_dump()
    differences = {key for key in usual if usual[key] != quick[key]}
    assert differences == {"name", "diffusion"}
    assert quick["diffusion"] == usual["diffusion"] | {"steps": 6, "guidance": 1.0}


def test_six_steps_need_no_other_step_rule():
    """The original turns each v into x_0 and back into a "velocity" between t and a clean picture.

    That is the same v, at all of its six timesteps: plain DDIM is what it runs.
    """
    schedule = NoiseSchedule(load_preset(SIX_STEP).diffusion)
    timesteps = make_solver("ddim", schedule, 6).timesteps
    assert timesteps == (999, 832, 666, 499, 332, 166)
    noisy, velocity = torch.randn(2, 1, 3, 5, 7, dtype=torch.float64)
    for time in timesteps:
        alpha, sigma = schedule.levels(time)
        clean = alpha * noisy - sigma * velocity
        torch.testing.assert_close((clean - alpha * noisy) / -sigma, velocity)


@pytest.mark.parametrize(
    ("frames", "step", "starts"),
    [
        (50, 0, [0, 9, 18, 27, 36, 45]),
        (50, 7, [14, 23, 32, 41, 0, 9]),
        (13, 3, [6, 2]),
        (12, 4, [8]),
        (5, 9, [3]),
    ],
)
def test_windows_are_those_of_the_original(frames: int, step: int, starts: list[int]):
    """Where its windows of 12 frames that share 3 begin, worked out by hand: they move on by two in each step."""
    windows = plan_windows(frames, 12, 3, 2 * step, turn_short=True)
    assert [window[0] for window in windows] == starts
    assert {len(window) for window in windows} == {min(frames, 12)}
    assert all((b - a) % frames == 1 for window in windows for a, b in itertools.pairwise(window))
