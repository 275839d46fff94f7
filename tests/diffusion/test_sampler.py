"""Sampling on the training schedule: a perfect network gives the perfect picture."""

import pytest
import torch
from schedulers import diffusers_ddim

from emote_cli.diffusion.objective import target_for
from emote_cli.diffusion.sampler import chunk_noise, frame_noise, guide, sample
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.diffusion.solvers import make_solver
from emote_cli.errors import SettingsError
from emote_cli.settings import DiffusionSettings


def oracle(schedule: NoiseSchedule, clean: torch.Tensor):
    """The network that knows the answer: what noise leads from `clean` to the noisy latents?"""

    def denoise(noisy: torch.Tensor, timestep: int) -> torch.Tensor:
        alpha, sigma = schedule.levels(timestep)
        return target_for(
            schedule, clean, (noisy - alpha * clean) / sigma, torch.tensor([timestep] * len(clean))
        )

    return denoise


@pytest.mark.parametrize("solver", ["ddim", "dpm"])
@pytest.mark.parametrize("objective", ["v", "sample", "epsilon"])
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_an_oracle_returns_the_clean_latents(solver: str, objective: str, steps: int):
    settings = DiffusionSettings(objective=objective, zero_terminal_snr=objective != "epsilon")
    schedule = NoiseSchedule(settings)
    clean = torch.randn(2, 3, 4, 5, 7)
    out = sample(oracle(schedule, clean), torch.randn_like(clean), schedule, steps=steps, solver=solver)
    torch.testing.assert_close(out, clean, atol=2e-3, rtol=1e-3)


def test_dpm_needs_no_divisor_of_the_schedule():
    """DDIM does: its steps back are whole, so that 11 of them leave a little noise."""
    schedule = NoiseSchedule(DiffusionSettings())
    clean = torch.randn(1, 3, 4, 5, 7)
    noise = torch.randn_like(clean)
    exact = sample(oracle(schedule, clean), noise, schedule, steps=11, solver="dpm")
    torch.testing.assert_close(exact, clean, atol=2e-3, rtol=1e-3)
    rough = sample(oracle(schedule, clean), noise, schedule, steps=11, solver="ddim")
    torch.testing.assert_close(rough, clean, atol=0.15, rtol=0)


def test_sampling_starts_at_the_last_timestep_and_counts_down():
    schedule = NoiseSchedule(DiffusionSettings())
    seen: list[int] = []

    def denoise(noisy: torch.Tensor, timestep: int) -> torch.Tensor:
        seen.append(timestep)
        return torch.zeros_like(noisy)

    sample(denoise, torch.randn(1, 2, 3, 5, 7), schedule, steps=4)
    assert seen == [999, 749, 499, 249]


def test_noise_depends_on_seed_and_frame_only():
    shape = (3, 5, 7)
    long = chunk_noise(11, range(0, 13), shape)
    assert torch.equal(chunk_noise(11, range(7, 13), shape)[0], long[0, 7:])
    assert torch.equal(frame_noise(11, 4, shape), long[0, 4])
    assert not torch.equal(frame_noise(12, 4, shape), long[0, 4])
    assert abs(float(long.mean())) < 0.1
    assert abs(float(long.std()) - 1) < 0.1
    before = torch.get_rng_state()
    frame_noise(1, 2, shape)
    assert torch.equal(torch.get_rng_state(), before)


def test_guidance():
    zeros, time = torch.zeros(1, 2, 3, 5, 7), torch.tensor([3])
    calls: list[str] = []

    def one(noisy, timestep):
        calls.append("conditional")
        return noisy + 1

    def none(noisy, timestep):
        calls.append("unconditional")
        return noisy - 1

    assert torch.equal(guide(one, none, 1.0)(zeros, time), zeros + 1)
    assert calls == ["conditional"]
    assert torch.equal(guide(one, none, 3.5)(zeros, time), zeros + 6)


@pytest.mark.parametrize("objective", ["v", "sample", "epsilon"])
@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear"])
@pytest.mark.parametrize("steps", [1, 4, 11])
def test_ddim_is_diffusers(objective: str, beta_schedule: str, steps: int):
    settings = DiffusionSettings(
        objective=objective, beta_schedule=beta_schedule, zero_terminal_snr=objective != "epsilon"
    )
    schedule, theirs = NoiseSchedule(settings), diffusers_ddim(settings, steps)
    torch.testing.assert_close(schedule.alphas_cumprod, theirs.alphas_cumprod, atol=1e-6, rtol=1e-5)
    ours = make_solver("ddim", schedule, steps)
    assert ours.timesteps == tuple(theirs.timesteps.tolist())
    latents = torch.randn(1, 2, 3, 5, 7)
    for timestep in ours.timesteps:
        predicted = torch.randn_like(latents)
        expected = theirs.step(predicted, timestep, latents).prev_sample
        latents = ours.step(predicted, timestep, latents)
        torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-4)


def test_dpm_has_the_same_schedule():
    schedule = NoiseSchedule(DiffusionSettings())
    scheduler = make_solver("dpm", schedule, 4).scheduler
    torch.testing.assert_close(scheduler.alphas_cumprod[:-1], schedule.alphas_cumprod[:-1])


def test_an_unknown_solver_is_refused():
    with pytest.raises(SettingsError, match="euler"):
        make_solver("euler", NoiseSchedule(DiffusionSettings()), 4)


def test_shared_noise_is_still_and_as_strong():
    shape = (5, 7, 11)
    own = chunk_noise(11, range(0, 40), shape)
    still = chunk_noise(11, range(0, 40), shape, 1.0)
    assert torch.equal(still, still[:, :1].expand_as(still))
    half = chunk_noise(11, range(0, 40), shape, 0.5)
    assert float(half.var()) == pytest.approx(1, abs=0.1)
    between = torch.corrcoef(half[0].flatten(1))[0, 1:].mean()
    assert float(between) == pytest.approx(0.5, abs=0.1)
    assert abs(float(torch.corrcoef(own[0].flatten(1))[0, 1:].mean())) < 0.05
    assert torch.equal(chunk_noise(11, range(7, 13), shape, 0.5), half[:, 7:13])
