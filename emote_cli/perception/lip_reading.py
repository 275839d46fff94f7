"""What the lips should do, told by the sound alone: a read-out to measure how well a video's lips keep to its speech.

The read-out is the energy of the voice above 700 Hz: vowels let it out, closed lips and silence do not. It knows nothing of
words, but its timing is sharp, and its delay to real lips is known.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from emote_cli.media.audio import SPEECH_RATE_HZ
from emote_cli.types import Sound

LIPS_FOLLOW_S = 0.02
"""Real lips, as MediaPipe sees them, follow the read-out by this much (GRID: 12 clips, 10 to 30 ms)."""

_FROM_HZ, _TO_HZ = 700, 7000
_WINDOW_S, _STEP_S = 0.04, 0.01
_FLOOR = 1e-4
"""Root-mean-square amplitude that counts as silence: 80 dB below full scale."""
_BLOCK = 1000
"""Steps that are computed together: 10 s."""


def read_lips_from_sound(sound: Sound, fps: float, n_frames: int) -> Float[np.ndarray, " frames"]:
    """How far open the lips should be in each frame, in units of no meaning: only its ups and downs count.

    Args:
        sound: at 16 kHz; read in parts, so that its length takes no memory.
        fps: frames per second of the video.
        n_frames: how many; silence is assumed where the sound has ended.

    Raises:
        ValueError: the sample rate is another.
    """
    steps = voice_energy(sound, n_frames / fps + 1.0)
    middles_s = (np.arange(n_frames) + 0.5) / fps - LIPS_FOLLOW_S
    smooth = np.convolve(np.pad(steps, 2, "edge"), np.array([1, 2, 3, 2, 1]) / 9, "valid")
    return np.interp(middles_s, (np.arange(len(smooth)) + 0.5) * _STEP_S, smooth).astype(np.float32)


def voice_energy(sound: Sound, seconds: float) -> Float[np.ndarray, " steps"]:
    """The decimal logarithm of the amplitude between 700 and 7,000 Hz, every 10 ms, at least -4 (silence)."""
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
