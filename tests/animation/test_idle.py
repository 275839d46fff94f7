"""A head that sways and blinks: as fast as asked, the same at the same time, and nothing else moves."""

from itertools import pairwise

import numpy as np
import pytest

from emote_cli.animation.aids.idle import BLINK_EVERY_S, Idle, closed_share, sway_deg
from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.types import Face
from emote_cli.zoo.locate import locate_bundled
from tests.conftest import make_portrait

SIDE = 256


@pytest.fixture(scope="module")
def analyzer():
    with FaceAnalyzer(locate_bundled("face_landmarker.task"), max_faces=1) as made:
        yield made


@pytest.fixture(scope="module")
def person(portrait_path, analyzer):
    return make_portrait(portrait_path, SIDE, analyzer)


def shown(idle: Idle, pixels: np.ndarray, time_s: float) -> np.ndarray:
    return np.rint(idle(pixels.astype(np.float32), time_s)).astype(np.uint8)


def blink_time(seed: int) -> float:
    times = np.arange(0, BLINK_EVERY_S, 0.02)
    return float(times[np.argmax([closed_share(t, seed) for t in times])])


def open_time(seed: int) -> float:
    return blink_time(seed) + 0.5


def test_a_head_without_speed_and_between_blinks_is_the_portrait(person):
    idle = Idle(person.face, 1.0, SIDE, head_speed=0.0, seed=3)
    assert np.array_equal(shown(idle, person.pixels, open_time(3)), person.pixels)
    blinking = np.abs(shown(idle, person.pixels, blink_time(3)).astype(int) - person.pixels).max(2)
    rows = np.nonzero(blinking.any(1))[0]
    eyes = person.face.landmarks_px[[33, 133, 362, 263], 1]
    assert blinking.max() > 30
    assert rows.min() > eyes.min() - 25
    assert rows.max() < eyes.max() + 12


def test_it_starts_as_the_portrait_and_depends_on_time_and_seed_only(person):
    idle = Idle(person.face, 1.0, SIDE, head_speed=0.6, seed=1)
    assert np.array_equal(shown(idle, person.pixels, 0.0), person.pixels)
    late = shown(idle, person.pixels, 7.32)
    again = Idle(person.face, 1.0, SIDE, head_speed=0.6, seed=1)
    assert np.array_equal(shown(again, person.pixels, 7.32), late)
    other = Idle(person.face, 1.0, SIDE, head_speed=0.6, seed=2)
    assert np.abs(shown(other, person.pixels, 7.32).astype(int) - late).mean() > 0.2


def test_far_from_the_head_nothing_moves(person):
    made = shown(Idle(person.face, 1.0, SIDE, head_speed=2.0, seed=0), person.pixels, 2.3)
    changed = (made != person.pixels).any(2)
    assert changed.mean() > 0.1
    assert not changed[:2].any()
    assert not changed[:, :2].any()
    assert not changed[-2:].any()
    assert not changed[:, -2:].any()


def test_a_finer_square_moves_alike(person):
    small = Idle(person.face, 1.0, SIDE, head_speed=1.0, seed=0)
    large = Idle(person.face, 2.0, 2 * SIDE, head_speed=1.0, seed=0)
    ramp = np.tile(np.linspace(0, 255, 2 * SIDE, dtype=np.float32)[None, :, None], (2 * SIDE, 1, 3))
    difference = large(ramp, 2.3)[::2, ::2] - small(np.ascontiguousarray(ramp[::2, ::2]), 2.3)
    assert np.abs(difference).max() < 1.0


def test_the_measured_head_speed_rises_with_the_asked_one(person, analyzer):
    def measured(head_speed: float) -> float:
        idle = Idle(person.face, 1.0, SIDE, head_speed, seed=0)
        faces = [analyzer.analyze(shown(idle, person.pixels, k / 25))[0] for k in range(50)]
        turns = [face.pose_4x4[:3, :3] for face in faces]
        cosines = [(np.trace(a.T @ b) - 1) / 2 for a, b in pairwise(turns)]
        return float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).mean() * 25 / 30)

    slow, fast = measured(0.2), measured(1.2)
    assert 0.03 < slow < 0.25
    assert fast > 2 * slow


def test_sways_stay_within_what_a_picture_can_turn():
    angles = np.abs([sway_deg(t, 2.0, seed) for seed in range(5) for t in np.arange(0, 20, 0.1)])
    assert (angles.max(0) < (9.0, 7.0, 3.0)).all()
    assert (angles.max(0) > (2.0, 1.5, 0.7)).all()
    assert sway_deg(5.0, 0.0, 0) == (0.0, 0.0, 0.0)


def test_one_blink_in_every_slot():
    times = np.arange(0, 10 * BLINK_EVERY_S, 0.01)
    closed = np.array([closed_share(t, 5) for t in times])
    begins = ((closed[1:] > 0) & (closed[:-1] == 0)).sum()
    assert begins == 10
    assert closed.max() == 1.0
    assert (closed > 0).mean() < 0.1


def test_the_eyes_close_for_mediapipe_too(person, analyzer):
    idle = Idle(person.face, 1.0, SIDE, head_speed=0.0, seed=3)

    def blink(time_s: float) -> float:
        shapes = analyzer.analyze(shown(idle, person.pixels, time_s))[0].blendshapes
        return (shapes["eyeBlinkLeft"] + shapes["eyeBlinkRight"]) / 2

    assert blink(blink_time(3)) > blink(open_time(3)) + 0.12


def test_a_face_that_a_person_drew_sways_and_does_not_blink(person):
    drawn = Face(person.face.box_px, person.face.landmarks_px, person.face.pose_4x4, {})
    idle = Idle(drawn, 1.0, SIDE, head_speed=0.0, seed=3)
    assert np.array_equal(shown(idle, person.pixels, blink_time(3)), person.pixels)
