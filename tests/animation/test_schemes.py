"""The public checkpoints' animators from a portrait and speech to frames, at toy size with random weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emote_cli.animation.animator import Animator
from emote_cli.animation.device import Precision
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.runtime import Runtime
from emote_cli.animation.schemes import echomimic, hallo
from emote_cli.animation.schemes.emo import EmoScheme
from emote_cli.animation.schemes.find import find_scheme
from emote_cli.animation.schemes.motion import MotionScheme
from emote_cli.model.checkpoint import random_model
from emote_cli.perception.wav2vec import Wav2VecFeatureExtractor
from emote_cli.perception.whisper_encoder import WhisperEncoder
from emote_cli.settings import ModelSettings, load_preset
from emote_cli.types import AudioFeatures, Box, Face, Portrait, Waveform

SIZE = 32
SMALL = {
    "image_size": SIZE,
    "autoencoder": {"block_channels": [8, 8, 8, 8], "layers_per_block": 1, "norm_groups": 4},
    "unet": {
        "block_channels": [8, 16],
        "attention": [True, False],
        "layers_per_block": 1,
        "heads": 2,
        "norm_groups": 4,
    },
}


def toy(name: str, **parts: dict) -> ModelSettings:
    """A preset with small widths; its family stays as it is."""
    preset = load_preset(name).model_dump()
    for part, values in parts.items():
        preset[part] = preset[part] | values
    return ModelSettings.model_validate(preset | SMALL)


def toy_hallo() -> ModelSettings:
    return toy(
        "hallo",
        family={"identity_tokens": 3, "identity_width": 5, "identity_embedding": 7},
        audio={"layers": 2, "embed": 6, "hidden": 5, "tokens": 3, "token_width": 8},
        temporal={"motion_frames": 2, "chunk_frames": 3},
    )


def toy_echomimic() -> ModelSettings:
    return toy(
        "echomimic",
        audio={"embed": 6, "token_width": 6},
        temporal={"chunk_frames": 5},
        face_locator={"channels": [4, 4, 8, 8]},
    )


@pytest.fixture
def portrait() -> Portrait:
    rng = np.random.default_rng(4)
    landmarks = rng.uniform(8, 24, (478, 3))
    face = Face(Box(8, 8, 24, 24), landmarks, np.eye(4), {})
    pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    return Portrait(pixels, face, Box(0, 0, SIZE, SIZE), Path("made-up.png"))


def animator(settings: ModelSettings) -> Animator:
    """Its ears are of the right kind and hear nothing: tests say what is heard."""
    runtime = Runtime(random_model(settings), torch.device("cpu"), Precision(torch.float32))
    kind = WhisperEncoder if settings.audio.encoder == "whisper" else Wav2VecFeatureExtractor
    runtime.ears = object.__new__(kind)
    return Animator(runtime)


def features(frames: int, settings: ModelSettings) -> AudioFeatures:
    hidden = np.random.default_rng(9).normal(size=(frames, settings.audio.layers, settings.audio.embed))
    return AudioFeatures(hidden=hidden.astype(np.float32), fps=float(settings.fps))


def test_each_family_has_its_scheme():
    for name in ("hallo", "hallo2"):
        assert find_scheme(load_preset(name)) is hallo.HalloScheme
    assert find_scheme(load_preset("echomimic")) is echomimic.EchoMimicScheme
    assert find_scheme(load_preset("mini")) is MotionScheme
    for name in ("tiny", "sd15"):
        assert find_scheme(load_preset(name)) is EmoScheme


@pytest.mark.parametrize("guidance", [1.0, 3.5])
def test_hallo(portrait, monkeypatch, guidance: float):
    settings = toy_hallo()
    heard = features(9, settings)
    monkeypatch.setattr(hallo, "hallo_features", lambda *_: (heard, 7))
    options = AnimateOptions(steps=2, guidance=guidance, seed=1)
    speech = Waveform(np.zeros(16_000, np.float32), 16_000)
    frames = list(animator(settings).raw_frames(portrait, speech, options))
    assert len(frames) == 7
    assert all(frame.shape == (SIZE, SIZE, 3) and frame.dtype == np.uint8 for frame in frames)
    again = list(animator(settings).raw_frames(portrait, speech, options))
    assert all(np.array_equal(one, other) for one, other in zip(frames, again, strict=True))
    chunks = list(animator(settings).raw_chunks(portrait, speech, options))
    assert [(chunk.start, len(chunk.frames), chunk.is_last) for chunk in chunks] == [
        (0, 3, False), (3, 3, False), (6, 1, True),
    ]  # fmt: skip
    rest = list(animator(settings).raw_chunks(portrait, speech, options, after=chunks[0].carry))
    assert np.array_equal(np.concatenate([chunk.frames for chunk in rest]), frames[3:])


def test_an_identity_changes_hallos_video(portrait, monkeypatch):
    settings = toy_hallo()
    heard = features(3, settings)
    monkeypatch.setattr(hallo, "hallo_features", lambda *_: (heard, 3))
    speech = Waveform(np.zeros(16_000, np.float32), 16_000)
    made = []
    for identity in (None, np.zeros(7, np.float32), np.full(7, 3, np.float32)):
        known = replace(portrait, identity=identity)
        made.append(np.stack(list(animator(settings).raw_frames(known, speech, AnimateOptions(steps=2)))))
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_echomimic(portrait, monkeypatch, guidance: float):
    settings = toy_echomimic()
    heard = features(13, settings)  # two more are denoised than shown
    monkeypatch.setattr(echomimic, "whisper_features", lambda *_: (heard, 11))
    options = AnimateOptions(steps=2, guidance=guidance, seed=1)
    speech = Waveform(np.zeros(16_000, np.float32), 16_000)
    frames = list(animator(settings).raw_frames(portrait, speech, options))
    assert len(frames) == 11
    assert frames[3].shape == (SIZE, SIZE, 3)
    first, *_ = animator(settings).raw_chunks(portrait, speech, options)
    rest = animator(settings).raw_chunks(portrait, speech, options, after=first.carry)
    assert np.array_equal(np.concatenate([chunk.frames for chunk in rest]), frames[5:])


def test_echomimics_noise_is_its_own_programs(portrait, monkeypatch):
    """One draw for the whole video, channels before frames, in fp16: its seed gives its noise."""
    settings, given = toy_echomimic(), []
    monkeypatch.setattr(echomimic, "whisper_features", lambda *_: (features(7, settings), 6))
    monkeypatch.setattr(
        echomimic, "sample_video", lambda model, inputs, noise, *_: given.append(noise) or noise
    )
    list(
        animator(settings).raw_frames(
            portrait, Waveform(np.zeros(9, np.float32), 16_000), AnimateOptions(seed=420)
        )
    )
    cells = settings.latent_size
    drawn = torch.randn(
        (1, 4, 7, cells, cells), generator=torch.Generator().manual_seed(420), dtype=torch.float16
    )
    assert torch.equal(given[0], drawn.transpose(1, 2).float())


def test_hallo_2_shows_its_network_a_masked_past(portrait, monkeypatch):
    """The portrait that stands in at the start is masked, too; one mask for both frames, drawn before the noise."""
    family = {"identity_tokens": 3, "identity_width": 5, "identity_embedding": 7}
    settings = toy(
        "hallo2",
        family=family,
        audio={"layers": 2, "embed": 6, "hidden": 5, "tokens": 3, "token_width": 8},
        temporal={"motion_frames": 2, "chunk_frames": 3},
    )
    assert settings.family.motion_mask == 0.25
    monkeypatch.setattr(hallo, "hallo_features", lambda *_: (features(6, settings), 6))
    speech, options = Waveform(np.zeros(16_000, np.float32), 16_000), AnimateOptions(steps=1, seed=8)
    made = animator(settings)
    encode, encoded = made.model.autoencoder.encode, []
    monkeypatch.setattr(made.model.autoencoder, "encode", lambda x: encoded.append(x) or encode(x))
    chunks = list(made.raw_chunks(portrait, speech, options))
    face = made.scheme._inputs(portrait, features(6, settings)).face_mask != 0
    stream = torch.Generator().manual_seed(8)
    last = encoded[0][0].expand(2, -1, -1, -1)  # the portrait
    for chunk, past in zip(chunks, encoded[1:], strict=True):
        kept = (torch.rand((SIZE, SIZE), generator=stream) > 0.25) | face
        assert torch.equal(past, last * kept)
        assert 0 < (~kept).sum() < kept.numel() / 3
        assert not (past[:, ~kept] != 0).any()
        torch.randn((1, 4, 3, SIZE // 8, SIZE // 8), generator=stream, dtype=torch.float16)
        last = torch.from_numpy(chunk.carry.motion)
    rest = list(made.raw_chunks(portrait, speech, options, after=chunks[0].carry))
    assert np.array_equal(rest[0].frames, chunks[1].frames)
