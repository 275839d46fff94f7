"""Lips told by the sound: they open with a voice, keep its timing, and end with it."""

import numpy as np
import pytest

from emote_cli.perception.lip_reading import read_lips_from_sound
from emote_cli.types import Waveform

RATE_HZ = 16_000


def hum(begin_s: float, end_s: float, seconds: float = 4.0) -> Waveform:
    """A vowel-like buzz (130 Hz, formants at 700 and 1,200 Hz) from one moment to another, quiet hiss around it."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    buzz = sum(
        np.sin(2 * np.pi * 130 * k * t) * np.exp(-(((130 * k - f) / 150) ** 2))
        for k in range(1, 20)
        for f in (700, 1200)
    )
    noise = np.random.default_rng(0).normal(0, 1e-4, len(t))
    return Waveform((0.1 * buzz * ((t >= begin_s) & (t < end_s)) + noise).astype(np.float32), RATE_HZ)


def test_a_vowel_opens_the_lips_more_than_silence() -> None:
    told = read_lips_from_sound(hum(1.5, 2.5), 25.0, 100)
    assert told.shape == (100,)
    assert told[42:58].mean() > told[:30].mean() + 0.3
    assert told[42:58].mean() > told[75:].mean() + 0.3


@pytest.mark.parametrize("fps", [25.0, 29.97])
def test_the_voice_moves_the_lips_by_as_much_as_it_moves(fps: float) -> None:
    late = read_lips_from_sound(hum(1.9, 2.9), fps, 90)
    soon = read_lips_from_sound(hum(1.5, 2.5), fps, 90)
    shift = round(0.4 * fps)
    agreement = [np.corrcoef(late[20:], soon[20 - k : 90 - k])[0, 1] for k in range(20)]
    assert abs(int(np.argmax(agreement)) - shift) <= 1


def test_past_the_end_of_the_sound_there_is_silence_and_two_readings_agree() -> None:
    sound = hum(0.2, 0.8, 1.0)
    told = read_lips_from_sound(sound, 25.0, 120)
    assert np.isfinite(told).all()
    np.testing.assert_array_equal(told, read_lips_from_sound(sound, 25.0, 120))
