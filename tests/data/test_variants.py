"""Altered copies of clips: picture, boxes and sound change together, and always the same way."""

import dataclasses

import numpy as np
import pytest

from emote_cli.data.variants import move_boxes, variant_of, warp
from emote_cli.types import Waveform

SIDE, RATE = 96, 16_000


def speech() -> Waveform:
    rng = np.random.default_rng(0)
    loud = np.repeat([0.2, 0.0, 0.1], RATE // 2)
    return Waveform((rng.normal(size=len(loud)) * loud).astype(np.float32), RATE)


def test_number_nothing_is_the_clip_itself():
    assert variant_of("c1", 0) is None


def test_a_copy_is_always_the_same_and_no_two_are():
    assert variant_of("c1", 1) == variant_of("c1", 1)
    copies = [variant_of(clip, number) for clip in ("c1", "c2") for number in (1, 2, 3)]
    assert len({copy.seed for copy in copies}) == len({copy.scale for copy in copies}) == 6
    assert [copy.mirrored for copy in copies] == [True, False, True] * 2


@pytest.mark.parametrize("number", [1, 2])
def test_boxes_follow_the_picture(number):
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    frame[30:50, 20:32] = 255
    affine = variant_of("c1", number).affine(SIDE)
    rows, columns = np.nonzero(warp(frame, affine)[..., 0] > 127)
    edges = np.array([[20.0, 30.0, 32.0, 50.0]])
    x0, y0, x1, y1 = (move_boxes(edges - 0.5, affine[None]) + 0.5)[0]
    assert (columns.min() + columns.max() + 1) / 2 == pytest.approx((x0 + x1) / 2, abs=0.6)
    assert (rows.min() + rows.max() + 1) / 2 == pytest.approx((y0 + y1) / 2, abs=0.6)
    assert (columns.mean() > SIDE / 2) == (number == 1), "only odd copies are mirrored"


def test_boxes_turn_with_the_picture():
    quarter = np.array([[[0.0, -1.0, 100.0], [1.0, 0.0, 0.0]]])
    assert move_boxes(np.array([[10.0, 20.0, 30.0, 60.0]]), quarter).tolist() == [[40, 10, 80, 30]]


def test_colors_change_a_little():
    frame = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    other = variant_of("c1", 2).recolor(frame)
    assert other.dtype == np.uint8
    assert 0 < np.abs(other.astype(int) - frame).mean() < 60


def test_the_sound_keeps_its_length_and_its_place():
    plain = dataclasses.replace(variant_of("c1", 1), level_db=-6.0, noise_db=None, room_s=0.0, tempo=1.0)
    assert np.allclose(plain.alter_sound(speech()).samples, speech().samples * 10**-0.3, atol=1e-6)
    whole = dataclasses.replace(plain, noise_db=-20.0, room_s=0.3).alter_sound(speech())
    assert len(whole.samples) == len(speech().samples)
    parts = [np.abs(part).mean() for part in np.split(whole.samples, 3)]
    assert parts[0] > parts[2] > parts[1] > 0, "loud, the echo and the noise, softer"
    assert np.array_equal(
        whole.samples, dataclasses.replace(plain, noise_db=-20.0, room_s=0.3).alter_sound(speech()).samples
    )


def test_silence_stays_silent():
    quiet = Waveform(np.zeros(RATE, np.float32), RATE)
    noisy = dataclasses.replace(variant_of("c1", 1), noise_db=-20.0, room_s=0.3)
    assert not noisy.alter_sound(quiet).samples.any()


def test_picture_and_sound_are_played_at_the_same_tempo():
    faster = dataclasses.replace(variant_of("c1", 1), noise_db=None, room_s=0.0, tempo=1.25)
    assert faster.order(10).tolist() == [0, 1, 3, 4, 5, 6, 8, 9]
    slower = dataclasses.replace(faster, tempo=0.8)
    assert slower.order(8).tolist() == [0, 1, 2, 2, 3, 4, 5, 6, 6, 7]
    heard = faster.alter_sound(speech())
    assert len(heard.samples) == len(speech().samples) / 1.25
    quiet = np.flatnonzero(np.abs(heard.samples) < 1e-4 * np.abs(heard.samples).max())
    middle = np.median(quiet) / RATE
    assert middle == pytest.approx(0.75 / 1.25, abs=0.01), "the pause comes as much earlier"
    assert {0.8 < variant_of(f"c{k}", 1).tempo < 1.2 for k in range(50)} == {True}
