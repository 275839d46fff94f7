"""Each condition has one null form, rows do not mix, and the reference is encoded once."""

from dataclasses import fields, replace

import pytest
import torch
from small_models import FRAMES, ROWS, build, condition, make_batch, paper_settings, timesteps, tiny_settings

from emote_cli.model.conditioning import Conditioning

EVERY, NONE = (True,) * ROWS, (False,) * ROWS


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def batch(model):
    return make_batch(model.settings)


def rows_of(value, rows: list[int]):
    """The same condition for other batch rows."""
    if isinstance(value, torch.Tensor):
        return value[rows]
    if isinstance(value, dict):
        return {site: rows_of(part, rows) for site, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(part[rows] for part in value))
    return value


def pick(conditioning: Conditioning, rows: list[int]) -> Conditioning:
    return replace(
        conditioning, **{f.name: rows_of(getattr(conditioning, f.name), rows) for f in fields(conditioning)}
    )


@torch.no_grad()
def test_no_motion_yet_equals_motion_dropped(model, batch):
    first = condition(model, batch, motion=None)
    dropped = condition(model, batch).drop(motion=EVERY)
    assert first.motion.keys() == dropped.motion.keys()
    for site, maps in first.motion.items():
        assert not maps.any()
        assert torch.equal(maps, dropped.motion[site])
    assert torch.equal(model(batch.target, timesteps(), first), model(batch.target, timesteps(), dropped))


@torch.no_grad()
def test_guidance_null_equals_dropped_rows(model, batch):
    full = condition(model, batch)
    null, dropped = full.null(ROWS), full.drop(reference=EVERY, audio=EVERY)
    out = model(batch.target, timesteps(), null)
    torch.testing.assert_close(out, model(batch.target, timesteps(), dropped))
    nothing = replace(full, reference={}, audio=torch.zeros_like(full.audio))
    torch.testing.assert_close(out, model(batch.target, timesteps(), nothing))


@pytest.mark.parametrize("part", ["reference", "audio", "motion", "face_region", "speed"])
@torch.no_grad()
def test_dropping_one_row_leaves_the_others_alone(model, batch, part: str):
    full = condition(model, batch)
    plain = model(batch.target, timesteps(), full)
    dropped = model(batch.target, timesteps(), full.drop(**{part: (False, True, False)}))
    torch.testing.assert_close(dropped[[0, 2]], plain[[0, 2]])
    assert (dropped[1] - plain[1]).abs().max() > 1e-3
    assert torch.equal(model(batch.target, timesteps(), full.drop(**{part: NONE})), plain)


@torch.no_grad()
def test_dropped_face_region_is_no_face_region(model, batch):
    full = condition(model, batch)
    without = replace(full, face_region=None)
    out = model(batch.target, timesteps(), full.drop(face_region=EVERY))
    torch.testing.assert_close(out, model(batch.target, timesteps(), without))


@torch.no_grad()
def test_dropping_the_reference_also_drops_its_latents():
    model = build(tiny_settings())
    batch = make_batch(model.settings)
    full = condition(model, batch)
    assert torch.equal(full.reference_latents, batch.reference)
    dropped = full.drop(reference=(False, True, False))
    assert not dropped.reference_latents[1].any()
    assert torch.equal(dropped.reference_latents[[0, 2]], batch.reference[[0, 2]])


@pytest.mark.parametrize("family", [{"reference_latents": False}, {"reference": "joined"}])
@torch.no_grad()
def test_permuting_the_batch_permutes_the_output(family):
    model = build(tiny_settings(**family))
    batch = make_batch(model.settings)
    order = [2, 0, 1]
    full = condition(model, batch)
    out = model(batch.target, timesteps(), full)
    moved = model(batch.target[order], timesteps()[order], pick(full, order))
    torch.testing.assert_close(moved, out[order], atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_frames_are_independent_until_the_temporal_modules(model, batch):
    changed = batch.target.clone()
    changed[:, 3] += 1.0
    others = [frame for frame in range(FRAMES) if frame != 3]
    still = condition(model, batch, temporal=False)
    before, after = model(batch.target, timesteps(), still), model(changed, timesteps(), still)
    torch.testing.assert_close(after[:, others], before[:, others])
    moving = condition(model, batch)
    before, after = model(batch.target, timesteps(), moving), model(changed, timesteps(), moving)
    assert ((after - before)[:, others].abs().amax((0, 2, 3, 4)) > 1e-3).all()


@torch.no_grad()
def test_motion_frames_stand_in_front_and_are_cut_off(model, batch):
    full = condition(model, batch)
    for site, maps in full.motion.items():
        assert maps.shape[:2] == (ROWS, model.settings.temporal.motion_frames), site
    assert model(batch.target, timesteps(), full).shape == batch.target.shape
    swapped = replace(full, motion={site: maps.flip(1) for site, maps in full.motion.items()})
    difference = model(batch.target, timesteps(), full) - model(batch.target, timesteps(), swapped)
    assert difference.abs().max() > 1e-4  # their order is seen: positions


@torch.no_grad()
def test_reference_net_gives_one_feature_per_site_of_the_backbone(model, batch):
    features = model.reference_net(batch.reference)
    assert list(features) == list(model.backbone.sites())
    for site, maps in features.items():
        width = model.backbone.sites()[site].proj_in.out_channels
        assert maps.shape[:2] == (ROWS, width), site
        mean = maps.mean(1)  # what norm1 gives out, up to its scale and shift
        assert mean.abs().max() < 1.0, site


@torch.no_grad()
def test_a_picture_is_encoded_the_same_alone_and_among_others(model, batch):
    together = model.reference_net(batch.reference)
    alone = model.reference_net(batch.reference[1:2])
    for site, maps in alone.items():
        torch.testing.assert_close(maps[0], together[site][1], atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_unknown_speed_is_the_null(model, batch):
    unknown = torch.full_like(batch.speed, float("nan"))
    assert not model.speed_encoder(unknown).any()
    assert torch.isfinite(model.speed_encoder(unknown)).all()
    one = batch.speed.clone()
    one[0, 2, 0] = float("nan")
    tokens = model.speed_encoder(one)
    assert not tokens[0, 2].any()
    assert torch.equal(tokens[1], model.speed_encoder(batch.speed)[1])


def test_speed_buckets_have_no_gap():
    encoder = build(paper_settings(), random=False).speed_encoder
    speeds = torch.linspace(0, float(encoder.centers[-1]), 181)
    steepest = (1 - encoder.buckets(speeds) ** 2).amax(-1)
    assert steepest.min() > 0.1 or encoder.radius < float(encoder.centers[1]) / 2
    assert torch.allclose(
        encoder.buckets(encoder.centers).diagonal(), torch.zeros(len(encoder.centers)), atol=1e-6
    )
