"""What the lips should do, told by the sound alone: a read-out to measure how well a video's lips keep to its speech.

The bundled ears (`whisper_ears`) hear the speech; a linear read-out of their states, fitted once by ridge regression on the
training clips of `mini` (`tests/fit_lip_reading.py`), tells how far the lips are open. On people whom it has never seen it
correlates with their lips by 0.79 (10 clips), within a frame of their timing in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from safetensors.numpy import load_file

from emote_cli.media.audio import SPEECH_RATE_HZ
from emote_cli.perception.features import speech_gain
from emote_cli.perception.whisper_ears import EARS, KEPT_S, listen_once, load_bundled_ears
from emote_cli.perception.whisper_encoder import STATES_HZ
from emote_cli.types import Sound
from emote_cli.zoo.locate import check_folder, locate_bundled

READ_OUT = "lips.safetensors"
AROUND = (-4, 0, 4)
"""States (of 20 ms) that the read-out sees, counted from its moment."""

_FROM_HZ, _TO_HZ = 700, 7000
_WINDOW_S, _STEP_S = 0.04, 0.01
_FLOOR = 1e-4
"""Root-mean-square amplitude that counts as silence: 80 dB below full scale."""
_BLOCK = 1000
"""Steps that are computed together: 10 s."""


def read_lips_from_sound(sound: Sound, fps: float, n_frames: int) -> Float[np.ndarray, " frames"]:
    """Read from the sound how far open the lips should be in each frame; only ups and downs count, the unit has no meaning.

    Args:
        sound: at 16 kHz; heard in parts, so that its length takes no memory.
        fps: frames per second of the video.
        n_frames: how many; silence is assumed where the sound has ended.

    Raises:
        WeightsError: the bundled weights are missing or damaged.
    """
    weights, edge = load_read_out(), max(AROUND)
    told = np.concatenate([states @ weights.T for states in hear_states(sound, n_frames / fps)])
    padded = np.pad(told, ((edge, edge), (0, 0)), "edge")
    steps = np.sum([padded[edge + shift :][: len(told), k] for k, shift in enumerate(AROUND)], axis=0)
    between = (steps[1:] + steps[:-1]) / 2
    middles_s = (np.arange(n_frames) + 0.5) / fps
    return np.interp(middles_s, (np.arange(len(between)) + 1) / STATES_HZ, between).astype(np.float32)


@lru_cache(maxsize=1)
def load_read_out() -> Float[np.ndarray, "around embed"]:
    """Load the fitted weights that ship.

    Raises:
        WeightsError: they are missing or damaged.
    """
    folder = locate_bundled(EARS)
    check_folder(folder)
    return load_file(folder / READ_OUT)["weight"]


def hear_states(sound: Sound, seconds: float) -> Iterator[Float[np.ndarray, "states embed"]]:
    """Compute the ears' states, 50 a second, in parts of 2 s until `seconds` are over; silence past the sound's end."""
    ears, gain = load_bundled_ears(), np.float32(speech_gain(sound))
    for part in range(int(seconds / KEPT_S) + 1):
        yield listen_once(ears, sound, part * KEPT_S * SPEECH_RATE_HZ, gain)


def voice_energy(sound: Sound, seconds: float) -> Float[np.ndarray, " steps"]:
    """Measure the decimal logarithm of the amplitude between 700 and 7,000 Hz, every 10 ms, at least -4 (silence).

    Args:
        sound: at 16 kHz.
        seconds: how much of it; silence is assumed behind its end.

    Raises:
        ValueError: the sound has another sample rate.
    """
    if sound.sample_rate_hz != SPEECH_RATE_HZ:
        raise ValueError(f"the read-out needs {SPEECH_RATE_HZ} Hz, got {sound.sample_rate_hz}")
    window, step = round(_WINDOW_S * SPEECH_RATE_HZ), round(_STEP_S * SPEECH_RATE_HZ)
    hann = np.hanning(window + 2)[1:-1].astype(np.float32)
    band = np.fft.rfftfreq(window, 1 / SPEECH_RATE_HZ)
    heard = (band >= _FROM_HZ) & (band <= _TO_HZ)
    scale = np.sqrt(2 / (window * (hann**2).sum()))
    count, before = round(seconds / _STEP_S), (window - step) // 2
    levels = np.full(count, np.log10(_FLOOR), np.float32)
    for first in range(0, min(count, -(-sound.n_samples // step)), _BLOCK):
        n = min(_BLOCK, count - first)
        start, stop = first * step - before, (first + n) * step + before
        samples = sound.read(start, stop)
        missing = max(-start, 0)
        samples = np.pad(samples, (missing, stop - start - missing - len(samples)))
        pieces = np.lib.stride_tricks.sliding_window_view(samples, window)[::step][:n]
        spectrum = np.abs(np.fft.rfft(pieces * hann, axis=1)[:, heard])
        levels[first : first + n] = np.log10(np.maximum(np.sqrt((spectrum**2).sum(1)) * scale, _FLOOR))
    return levels
