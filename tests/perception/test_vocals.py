"""Vocal separation: the pieces fit together, and the network sees and gives what it was trained on."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from emote_cli.errors import WeightsError
from emote_cli.perception.vocals import KIM_VOCAL_2, SpectrogramForm, VocalSeparator, voice_at

BINS, COLUMNS = 33, 16
FORM = SpectrogramForm(n_fft=64, hop=16, gain=1.0, silent_bins=0)


def save(path: Path, factors: np.ndarray, channels: int = 4) -> Path:
    """A network that multiplies each bin of each channel by a factor."""
    shape = [1, channels, BINS, COLUMNS]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["mix", "factors"], ["voice"])],
        "made-up",
        [helper.make_tensor_value_info("mix", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("voice", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(factors.astype(np.float32), "factors")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


@pytest.fixture
def keep(tmp_path) -> Path:
    return save(tmp_path / "keep.onnx", np.ones((1, 4, BINS, 1)))


@pytest.mark.parametrize("length", [7, 100, 176, 1003])
def test_a_network_that_keeps_everything_gives_the_recording_back(keep, length: int):
    mix = np.random.default_rng(1).uniform(-0.5, 0.5, (2, length)).astype(np.float32)
    np.testing.assert_allclose(VocalSeparator(keep, FORM).voice(mix), mix, atol=1e-5)


def test_loud_recordings_are_turned_down_and_the_gain_is_applied(keep):
    mix = np.random.default_rng(2).uniform(-2, 2, (2, 500)).astype(np.float32)
    form = SpectrogramForm(n_fft=64, hop=16, gain=1.25, silent_bins=0)
    expected = mix * (0.9 / np.abs(mix).max()) * 1.25
    np.testing.assert_allclose(VocalSeparator(keep, form).voice(mix), expected, atol=1e-5)


def test_channels_and_bins_keep_their_places(tmp_path):
    """Only the right channel's bins 8 and above pass: of a low and a high tone the high one is left, right only."""
    factors = np.zeros((1, 4, BINS, 1))
    factors[:, 2:, 8:] = 1
    time = np.arange(2000)
    low, high = (np.sin(2 * np.pi * time * bin_ / 64) for bin_ in (3, 20))
    mix = np.stack([0.4 * (low + high)] * 2).astype(np.float32)
    left, right = VocalSeparator(save(tmp_path / "high.onnx", factors), FORM).voice(mix)
    assert np.abs(left).max() < 1e-6
    np.testing.assert_allclose(right[100:-100], 0.4 * high[100:-100], atol=0.01)


def test_the_lowest_bins_are_muted(keep):
    form = SpectrogramForm(n_fft=64, hop=16, gain=1.0)
    mix = np.full((2, 1000), 0.5, np.float32)
    assert np.abs(VocalSeparator(keep, form).voice(mix)[:, 100:-100]).max() < 1e-3


def test_the_voice_comes_at_another_rate_with_the_asked_for_length(keep):
    seconds = 0.5
    time = np.arange(int(44_100 * seconds)) / 44_100
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32) * 0.5
    voice = voice_at(VocalSeparator(keep, FORM), np.stack([tone, tone]), 16_000, 8100)
    assert (voice.sample_rate_hz, len(voice.samples)) == (16_000, 8100)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16_000)
    np.testing.assert_allclose(voice.samples[200:7800], expected[200:7800], atol=0.01)


def test_the_published_form_fits_its_network():
    """255 hops of 1024 samples are one piece; 3072 of 3841 bins are seen."""
    assert (KIM_VOCAL_2.n_fft, KIM_VOCAL_2.hop, KIM_VOCAL_2.gain) == (7680, 1024, 1.009)


def test_foreign_and_missing_networks_are_named(tmp_path):
    with pytest.raises(WeightsError, match="no network at") as missing:
        VocalSeparator(tmp_path / "missing.onnx")
    assert "emote download hallo-vocals" in missing.value.hint
    with pytest.raises(WeightsError, match="not spectrograms of two channels"):
        VocalSeparator(save(tmp_path / "mono.onnx", np.ones((1, 1, BINS, 1)), channels=2))
