"""Everything that EMO adds to SD 1.5 starts without effect, and has one once it has learned something."""

import pytest
import torch
from small_models import build, condition, make_batch, paper_settings, randomize, timesteps
from torch import nn

ZERO_STARTED = (
    ".audio_attn.to_out.0.", ".speed_attn.to_out.0.", ".temporal_transformer.proj_out.",
    "face_locator.conv_out.",
)  # fmt: skip


def randomize_all_but(model: nn.Module, names: tuple[str, ...]) -> None:
    """Random numbers everywhere but in the layers that start at zero."""
    kept = {
        name: value.clone() for name, value in model.named_parameters() if any(part in name for part in names)
    }
    randomize(model)
    assert kept, names
    with torch.no_grad():
        for name, value in kept.items():
            assert not value.any(), f"{name} does not start at zero"
            model.get_parameter(name).copy_(value)


@pytest.mark.parametrize("part", ["audio", "speed", "motion", "face_region", "temporal"])
@torch.no_grad()
def test_added_parts_change_nothing_at_first(part: str):
    model = build(random=False)
    randomize_all_but(model, ZERO_STARTED)
    batch = make_batch(model.settings)
    with_it = condition(model, batch)
    value = {"motion": {}, "temporal": False}.get(part)
    without = condition(model, batch).__class__(
        **({name: getattr(with_it, name) for name in with_it.__slots__} | {part: value})
    )
    out = model(batch.target, timesteps(), with_it)
    assert out.std() > 0.1
    assert torch.equal(out, model(batch.target, timesteps(), without))


@pytest.mark.parametrize("part", ["audio", "speed", "motion", "face_region", "temporal", "reference"])
@torch.no_grad()
def test_every_part_matters_once_trained(part: str):
    model = build()
    batch = make_batch(model.settings)
    full = condition(model, batch)
    value = {"motion": {}, "temporal": False, "reference": {}}.get(part)
    without = full.__class__(**({name: getattr(full, name) for name in full.__slots__} | {part: value}))
    difference = model(batch.target, timesteps(), full) - model(batch.target, timesteps(), without)
    assert difference.abs().max() > 1e-3


@torch.no_grad()
def test_mini_form_starts_as_the_still_picture():
    settings = paper_settings().model_copy(
        update={"family": paper_settings().family.model_copy(update={"reference_latents": True})}
    )
    model = build(settings, random=False)
    batch = make_batch(settings)
    assert not model(batch.target, timesteps(), condition(model, batch)).any()
    assert torch.equal(
        model.to_target(batch.target, batch.reference), batch.target - batch.reference[:, None]
    )
    there_and_back = model.from_target(model.to_target(batch.target, batch.reference), batch.reference)
    torch.testing.assert_close(there_and_back, batch.target)
