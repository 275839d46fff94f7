"""Mel-frequency cepstra as SyncNet was trained on: those of the package python_speech_features with its own defaults.

Windows of 25 ms every 10 ms without a taper, pre-emphasis 0.97, 26 triangles from 0 to 8 kHz, 13 coefficients lifted by 22,
the first replaced by the window's log energy.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float, Int16

RATE_HZ = 16_000
STEP, WINDOW = 160, 400
"""Samples from one column to the next, and in one window."""

_FFT, _FILTERS, _COEFFICIENTS, _LIFTER, _EMPHASIS = 512, 26, 13, 22, 0.97


def mfcc(samples: Int16[np.ndarray, " samples"], previous: int = 0) -> Float[np.ndarray, "columns 13"]:
    """13 numbers for every 10 ms.

    Args:
        samples: mono sound at 16 kHz, in 16-bit steps (-32768..32767): the log energy knows the difference.
        previous: the sample before the first; 0 where the sound begins.
    """
    sound = samples.astype(np.float64)
    sound -= _EMPHASIS * np.concatenate([[previous], samples[:-1]])
    n_columns = 1 + max(-(-(len(sound) - WINDOW) // STEP), 0)
    sound = np.pad(sound, (0, max((n_columns - 1) * STEP + WINDOW - len(sound), 0)))
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::STEP][:n_columns]
    power = np.abs(np.fft.rfft(windows, _FFT)) ** 2 / _FFT
    logs = np.log(_above_zero(power @ _triangles().T))
    cepstra = logs @ _cosines().T
    cepstra[:, 0] = np.log(_above_zero(power.sum(1)))
    return cepstra


def _above_zero(values: np.ndarray) -> np.ndarray:
    return np.where(values == 0, np.finfo(float).eps, values)


@functools.cache
def _triangles() -> Float[np.ndarray, "filters bins"]:
    """Each rises from its left neighbor's peak and falls to its right one's; the peaks are evenly spaced in mel."""
    mel = np.linspace(0, 2595 * np.log10(1 + RATE_HZ / 2 / 700), _FILTERS + 2)
    peaks = np.floor((_FFT + 1) * 700 * (10 ** (mel / 2595) - 1) / RATE_HZ)
    bins = np.arange(_FFT // 2 + 1)
    left, middle, right = (peaks[k : k + _FILTERS, None] for k in range(3))
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    inside = (bins >= left) & (bins < right)
    return np.where(inside, np.where(bins < middle, rising, falling), 0)


@functools.cache
def _cosines() -> Float[np.ndarray, "coefficients filters"]:
    """The orthonormal cosine transform (DCT-II), its rows lifted."""
    k, n = np.arange(_COEFFICIENTS)[:, None], np.arange(_FILTERS)
    rows = np.sqrt(2 / _FILTERS) * np.cos(np.pi * k * (2 * n + 1) / (2 * _FILTERS))
    rows[0] /= np.sqrt(2)
    return rows * (1 + _LIFTER / 2 * np.sin(np.pi * k / _LIFTER))
