"""The table of stages: what trains moves, everything else stays bit-equal."""

import re

import pytest
import torch
from small_models import build, make_batch, paper_settings, tiny_settings

from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.errors import TrainingError
from emote_cli.training.objectives.denoising import loss_for
from emote_cli.training.objectives.draws import draw
from emote_cli.training.settings import StepSettings
from emote_cli.training.stages import (
    NUMBERS,
    PARTS,
    STAGES,
    STAGES_WITHOUT_PRIOR,
    freeze_for,
    part_of,
    trainable_names,
)  # fmt: skip

KEEP_ALL = StepSettings(drop_reference=0, drop_audio=0, drop_face_region=0, drop_speed=0)


@pytest.fixture(scope="module")
def model():
    return build(paper_settings())


def one_step(model, stage: str, prior: bool) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Parameters before an optimizer step on one batch, and the names that train."""
    frames = 1 if stage == "image" else 5
    batch = make_batch(model.settings, rows=2, frames=frames)
    trained = freeze_for(model, stage, prior=prior)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.01)
    schedule = NoiseSchedule(model.settings.diffusion)
    drawn = draw(batch, schedule, KEEP_ALL, seed=3, step=5)
    model.zero_grad(set_to_none=True)
    loss_for(model, schedule, batch, drawn, KEEP_ALL, stage != "image").mean().backward()
    optimizer.step()
    return before, trainable_names(model, stage, prior=prior)


@pytest.mark.parametrize("prior", [True, False], ids=["sd15", "no-prior"])
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "vae"])
def test_what_trains_gets_a_gradient_and_nothing_else_moves(model, stage: str, prior: bool):
    before, names = one_step(model, stage, prior)
    assert names
    silent = [name for name in names if not model.get_parameter(name).grad.abs().max() > 0]
    assert not silent, f"no gradient reaches {silent[:5]} ({len(silent)})"
    for name, parameter in model.named_parameters():
        if name in names:
            assert not torch.equal(parameter, before[name]), name
        else:
            assert parameter.grad is None, name
            assert torch.equal(parameter, before[name]), name


def test_gradient_reaches_every_encoder_of_conditions():
    model = build(tiny_settings())
    _, names = one_step(model, "video", prior=False)
    for encoder in ("reference_net", "audio_projector", "face_locator"):
        assert any(name.startswith(f"{encoder}.") for name in names), encoder
    _, names = one_step(model, "speed", prior=False)
    assert any(name.startswith("speed_encoder.") for name in names)


def test_the_table_is_the_papers():
    assert NUMBERS == {"1": "image", "2": "video", "3": "speed"}
    assert "audio" not in STAGES["speed"] + STAGES_WITHOUT_PRIOR["speed"]
    assert "spatial" not in STAGES["video"] + STAGES["speed"]


def test_every_parameter_belongs_to_one_part(model):
    names = {name for name, _ in model.named_parameters()}
    for name in names:
        assert part_of(name) in PARTS, name
    trained = {name for stage in STAGES for name in trainable_names(model, stage, prior=False)}
    assert trained == names
    autoencoder = trainable_names(model, "vae", prior=False)
    assert set(autoencoder) == {name for name in names if name.startswith("autoencoder.")}
    with pytest.raises(TrainingError, match=r"keep its autoencoder"):
        trainable_names(model, "vae", prior=True)


def test_unfreeze_adds_and_complains(model):
    more = trainable_names(model, "speed", prior=True, unfreeze=(r"conv_out\.bias$",))
    extra = set(more) - set(trainable_names(model, "speed", prior=True))
    assert extra
    assert all(re.search(r"conv_out\.bias$", name) for name in extra)
    for wrong in ("no_such_layer", "("):
        with pytest.raises(TrainingError, match="unfreeze"):
            trainable_names(model, "speed", prior=True, unfreeze=(wrong,))
