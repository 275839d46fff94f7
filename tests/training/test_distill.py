"""Stage `distill`: the arithmetic of its steps, and a student that takes fewer of them."""

import pytest
import torch
from schedulers import diffusers_ddim
from small_models import build, condition, make_batch, paper_settings
from training_runs import recipe

from emote_cli.diffusion.sampler import guide, sample
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.diffusion.solvers import make_solver
from emote_cli.errors import SettingsError
from emote_cli.settings import DiffusionSettings
from emote_cli.training.objectives.distill import Original, check_grid, distill_loss, start_of_span
from emote_cli.training.objectives.draws import draw
from emote_cli.training.settings import DistillSettings
from emote_cli.training.stages import freeze_for

ALONE = recipe("distill").step
OBJECTIVES = pytest.mark.parametrize("objective", ["v", "sample", "epsilon"])


def schedule_of(objective: str) -> NoiseSchedule:
    return NoiseSchedule(DiffusionSettings(objective=objective, zero_terminal_snr=objective != "epsilon"))


def rows(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@OBJECTIVES
def test_a_step_is_the_step_of_diffusers(objective):
    schedule = schedule_of(objective)
    solver = diffusers_ddim(schedule.settings, 4)
    noisy, predicted = rows(4, 3, 2, seed=0), rows(4, 3, 2, seed=1)
    ours = schedule.ddim_step(predicted, noisy, solver.timesteps, solver.timesteps - 250)
    for row, timestep in enumerate(solver.timesteps):
        theirs = solver.step(predicted[row], timestep, noisy[row]).prev_sample
        torch.testing.assert_close(ours[row], theirs, rtol=1e-4, atol=1e-4)


@OBJECTIVES
def test_one_step_gets_where_it_should(objective):
    schedule = schedule_of(objective)
    now = torch.tensor([999, 749, 499, 249])
    noisy, reached = rows(4, 3, 2, seed=0), rows(4, 3, 2, seed=1)
    clean, noise = schedule.one_step(noisy, reached, now, now - 250)
    torch.testing.assert_close(schedule.add_noise(clean, noise, now), noisy)
    there, sigma = schedule.alpha_sigma(now - 250, noisy)
    torch.testing.assert_close(there * clean + sigma * noise, reached)


def test_spans_begin_where_the_sampler_steps():
    for steps in (1, 2, 4, 5, 8):
        timesteps = make_solver("ddim", schedule_of("v"), steps).timesteps
        starts = start_of_span(torch.arange(1000), 1000 // steps)
        assert sorted(set(starts.tolist()), reverse=True) == list(timesteps)


def test_a_grid_that_does_not_fit_is_refused():
    forty, four = DiffusionSettings(steps=40), DiffusionSettings(steps=4)
    check_grid(DistillSettings(steps=4, inner=5), forty)
    with pytest.raises(SettingsError, match=r"distill.steps 4 x distill.inner 3 does not divide 1000"):
        check_grid(DistillSettings(steps=4, inner=3), forty)
    check_grid(DistillSettings(steps=2, inner=2), four, was_student=True)
    with pytest.raises(
        SettingsError, match=r"distilled to 4 steps, distill.steps 2 x distill.inner 5 are 10"
    ):
        check_grid(DistillSettings(steps=2, inner=5), four, was_student=True)


@torch.no_grad()
def test_the_original_goes_the_way_of_animation():
    model, batch = build(paper_settings()), make_batch(paper_settings())
    schedule, told = NoiseSchedule(model.settings.diffusion), condition(model, batch)
    null = told.null(3)
    noise, start = batch.target, torch.full((3,), 999)
    led = Original(model, 2.5).lead(noise, start, 1000, 4, schedule, told)
    way = guide(lambda z, t: model(z, t, told), lambda z, t: model(z, t, null), 2.5)
    torch.testing.assert_close(led, sample(way, noise, schedule, steps=4), rtol=1e-3, atol=1e-3)
    unguided = Original(model, 1.0).lead(noise, start, 1000, 4, schedule, told)
    assert (unguided - led).abs().mean() > 0.01


def test_a_student_learns_to_do_in_one_step_what_took_two():
    """Its own single step, from the noise that it was trained on, comes near the original's two guided ones."""
    original, student = build(paper_settings()), build(paper_settings())
    batch, distill = make_batch(paper_settings()), DistillSettings(steps=1, inner=2)
    schedule, teacher = NoiseSchedule(student.settings.diffusion), Original(original, 3.0)
    told, drawn = condition(original, batch), draw(batch, schedule, ALONE, 0, 0)
    with torch.no_grad():
        wanted = teacher.lead(drawn.noise, torch.full((3,), 999), 1000, 2, schedule, told)

    @torch.no_grad()
    def distance() -> float:
        mine = condition(student, batch)
        made = sample(lambda z, t: student(z, t, mine), drawn.noise, schedule, steps=1)
        return float((made - wanted).square().mean())

    before = distance()
    optimizer = torch.optim.Adam(freeze_for(student, "distill", prior=True), lr=2e-3)
    for _ in range(15):
        losses = distill_loss(student, teacher, schedule, batch, drawn, ALONE, distill)
        assert losses.shape == (3,)
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
    assert all(value.grad is None for value in original.parameters())
    assert distance() < 0.5 * before
