"""The Painter's training: pairs around the mouth, and a critic that learns against it."""

import numpy as np
import pytest
import torch
from small_models import build

from emote_cli.animation.moving_portrait import view_of
from emote_cli.data.manifest import ClipRecord
from emote_cli.model.painter import HINTS, VIEW
from emote_cli.perception.motion_latents import mean_face
from emote_cli.settings import load_preset
from emote_cli.settings_tree import override
from emote_cli.training.objectives.painting import Painting, picture_losses, reverse
from emote_cli.training.pairs import Pairs, Shot, close_mouth, cut, is_drawable, read_pairs
from emote_cli.training.settings import TrainSettings

MOTION = ["autoencoder.kind=motion", "autoencoder.latent_channels=10", "family.reference_latents=true"]


def shot(opened: float, seed: int = 0) -> Shot:
    """A made-up face whose lower lip is `opened` pixels lower."""
    points = (mean_face() * 61 + (97, 71)).astype(np.float32)
    points[[146, 91, 181, 84, 17, 314, 405, 321, 375, 95, 88, 178, 87, 14, 317, 402, 318, 324], 1] += opened
    pixels = np.random.default_rng(seed).integers(0, 255, (211, 193, 3), dtype=np.uint8)
    return Shot(pixels, points)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return Pairs([[shot(0), shot(7), shot(15)], [shot(11, 1)]], np.array([0.5, 0.5]), seed=3)


def test_an_example_depends_on_its_number_only(pairs: Pairs) -> None:
    first, again, other = pairs.example(5), pairs.example(5), pairs.example(6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.target, other.target)


def test_a_mouth_is_closed_by_a_warp() -> None:
    wide = shot(14)
    closed = close_mouth(wide, 1.0)
    gap = [s.points[14, 1] - s.points[13, 1] for s in (wide, closed)]
    assert gap[1] < 0.15 * gap[0]
    assert np.array_equal(closed.points[:, 0], wide.points[:, 0])
    assert not np.array_equal(closed.pixels, wide.pixels)


def test_the_target_is_the_square_that_the_painter_sees() -> None:
    one = shot(0)
    assert cut(one.pixels, view_of(one.points, one.points)).shape == (128, 128, 3)


def test_painter_and_critic_pull_in_opposite_directions(pairs: Pairs) -> None:
    model = build(override(load_preset("tiny"), MOTION))
    objective = Painting(model, TrainSettings(stage="vae", prior=False))
    batch = type(pairs.example(0))(*(torch.stack(v) for v in zip(*map(pairs.example, range(2)), strict=True)))
    losses = objective(batch, 0, 0)
    assert losses.shape == (2,)
    torch.autograd.backward(losses.sum())
    trained = [p for p in model.painter.parameters() if p.requires_grad]
    assert trained
    # The verdict's bias is pulled up by true mouths as much as down by painted ones.
    judged = [p for name, p in objective.critic.named_parameters() if name != "judge.bias"]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in [*trained, *judged])
    assert not any(p.requires_grad for p in model.backbone.parameters())


def test_reverse_turns_the_gradient_around() -> None:
    value = torch.ones(3, requires_grad=True)
    torch.autograd.backward(reverse(value, 0.25).sum())
    assert torch.equal(value.grad, torch.full((3,), -0.25))


def test_an_error_in_the_opening_counts_more() -> None:
    target, opening = torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    opening[..., 4:10, 4:10] = 1
    inside, outside = target.clone(), target.clone()
    inside[..., 6:8, 6:8] = 0.5
    outside[..., 24:26, 24:26] = 0.5
    assert picture_losses(inside, target, opening) > 1.5 * picture_losses(outside, target, opening)


def test_the_critic_judges_the_opening(pairs: Pairs) -> None:
    model = build(override(load_preset("tiny"), MOTION))
    objective = Painting(model, TrainSettings(stage="vae", prior=False))
    hints = torch.zeros(1, HINTS, VIEW, VIEW)
    hints[:, 0, 60:68, 50:80] = 1
    verdicts, _ = objective.critic(torch.zeros(1, 3, VIEW, VIEW), hints)
    near = objective._near(hints)
    assert near.shape == verdicts.shape
    assert near[..., 4, 5] > 0.9
    assert near[..., 0, 0] < 0.05


def test_frames_are_read_as_often_as_asked(tmp_path, monkeypatch) -> None:
    """`per_clip` frames of each clip, more of one that `data.weights` shows more often; weights are drawn by."""
    records = [ClipRecord(name, name, "", 0, 1.6, 25.0, 40, 32, False) for name in ("a", "b")]
    monkeypatch.setattr(
        "emote_cli.training.pairs.read_shots", lambda folder, record, count: [shot(0)] * count
    )
    made = read_pairs(tmp_path, records, [40.0, 120.0], 5, 0, on_clip=lambda done: None, on_bad=pytest.fail)
    assert [len(clip) for clip in made.clips] == [5, 9]
    assert made.weights.tolist() == [0.25, 0.75]


def test_faces_of_no_size_are_left_out() -> None:
    """A damaged track may hold zeros; they ended in an error of OpenCV's."""
    face = shot(0).points
    assert is_drawable(face)
    for points in (np.zeros_like(face), face * 0.01, face * (1, 0), np.full_like(face, np.nan)):
        assert not is_drawable(points.astype(np.float32))
