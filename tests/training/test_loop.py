"""The loop: what accumulates, what is skipped, what is told."""

import math

import pytest
import torch
from training_runs import clip, examples, recipe, run

from emote_cli.data.dataset import ClipDataset
from emote_cli.errors import DataError, TrainingError
from emote_cli.settings import load_preset
from emote_cli.training.engine import make_accelerator
from emote_cli.training.feed import divide
from emote_cli.training.optimizer import GradientGuard, learning_rate_at
from emote_cli.training.settings import ValidationSettings


def losses(folder, **changes):
    _, heard = run(folder, recipe(max_steps=3, **changes))
    return torch.tensor([report.loss for report in heard.reports])


@pytest.mark.parametrize("stage", ["image", "video", "speed"])
def test_accumulation_equals_the_large_batch(tmp_path, stage):
    whole = losses(tmp_path / "whole", stage=stage)
    parts = losses(tmp_path / "parts", stage=stage, accumulation=2)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_gradient_checkpointing_changes_no_number(tmp_path):
    plain = losses(tmp_path / "plain")
    torch.testing.assert_close(
        losses(tmp_path / "again", gradient_checkpointing=True), plain, rtol=1e-6, atol=1e-7
    )


def test_bf16_stays_close(tmp_path):
    plain = losses(tmp_path / "plain")
    short = losses(tmp_path / "bf16", precision="bf16")
    assert not torch.equal(short, plain)
    torch.testing.assert_close(short, plain, rtol=0.05, atol=0.02)


def test_training_lowers_the_loss_on_one_clip(tmp_path):
    settings = recipe("image", max_steps=60, learning_rate=5e-3, decay="constant")
    reports = run(tmp_path, settings, examples(settings, clips=1))[1].reports
    first, last = (sum(r.loss for r in part) / len(part) for part in (reports[:15], reports[-15:]))
    assert last < 0.9 * first, (first, last)


class Poisoned:
    """Examples of which one, or all after some number, hold NaN."""

    def __init__(self, settings, bad) -> None:
        self.inner, self.bad = examples(settings), bad

    def example(self, key, attempt=0):
        good = self.inner.example(key, attempt)
        return good._replace(target=good.target * math.nan) if self.bad(key) else good


def test_a_bad_step_is_skipped_counted_and_told(tmp_path):
    settings = recipe(max_steps=4)
    state, heard = run(tmp_path, settings, Poisoned(settings, lambda key: key == 5))  # step 2 of 4
    assert [report.skipped for report in heard.reports] == [0, 1, 1, 1]
    assert any("step 2 skipped" in text for text in heard.warnings)
    assert all(torch.isfinite(value).all() for value in state.model.parameters())


def test_too_many_bad_steps_end_the_run(tmp_path):
    settings = recipe(max_steps=40, max_skipped=3)
    with pytest.raises(TrainingError, match="3 steps in a row"):
        run(tmp_path, settings, Poisoned(settings, lambda key: key >= 4))


def test_the_guard_knows_a_spike_from_the_usual():
    guard, settings = GradientGuard(), recipe(spike=10.0, max_skipped=2)
    assert guard.allows(1e6, settings)  # it has seen nothing yet
    for _ in range(40):
        assert guard.allows(1.0, settings)
    assert guard.allows(9.0, settings)
    assert not guard.allows(11.0, settings)
    assert guard.allows(1.0, settings)
    assert guard.skipped == 1
    assert not guard.allows(math.inf, settings)
    with pytest.raises(TrainingError):
        guard.allows(math.nan, settings)


class Damaged:
    """Examples whose clips are damaged at some draws."""

    def __init__(self, settings, bad) -> None:
        self.inner, self.bad = examples(settings), bad

    def example(self, key, attempt=0):
        if self.bad(key, attempt):
            raise DataError(f"clip {key} is damaged")
        return self.inner.example(key, attempt)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_clip_is_replaced_and_reported(tmp_path, workers):
    settings = recipe(max_steps=3, workers=workers)
    stream = Damaged(settings, lambda key, attempt: key == 6 and attempt < 2)
    state, heard = run(tmp_path, settings, stream)
    assert state.step == 3
    told = [text for text in heard.warnings if text.endswith("damaged")]
    assert told == ["skipped: clip 6 is damaged"], "told once"


def test_nothing_but_damage_is_an_error(tmp_path):
    settings = recipe(max_steps=3)
    with pytest.raises(DataError, match="damaged clips in a row"):
        run(tmp_path, settings, Damaged(settings, lambda key, attempt: key > 4))


def test_no_clip_is_long_enough(tmp_path):
    settings, model = recipe(), load_preset("tiny")
    short = ClipDataset([clip(model, 0, frames=6)], model, settings.sampling, seed=0, temporal=True)
    with pytest.raises(DataError, match="7 frames"):
        run(tmp_path, settings, short)


def test_workers_change_nothing(tmp_path):
    torch.testing.assert_close(losses(tmp_path / "two", workers=2), losses(tmp_path / "none"), rtol=0, atol=0)


def test_learning_rate_rises_then_falls():
    settings = recipe(learning_rate=1.0, warmup_steps=10, decay="cosine")
    assert learning_rate_at(0, 0.0, settings) == pytest.approx(0.1)
    assert learning_rate_at(9, 0.0, settings) == pytest.approx(1.0)
    assert learning_rate_at(50, 0.5, settings) == pytest.approx(0.51)
    assert learning_rate_at(100, 1.0, settings) == pytest.approx(0.02)
    flat = settings.model_copy(update={"decay": "constant"})
    assert learning_rate_at(100, 1.0, flat) == 1.0


def test_no_time_is_left_when_the_last_step_runs_over(tmp_path):
    """A run of 0.06 s ends in its first step, which takes longer: all of it is done, and not less than nothing left."""
    _, heard = run(tmp_path, recipe(max_minutes=1e-3, max_steps=1000))
    last = heard.reports[-1]
    assert last.step < 1000
    assert (last.progress, last.seconds_left) == (1.0, 0.0)


def test_a_batch_is_divided_evenly():
    settings = recipe(batch=12, accumulation=3)
    seen = sorted(
        shares.first(part) + row
        for process in range(2)
        for shares in [divide(settings, process, 2)]
        for part in range(3)
        for row in range(shares.rows)
    )
    assert seen == list(range(12))
    with pytest.raises(TrainingError, match="batch of 12"):
        divide(settings, 0, 5)


def test_what_this_machine_lacks_is_named(tmp_path):
    with pytest.raises(TrainingError, match="fp16 needs a GPU"):
        make_accelerator(recipe(precision="fp16"), None)
    with pytest.raises(TrainingError, match="8-bit AdamW"):
        run(tmp_path, recipe(optimizer="adamw8bit"))


def test_the_average_is_exchanged_for_validation_only(tmp_path):
    settings = recipe(max_steps=4, validation=ValidationSettings(every=2))
    seen = []

    def examine(model, step):
        assert not model.training
        seen.append({name: value.clone() for name, value in model.named_parameters()})
        return {"psnr_db": float(step)}

    state, heard = run(tmp_path, settings, examine=examine)
    plain, _ = run(tmp_path / "plain", recipe(max_steps=4))
    assert heard.figures == [(2, {"psnr_db": 2.0}), (4, {"psnr_db": 4.0})]
    for name, value in state.trained.items():
        assert torch.equal(value, dict(plain.model.named_parameters())[name])
        assert torch.equal(seen[-1][name], state.ema.values[name])
    assert any(not torch.equal(seen[-1][name], value) for name, value in state.trained.items())
