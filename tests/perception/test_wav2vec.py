"""Speech features from a small random wav2vec 2.0: timing, windows, memory, errors."""

import numpy as np
import pytest
import torch

from emote_cli.errors import InputError, WeightsError
from emote_cli.perception import wav2vec
from emote_cli.perception.wav2vec import (
    Wav2VecFeatureExtractor,
    convolve_in_pieces,
    hallo_features,
    wav2vec_features,
)  # fmt: skip
from emote_cli.settings import AudioSettings
from emote_cli.types import Waveform

FPS = 23
SETTINGS = AudioSettings(layers=2, embed=12)


def small_model():
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(5)
    config = Wav2Vec2Config(
        hidden_size=12, num_hidden_layers=3, num_attention_heads=2, intermediate_size=14, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    return Wav2Vec2Model(config)


@pytest.fixture(scope="module")
def extractor() -> Wav2VecFeatureExtractor:
    return Wav2VecFeatureExtractor(small_model())


def speech(seconds: float, seed: int = 3) -> Waveform:
    samples = np.random.default_rng(seed).normal(size=round(seconds * 16_000)).astype(np.float32) * 0.1 + 0.02
    return Waveform(samples, 16_000)


def test_one_row_per_video_frame(extractor):
    features = wav2vec_features(speech(1.3), SETTINGS, FPS, extractor)
    assert features.hidden.shape == (round(1.3 * FPS), 2, 12)
    assert features.fps == FPS
    assert features.windows(0, 3, 2).shape == (3, 5, 2, 12)


def test_states_are_the_models_own_and_interpolated_afterwards(extractor):
    waveform = speech(0.9)
    hidden = wav2vec_features(waveform, SETTINGS, FPS, extractor).hidden
    with torch.no_grad():
        heard = waveform.samples - waveform.samples.mean()
        inputs = torch.from_numpy(heard / np.sqrt(heard.var() + 1e-7))[None]
        theirs = extractor.model(inputs, output_hidden_states=True).hidden_states[1:]
    states = torch.stack(theirs, 2)[0].numpy()[:, -2:]
    seconds = (np.arange(len(states)) * 320 + 200) / 16_000
    middles = (np.arange(len(hidden)) + 0.5) / FPS
    for layer in range(2):
        for number in range(12):
            expected = np.interp(middles, seconds, states[:, layer, number])
            np.testing.assert_allclose(hidden[:, layer, number], expected, atol=2e-4)


def test_long_recordings_are_heard_in_windows(extractor, monkeypatch):
    monkeypatch.setattr(wav2vec, "WINDOW_S", 1.0)
    monkeypatch.setattr(wav2vec, "CONTEXT_S", 0.5)
    heard: list[int] = []
    states = extractor.states
    monkeypatch.setattr(extractor, "states", lambda samples: heard.append(len(samples)) or states(samples))
    waveform = speech(3.7)
    windowed = wav2vec_features(waveform, SETTINGS, FPS, extractor).hidden
    assert len(heard) == 4
    assert max(heard) <= 2.1 * 16_000
    monkeypatch.setattr(wav2vec, "WINDOW_S", 60.0)
    whole = wav2vec_features(waveform, SETTINGS, FPS, extractor).hidden
    assert windowed.shape == whole.shape
    for layer in range(2):
        likeness = np.corrcoef(windowed[:, layer].ravel(), whole[:, layer].ravel())[0, 1]
        assert likeness > 0.95


def test_volume_and_offset_do_not_matter(extractor):
    waveform = speech(0.5)
    louder = Waveform(waveform.samples * 3 + 0.1, 16_000)
    first, second = (wav2vec_features(sound, SETTINGS, FPS, extractor).hidden for sound in (waveform, louder))
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_silence_and_one_frame(extractor):
    silence = Waveform(np.zeros(16_000, np.float32), 16_000)
    assert np.isfinite(wav2vec_features(silence, SETTINGS, FPS, extractor).hidden).all()
    one = Waveform(np.zeros(round(16_000 / 50), np.float32), 16_000)
    assert wav2vec_features(one, SETTINGS, 50, extractor).n_frames == 1


def test_errors(extractor, tmp_path):
    with pytest.raises(InputError, match="less than one video frame"):
        wav2vec_features(Waveform(np.zeros(7, np.float32), 16_000), SETTINGS, FPS, extractor)
    with pytest.raises(InputError, match="8000 Hz"):
        wav2vec_features(Waveform(np.zeros(8000, np.float32), 8000), SETTINGS, FPS, extractor)
    with pytest.raises(WeightsError, match="layers"):
        wav2vec_features(speech(0.5), AudioSettings(layers=12, embed=768), FPS, extractor)
    with pytest.raises(WeightsError, match="no wav2vec2 model"):
        Wav2VecFeatureExtractor.load(tmp_path)


def test_loads_what_transformers_saves(extractor, tmp_path):
    extractor.model.save_pretrained(tmp_path)
    again = Wav2VecFeatureExtractor.load(tmp_path)
    samples = torch.randn(3200)
    torch.testing.assert_close(again.states(samples), extractor.states(samples))


def test_hallo_pads_to_whole_chunks(extractor):
    features, frames = hallo_features(speech(1.01), SETTINGS, 25, 16, extractor)
    assert frames == 26  # rounded up
    assert features.n_frames == 32
    assert features.windows(30, 2, 2).shape == (2, 5, 2, 12)


@pytest.mark.parametrize(
    ("samples", "frames", "total"),
    [(4480, 8, 16), (640, 1, 16), (641, 2, 16), (10240, 16, 16), (71680, 113, 128)],
)
def test_hallo_counts_frames_as_the_original(extractor, samples: int, frames: int, total: int):
    """0.28 s and 4.48 s at 25 fps are 7 and 112 frames; in floating point, rounded up, one more."""
    heard, counted = hallo_features(speech(samples / 16_000), SETTINGS, 25, 16, extractor)
    assert (counted, heard.n_frames) == (frames, total)


@pytest.mark.parametrize("samples", [400, 401, 719, 720, 16_000, 16_079, 33_333])
@torch.no_grad()
def test_convolutions_in_pieces_are_those_of_the_whole(extractor, monkeypatch, samples: int):
    """Also where the recording is louder at one end, and not centered: the norm sees all of it."""
    sound = torch.from_numpy(speech(samples / 16_000).samples)[None] * torch.linspace(0.1, 9, samples) + 0.5
    network = extractor.model.feature_extractor
    whole = network(sound)
    monkeypatch.setattr(wav2vec, "PIECE_STATES", 7)
    pieces = convolve_in_pieces(network, sound)
    torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=1e-5)


