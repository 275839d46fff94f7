"""One training step: its randomness, its dropout, its loss per sample."""

import torch
from small_models import ROWS, build, make_batch, paper_settings

from emote_cli.diffusion.objective import min_snr_weight
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.training.objectives.denoising import conditioning_for, loss_for
from emote_cli.training.objectives.draws import draw
from emote_cli.training.settings import StepSettings

KEEP_ALL = StepSettings(drop_reference=0, drop_audio=0, drop_face_region=0, drop_speed=0)


def parts(seed: int = 0):
    model = build(paper_settings())
    batch = make_batch(model.settings)
    return model, batch, NoiseSchedule(model.settings.diffusion)


def test_draws_depend_on_seed_and_step_only():
    _, batch, schedule = parts()
    first, again = (draw(batch, schedule, StepSettings(), seed=2, step=7) for _ in range(2))
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.timestep, again.timestep)
    assert first.dropped == again.dropped
    for other in (draw(batch, schedule, StepSettings(), 2, 8), draw(batch, schedule, StepSettings(), 3, 7)):
        assert not torch.equal(first.noise, other.noise)


def test_dropout_rates():
    _, batch, schedule = parts()
    settings = StepSettings(drop_reference=0.5, drop_audio=0.0, drop_face_region=1.0, drop_speed=0.25)
    drawn = [draw(batch, schedule, settings, 0, step).dropped for step in range(200)]

    def rate(name: str) -> float:
        return sum(sum(row[name]) for row in drawn) / (len(drawn) * ROWS)

    assert abs(rate("reference") - 0.5) < 0.07
    assert rate("audio") == 0
    assert rate("face_region") == 1
    assert abs(rate("speed") - 0.25) < 0.07


@torch.no_grad()
def test_first_chunk_is_conditioned_as_in_animation():
    model, batch, schedule = parts()
    first = batch._replace(has_motion=torch.zeros(ROWS, dtype=torch.bool))
    drawn = draw(first, schedule, KEEP_ALL, 0, 0)
    trained = conditioning_for(model, first, drawn, KEEP_ALL, temporal=True)
    animated = model.condition(
        reference=model.encode_reference(batch.reference), motion=None, audio=batch.audio,
        face_region=batch.face_region, speed=batch.speed,
    )  # fmt: skip
    for site, maps in animated.motion.items():
        assert torch.equal(maps, trained.motion[site])
        assert not maps.any()
    noisy, time = batch.target, drawn.timestep
    assert torch.equal(model(noisy, time, trained), model(noisy, time, animated))


@torch.no_grad()
def test_one_loss_per_sample_weighted_by_its_own_timestep():
    model, batch, schedule = parts()
    drawn = draw(batch, schedule, KEEP_ALL, 0, 1)
    plain = loss_for(model, schedule, batch, drawn, KEEP_ALL.model_copy(update={"min_snr": False}), True)
    weighted = loss_for(model, schedule, batch, drawn, KEEP_ALL, True)
    assert plain.shape == (ROWS,)
    torch.testing.assert_close(weighted, plain * min_snr_weight(schedule, drawn.timestep))
    assert len(set(drawn.timestep.tolist())) == ROWS


@torch.no_grad()
def test_samples_do_not_see_each_other():
    model, batch, schedule = parts()
    drawn = draw(batch, schedule, KEEP_ALL, 0, 1)
    before = loss_for(model, schedule, batch, drawn, KEEP_ALL, True)
    target = batch.target.clone()
    target[1] *= 3
    after = loss_for(model, schedule, batch._replace(target=target), drawn, KEEP_ALL, True)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    assert abs(float(after[1] - before[1])) > 1e-3


@torch.no_grad()
def test_image_stage_uses_no_time():
    model, batch, schedule = parts()
    drawn = draw(batch, schedule, KEEP_ALL, 0, 1)
    told = conditioning_for(model, batch, drawn, KEEP_ALL, temporal=False)
    assert not told.temporal
    assert not told.motion
    assert told.speed is None


def test_noise_is_drawn_where_the_batch_is():
    settings = paper_settings()
    batch, schedule = make_batch(settings), NoiseSchedule(settings.diffusion)
    step = StepSettings(noise_on="device", drop_audio=0.5, motion_patch_drop=0.5, noise_offset=0.1)
    first, again, other = (draw(batch, schedule, step, 2, number) for number in (7, 7, 8))
    apart = draw(batch, schedule, step.model_copy(update={"noise_on": "cpu"}), 2, 7)
    assert first.noise.shape == apart.noise.shape
    assert first.motion_kept.shape == apart.motion_kept.shape
    assert first.timestep.shape == apart.timestep.shape
    assert torch.equal(first.noise, again.noise)
    assert first.dropped == again.dropped
    assert not torch.equal(first.noise, other.noise)
    assert not torch.equal(first.noise, apart.noise)
    assert 0.9 < first.noise.std() < 1.1
    assert 0.3 < first.motion_kept.mean() < 0.7
    often = [draw(batch, schedule, step, 2, number).dropped["audio"] for number in range(60)]
    assert 0.4 < sum(map(sum, often)) / sum(map(len, often)) < 0.6
