"""Mel spectra: how loud a recording is in bands that are as wide as the ear hears them. Numpy only."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from emote_cli.perception.fourier import fourier_columns

LINEAR_HZ = 200 / 3
"""Slaney's scale: Hz per mel up to `LOG_FROM_HZ` ..."""
LOG_FROM_HZ = 1000.0
LOG_STEP = np.log(6.4) / 27
"""... and above it 27 mel for every factor of 6.4."""


def hz_to_mel(hz: Float[np.ndarray, "*axes"] | float) -> Float[np.ndarray, "*axes"]:
    """Convert Hz to Slaney's mel scale."""
    hz = np.asarray(hz, float)
    above = LOG_FROM_HZ / LINEAR_HZ + np.log(np.maximum(hz, LOG_FROM_HZ) / LOG_FROM_HZ) / LOG_STEP
    return np.where(hz < LOG_FROM_HZ, hz / LINEAR_HZ, above)


def mel_to_hz(mel: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
    """Convert Slaney's mel scale to Hz."""
    corner = LOG_FROM_HZ / LINEAR_HZ
    return np.where(
        mel < corner, mel * LINEAR_HZ, LOG_FROM_HZ * np.exp(LOG_STEP * (np.maximum(mel, corner) - corner))
    )


@lru_cache
def mel_filters(
    rate_hz: int, n_fft: int, bands: int, low_hz: float, high_hz: float
) -> Float[np.ndarray, "bands bins"]:
    """Make triangles over the bins of a spectrum, evenly spaced in mel, each of area 1 in Hz.

    Args:
        rate_hz: samples per second.
        n_fft: samples of a spectrum; it has `n_fft // 2 + 1` bins.
        bands: how many triangles.
        low_hz: where the first one begins.
        high_hz: where the last one ends.
    """
    corners = mel_to_hz(np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), bands + 2))
    bins = np.linspace(0, rate_hz / 2, n_fft // 2 + 1)
    left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (bins - left) / (middle - left), (right - bins) / (right - middle)
    return (np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)).astype(np.float32)


def spectra(
    samples: Float[np.ndarray, " samples"], n_fft: int, window: int, hop: int
) -> Float[np.ndarray, "columns bins"]:
    """Compute magnitudes of the spectrum every `hop` samples, under a Hann window in the middle of `n_fft` samples.

    The first column's window begins at the first sample; what is left at the end is left out.

    Args:
        samples: at least `n_fft` of them.
        n_fft: samples that a spectrum is made of.
        window: length of the Hann window in their middle.
        hop: samples from one spectrum to the next.
    """
    return np.abs(fourier_columns(samples, n_fft, window, hop)).astype(np.float32)
