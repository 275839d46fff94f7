"""Our spectra are librosa's."""

import librosa
import numpy as np
import pytest

from emote_cli.perception.fourier import fourier_columns, from_fourier_columns, resample
from emote_cli.perception.mel import hz_to_mel, mel_filters, mel_to_hz, spectra


@pytest.mark.parametrize(
    ("n_fft", "bands", "low_hz", "high_hz"),
    [(512, 80, 60.0, 7600.0), (400, 80, 0.0, 8000.0), (400, 40, 300.0, 2600.0)],
)
def test_filters(n_fft: int, bands: int, low_hz: float, high_hz: float):
    ours = mel_filters(16_000, n_fft, bands, low_hz, high_hz)
    theirs = librosa.filters.mel(sr=16_000, n_fft=n_fft, n_mels=bands, fmin=low_hz, fmax=high_hz)
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_the_scale_and_back():
    hz = np.linspace(0, 8000, 101)
    np.testing.assert_allclose(hz_to_mel(hz), librosa.hz_to_mel(hz), rtol=1e-12)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("window", "hop"), [(400, 160), (512, 128)])
def test_spectra(window: int, hop: int):
    samples = np.random.default_rng(3).normal(0, 0.1, 5003).astype(np.float32)
    ours = spectra(samples, 512, window, hop)
    theirs = np.abs(librosa.stft(samples, n_fft=512, win_length=window, hop_length=hop, center=False)).T
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=1e-6)


def test_there_and_back():
    samples = np.random.default_rng(4).normal(0, 0.1, 1000).astype(np.float32)
    columns = fourier_columns(np.pad(samples, 32, mode="reflect"), 64, 64, 16)
    theirs = librosa.stft(samples, n_fft=64, hop_length=16, center=True, pad_mode="reflect")
    np.testing.assert_allclose(columns.T, theirs, atol=1e-6)
    back = from_fourier_columns(columns, 64, 16)[32 : 32 + 976]
    np.testing.assert_allclose(back, samples[:976], atol=1e-6)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44_100, 16_000), (16_000 * 1.07, 16_000)])
def test_resample(from_hz: float, to_hz: float):
    samples = np.random.default_rng(6).normal(0, 0.1, 4410).astype(np.float32)
    ours = resample(samples, from_hz, to_hz)
    np.testing.assert_array_equal(ours, librosa.resample(samples, orig_sr=from_hz, target_sr=to_hz))


def test_log_mel_of_the_mini():
    """The features as a whole: what the mini's fifth edition was trained on, made with librosa."""
    from emote_cli.perception.speech import hear
    from emote_cli.settings import AudioSettings
    from emote_cli.types import Waveform

    settings = AudioSettings(encoder="mel", layers=4, embed=80, margin=4, tokens=9, token_width=160)
    samples = np.random.default_rng(5).normal(0, 0.08, 16_000).astype(np.float32)
    ours = hear(Waveform(samples, 16_000), settings, 25).hidden.reshape(-1, 80)
    gain = 0.08 / np.sqrt(np.sort((samples.reshape(-1, 400) ** 2).mean(1))[20:].mean())
    mel = librosa.feature.melspectrogram(
        y=np.pad(samples * np.float32(gain), 256), sr=16_000, n_fft=512, win_length=400, hop_length=160,
        n_mels=80, fmin=60, fmax=7600, power=1.0, center=False,
    )  # fmt: skip
    theirs = (np.log10(np.maximum(mel, 1e-5)) + 2) / 2
    np.testing.assert_allclose(ours, theirs.T[:100], atol=1e-6)