def test_hallo_hears_ten_minutes_in_one_pass(extractor, monkeypatch):
    """A recording of just that length, too, whose last chunk reaches over it."""
    once = hallo_features(speech(1.0), SETTINGS, 25, 16, extractor)[0].whole()
    monkeypatch.setattr(wav2vec, "HALLO_WHOLE_S", 1.0)
    monkeypatch.setattr(wav2vec, "CONTEXT_S", 0.1)
    assert np.array_equal(hallo_features(speech(1.0), SETTINGS, 25, 16, extractor)[0].whole(), once)
    longer = speech(1.01)
    parts = hallo_features(longer, SETTINGS, 25, 16, extractor)[0].whole()
    monkeypatch.setattr(wav2vec, "HALLO_WHOLE_S", 600.0)
    assert not np.allclose(parts, hallo_features(longer, SETTINGS, 25, 16, extractor)[0].whole(), atol=1e-4)


def test_hallo_hears_long_recordings_in_parts(extractor, monkeypatch):
    waveform = speech(3.1)
    whole = hallo_features(waveform, SETTINGS, 25, 16, extractor)[0].whole()
    monkeypatch.setattr(wav2vec, "HALLO_WHOLE_S", 1.0)
    monkeypatch.setattr(wav2vec, "CONTEXT_S", 0.8)
    parts = hallo_features(waveform, SETTINGS, 25, 16, extractor)[0].whole()
    assert parts.shape == whole.shape
    assert np.corrcoef(parts.ravel(), whole.ravel())[0, 1] > 0.85
