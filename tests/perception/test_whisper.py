"""Whisper's encoder against transformers', and which states EchoMimic's frames hear."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from emote_cli.errors import InputError, WeightsError
from emote_cli.perception import whisper_encoder
from emote_cli.perception.whisper import count_denoised_frames, encode, whisper_features
from emote_cli.perception.whisper_encoder import WhisperEncoder, log_mel
from emote_cli.settings import AudioSettings, load_preset
from emote_cli.types import Waveform

WIDTH, BLOCKS, PLACES = 6, 3, 50
SETTINGS = AudioSettings(encoder="whisper", layers=4, embed=WIDTH, tokens=40, token_width=WIDTH)


@pytest.fixture(scope="module")
def theirs():
    """transformers' encoder; it hears one second at a time."""
    from transformers import WhisperConfig, WhisperModel

    torch.manual_seed(3)
    config = WhisperConfig(
        d_model=WIDTH, encoder_layers=BLOCKS, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=4 * WIDTH, decoder_ffn_dim=7, num_mel_bins=80,
        max_source_positions=PLACES, vocab_size=11, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    model = WhisperModel(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def file(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp("whisper") / "model.safetensors"
    save_file({f"model.{name}": value.clone() for name, value in theirs.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def encoder(file) -> WhisperEncoder:
    return WhisperEncoder.load(file, heads=2)


def speech(seconds: float) -> Waveform:
    samples = np.random.default_rng(5).normal(size=round(seconds * 16_000)).astype(np.float32) * 0.1
    return Waveform(samples, 16_000)


@torch.no_grad()
def test_states_are_those_of_transformers(encoder, theirs, file):
    mel = torch.randn(2, 80, 2 * PLACES, generator=torch.Generator().manual_seed(1))
    expected = theirs.encoder(mel, output_hidden_states=True)
    ours = encoder(mel)
    assert len(ours) == BLOCKS + 1
    for mine, their in zip(ours[:-1], expected.hidden_states[:-1], strict=True):
        torch.testing.assert_close(mine, their, atol=1e-5, rtol=1e-4)
    last = theirs.encoder.layer_norm(ours[-1])
    torch.testing.assert_close(last, expected.last_hidden_state, atol=1e-5, rtol=1e-4)
    fewer = WhisperEncoder.load(file, blocks=1, heads=2)(mel)
    assert len(fewer) == 2
    torch.testing.assert_close(fewer[1], ours[1])


def test_log_mel_is_that_of_transformers():
    from transformers import WhisperFeatureExtractor

    waveform = speech(1.0)
    theirs = WhisperFeatureExtractor(chunk_length=1)(
        waveform.samples, sampling_rate=16_000, return_tensors="np"
    ).input_features[0]
    np.testing.assert_allclose(log_mel(waveform).numpy(), theirs, atol=1e-4)


def test_log_mel_in_pieces_is_that_of_the_whole(monkeypatch):
    waveform = speech(1.73)
    whole = log_mel(waveform)
    assert whole.shape == (80, 173)
    monkeypatch.setattr(whisper_encoder, "_PIECE_COLUMNS", 37)
    torch.testing.assert_close(log_mel(waveform), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("seconds", "states"), [(0.005, 1), (0.3, 15), (1.0, 50), (2.3, 115), (2.31, 115)])
def test_states_for_any_length(encoder, seconds: float, states: int):
    assert encode(encoder, speech(seconds)).shape == (states, BLOCKS + 1, WIDTH)


@pytest.mark.parametrize(
    ("columns", "states"), [(1, 1), (99, 49), (100, 50), (101, 50), (102, 51), (301, 150)]
)
def test_a_single_column_behind_a_pass_gives_no_state(encoder, columns: int, states: int):
    assert len(encode(encoder, speech(columns / 100))) == states


def test_what_follows_the_sound_is_zeros_and_not_silence(encoder):
    """The last pass is filled with zeros in the scaled log-mel, where silence would be about -1."""
    waveform = speech(0.6)
    mel = torch.nn.functional.pad(log_mel(waveform), (0, 40))
    expected = torch.stack([layer[0] for layer in encoder(mel[None])], 1)[:30]
    np.testing.assert_allclose(encode(encoder, waveform), expected.numpy(), atol=1e-5)


def test_a_frame_hears_the_states_around_its_beginning(encoder):
    waveform = speech(1.9)
    features, frames = whisper_features(waveform, SETTINGS, 24, encoder)
    states = encode(encoder, waveform)
    assert frames == round(1.9 * 24)
    assert features.n_frames == 48  # the 48th frame begins behind the 95th state
    windows = features.windows(0, features.n_frames, 2)
    assert windows.shape == (48, 10, BLOCKS + 1, WIDTH)
    np.testing.assert_array_equal(windows[30], states[62 - 4 : 62 + 6])
    np.testing.assert_array_equal(windows[0], states[[0, 0, 0, 0, 0, 1, 2, 3, 4, 5]])
    np.testing.assert_array_equal(windows[47], states[[93, 94, *[94] * 8]])


@pytest.mark.parametrize("fps", [23, 24, 25, 30])
@pytest.mark.parametrize("states", [1, 49, 50, 51, 238])
def test_counted_frames(states: int, fps: int):
    begins = (frame * 50 // fps for frame in range(10_000))
    assert (
        count_denoised_frames(states, fps) == next(i for i, state in enumerate(begins) if state > states) + 1
    )


def test_fifty_vectors_reach_the_attention_of_each_frame():
    for name in ("echomimic", "echomimic-6step"):
        audio = load_preset(name).audio
        assert audio.tokens == 2 * audio.window * audio.layers == 50


def test_errors(encoder, file, tmp_path):
    with pytest.raises(InputError, match="8000 Hz"):
        whisper_features(Waveform(np.zeros(8000, np.float32), 8000), SETTINGS, 24, encoder)
    with pytest.raises(WeightsError, match="needs 384"):
        whisper_features(speech(0.5), AudioSettings(encoder="whisper", embed=384), 24, encoder)
    with pytest.raises(WeightsError, match="no Whisper model") as missing:
        WhisperEncoder.load(tmp_path / "model.safetensors", hint="emote download echomimic")
    assert missing.value.hint == "emote download echomimic"
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(file.read_bytes()[:999])
    with pytest.raises(WeightsError, match="is damaged"):
        WhisperEncoder.load(broken)
    save_file({"conv1.weight": torch.zeros(2, 3)}, broken)
    with pytest.raises(WeightsError, match="holds no Whisper encoder"):
        WhisperEncoder.load(broken)
    with pytest.raises(WeightsError, match="is damaged"):
        WhisperEncoder.load(file, blocks=BLOCKS + 1, heads=2)
