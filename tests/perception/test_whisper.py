"""Whisper's vectors from a small random encoder: how many, when, and for any length."""

import numpy as np
import pytest
import torch

from emote_cli.errors import InputError, WeightsError
from emote_cli.perception.whisper import WhisperFeatureExtractor, whisper_features
from emote_cli.settings import AudioSettings
from emote_cli.types import Waveform

SETTINGS = AudioSettings(encoder="whisper", layers=2, embed=6, tokens=10, token_width=6)
PASS_S = 1.0
"""The small encoder hears one second at a time."""


@pytest.fixture(scope="module")
def extractor() -> WhisperFeatureExtractor:
    from transformers import WhisperConfig, WhisperModel
    from transformers import WhisperFeatureExtractor as LogMel

    torch.manual_seed(3)
    config = WhisperConfig(
        d_model=6, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=7, decoder_ffn_dim=7, num_mel_bins=80, max_source_positions=50, vocab_size=11,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return WhisperFeatureExtractor(WhisperModel(config).encoder, LogMel(chunk_length=1))


def speech(seconds: float) -> Waveform:
    samples = np.random.default_rng(5).normal(size=round(seconds * 16_000)).astype(np.float32) * 0.1
    return Waveform(samples, 16_000)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.3])
def test_states_for_any_length(extractor, seconds: float):
    assert extractor.states(speech(seconds).samples).shape == (round(seconds * 50), 6)


def test_ten_vectors_reach_the_attention_of_each_frame(extractor):
    features = whisper_features(speech(1.3), SETTINGS, 24, extractor)
    assert features.hidden.shape == (round(1.3 * 24), 2, 6)
    assert features.windows(0, 3, SETTINGS.margin).reshape(3, -1, 6).shape[1] == 10


def test_a_frames_vectors_are_those_of_its_own_time(extractor):
    waveform = speech(0.9)
    states = extractor.states(waveform.samples)
    hidden = whisper_features(waveform, SETTINGS, 25, extractor).hidden
    np.testing.assert_array_equal(hidden[7], states[14:16])


def test_errors(extractor, tmp_path):
    with pytest.raises(InputError, match="8000 Hz"):
        whisper_features(Waveform(np.zeros(8000, np.float32), 8000), SETTINGS, 24, extractor)
    with pytest.raises(WeightsError, match="needs 384"):
        whisper_features(speech(0.5), AudioSettings(encoder="whisper", layers=2, embed=384), 24, extractor)
    with pytest.raises(WeightsError, match="no Whisper model"):
        WhisperFeatureExtractor.load(tmp_path)
