"""Short-time Fourier transforms and another sample rate. Numpy and soxr only."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Complex, Float

Samples = Float[np.ndarray, " samples"]


def hann(n_fft: int, window: int) -> Float[np.ndarray, " {n_fft}"]:
    """Make a periodic Hann window in the middle of `n_fft` values."""
    values = np.zeros(n_fft)
    start = (n_fft - window) // 2
    values[start : start + window] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return values


def fourier_columns(
    samples: Samples, n_fft: int, window: int, hop: int
) -> Complex[np.ndarray, "columns bins"]:
    """Compute the spectrum of `n_fft` samples from every `hop`-th sample on; what is left at the end is left out.

    Args:
        samples: at least `n_fft` of them.
        n_fft: samples that a spectrum is made of.
        window: length of the Hann window in their middle.
        hop: samples from one spectrum to the next.
    """
    pieces = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[::hop]
    return np.fft.rfft(pieces * hann(n_fft, window))


def from_fourier_columns(columns: Complex[np.ndarray, "columns bins"], n_fft: int, hop: int) -> Samples:
    """Find the samples whose `fourier_columns` (with a window of `n_fft`) are nearest to these; the ends are faint.

    Args:
        columns: from `fourier_columns` with the same `n_fft` and `hop`.
        n_fft: samples that a spectrum is made of.
        hop: samples from one spectrum to the next.

    Returns:
        n_fft + hop x (columns - 1) samples.
    """
    window = hann(n_fft, n_fft)
    pieces = np.fft.irfft(columns, n_fft) * window
    total = np.zeros(n_fft + hop * (len(columns) - 1))
    weight = np.zeros_like(total)
    for index, piece in enumerate(pieces):
        total[index * hop : index * hop + n_fft] += piece
        weight[index * hop : index * hop + n_fft] += window**2
    return total / np.where(weight > 1e-10, weight, 1)


def resample(samples: Samples, from_hz: float, to_hz: float) -> Float[np.ndarray, " resampled"]:
    """Bring a sound to another sample rate (soxr, high quality).

    Args:
        samples: mono.
        from_hz: their rate.
        to_hz: the rate to bring them to.

    Returns:
        Seconds x `to_hz` samples, rounded up.
    """
    import soxr

    length = math.ceil(len(samples) * to_hz / from_hz)
    made = soxr.resample(samples, from_hz, to_hz, quality="HQ")[:length]
    return np.pad(made, (0, length - len(made)))
