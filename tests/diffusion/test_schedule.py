"""One schedule for training and sampling: exact in both directions."""

import pytest
import torch

from emote_cli.diffusion.objective import min_snr_weight, per_sample_loss, target_for
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.errors import SettingsError
from emote_cli.settings import DiffusionSettings, ModelSettings
from emote_cli.settings_tree import parse_settings

ROWS = torch.tensor([0, 3, 499, 997, 998])


def make(objective: str = "v", **values) -> NoiseSchedule:
    values.setdefault("zero_terminal_snr", objective != "epsilon")
    return NoiseSchedule(DiffusionSettings(objective=objective, **values))


def test_terminal_snr_is_zero():
    schedule = make()
    assert float(schedule.alphas_cumprod[-1]) == 0
    assert float(schedule.snr(torch.tensor([999]))) == 0
    assert (schedule.alphas_cumprod.diff() < 0).all()
    clean, noise = torch.randn(1, 3, 5), torch.randn(1, 3, 5)
    assert torch.equal(schedule.add_noise(clean, noise, torch.tensor([999])), noise)
    assert float(make(zero_terminal_snr=False).alphas_cumprod[-1]) > 1e-3


def test_epsilon_with_zero_terminal_snr_is_refused():
    with pytest.raises(SettingsError, match="zero_terminal_snr"):
        parse_settings(ModelSettings, {"name": "x", "diffusion": {"objective": "epsilon"}}, "test")


@pytest.mark.parametrize("objective", ["v", "epsilon", "sample"])
def test_the_clean_latents_come_back_exactly(objective: str):
    schedule = make(objective)
    clean, noise = (torch.randn(5, 3, 2, 7, dtype=torch.float64) for _ in range(2))
    noisy = schedule.add_noise(clean, noise, ROWS)
    predicted = target_for(schedule, clean, noise, ROWS)
    alpha, sigma = schedule.alpha_sigma(ROWS, clean)
    recovered = {
        "v": alpha * noisy - sigma * predicted,
        "epsilon": (noisy - sigma * predicted) / alpha,
        "sample": predicted,
    }[objective]
    torch.testing.assert_close(recovered, clean, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("objective", ["v", "epsilon", "sample"])
def test_the_solver_reads_the_prediction_as_training_means_it(objective: str):
    schedule = make(objective)
    clean, noise, time = torch.randn(1, 2, 3), torch.randn(1, 2, 3), torch.tensor([640])
    noisy = schedule.add_noise(clean, noise, time)
    there, _ = schedule.split(target_for(schedule, clean, noise, time), noisy, *schedule.levels(640))
    torch.testing.assert_close(there, clean, atol=1e-5, rtol=1e-4)


def test_little_noise_survives_half_precision():
    schedule = make()
    clean = torch.zeros(1, 3, 5, dtype=torch.bfloat16)
    alpha, sigma = schedule.alpha_sigma(torch.tensor([1]), clean)
    assert alpha.dtype == sigma.dtype == torch.bfloat16
    assert float(sigma) > 0.02


def test_weights_are_per_sample():
    schedule = make()
    weights = min_snr_weight(schedule, torch.tensor([10, 999]))
    assert weights.shape == (2,)
    snr = schedule.snr(torch.tensor([10]))
    torch.testing.assert_close(weights[0], (5.0 / (snr + 1))[0])
    assert float(weights[1]) == 1.0  # the last step stays in the loss though it has no signal


@pytest.mark.parametrize("objective", ["v", "epsilon", "sample"])
def test_weights_are_finite_and_bounded(objective: str):
    schedule = make(objective)
    weights = min_snr_weight(schedule, torch.arange(1000))
    assert torch.isfinite(weights).all()
    assert (weights > 0).all()
    assert weights.max() <= 5.0


def test_objectives_agree_on_the_weight_of_the_same_mistake():
    """The same error of the clean latents costs the same, whether the network predicts v or them."""
    clean, noise, wrong = torch.randn(3, 2, 4, 3, 5).double(), torch.randn(3, 2, 4, 3, 5).double(), 0.1
    time = torch.tensor([100, 400, 700])
    costs = {}
    for objective in ("v", "sample"):
        schedule = make(objective)
        target = target_for(schedule, clean, noise, time)
        sigma = schedule.alpha_sigma(time, clean)[1]
        shift = {"v": -wrong / sigma, "sample": wrong}[objective]
        costs[objective] = per_sample_loss(target + shift, target) * min_snr_weight(schedule, time)
    torch.testing.assert_close(costs["v"], costs["sample"].to(costs["v"].dtype), rtol=1e-3, atol=1e-6)


def test_loss_of_two_samples_with_weights():
    predicted, target = torch.zeros(2, 3, 4, 5, 7), torch.zeros(2, 3, 4, 5, 7)
    predicted[1] += 2.0
    weight = torch.ones(2, 3, 1, 5, 7)
    assert per_sample_loss(predicted, target, weight).tolist() == [0.0, 4.0]
    weight[1, :, :, :2] = 9.0  # a constant error costs the same wherever the stress lies
    torch.testing.assert_close(per_sample_loss(predicted, target, weight), torch.tensor([0.0, 4.0]))
    predicted[1, :, :, 2:] = 0.0
    assert float(per_sample_loss(predicted, target, weight)[1]) > 1.6


def test_random_timesteps_cover_the_schedule():
    drawn = make().random_timesteps(20_000, torch.Generator().manual_seed(1))
    assert int(drawn.min()) == 0
    assert int(drawn.max()) == 999
