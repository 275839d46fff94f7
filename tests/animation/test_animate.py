"""The frames themselves: how many, from what, and what makes them the same or different."""

from pathlib import Path

import numpy as np
import pytest
import torch

from emote_cli.animation.aids.articulation import FAR
from emote_cli.animation.aids.detail import measure_stillness, transfer_detail
from emote_cli.animation.animator import Animator
from emote_cli.animation.device import choose_device, choose_precision
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.runtime import Runtime
from emote_cli.errors import DeviceError
from emote_cli.model.autoencoder import to_bytes, to_tensor
from emote_cli.model.checkpoint import random_model
from emote_cli.settings import load_preset
from emote_cli.settings_tree import override
from emote_cli.types import Box, Face, Portrait, Waveform
from tests.conftest import synthetic_speech

SECONDS = 0.52


@pytest.fixture(scope="module")
def animator() -> Animator:
    animator = Animator.load("tiny", device="cpu")
    with torch.no_grad():  # random weights everywhere, or audio would change nothing
        generator = torch.Generator().manual_seed(3)
        for parameter in animator.model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return animator


def portrait(size: int, seed: int = 5) -> Portrait:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    face = Face(Box(7, 5, 23, 29), np.zeros((478, 3), np.float32), np.eye(4, dtype=np.float32), {})
    return Portrait(pixels, face, Box(0, 0, size, size), Path("made-up.png"))


def speech(seed: int = 7) -> Waveform:
    rng = np.random.default_rng(seed)
    samples = synthetic_speech(SECONDS) * rng.uniform(0.2, 1.0, round(SECONDS * 16_000))
    return Waveform(samples.astype(np.float32), 16_000)


def made(animator: Animator, **changes: object) -> np.ndarray:
    sound = changes.pop("speech", speech())
    picture = changes.pop("portrait", portrait(animator.size))
    return np.stack(list(animator.raw_frames(picture, sound, AnimateOptions(detail=False, **changes))))


def test_frames_are_the_seconds_times_the_rate(animator):
    assert made(animator).shape == (13, 32, 32, 3)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(animator):
    assert np.array_equal(made(animator, seed=3), made(animator, seed=3))
    assert not np.array_equal(made(animator, seed=3), made(animator, seed=4))


def test_everything_that_is_asked_for_matters(animator):
    plain = made(animator)
    assert not np.array_equal(plain, made(animator, speech=speech(8)))
    assert not np.array_equal(plain, made(animator, portrait=portrait(32, seed=6)))
    assert not np.array_equal(plain, made(animator, head_speed=1.7))
    assert not np.array_equal(plain, made(animator, motion_region="full"))
    assert not np.array_equal(plain, made(animator, steps=3))
    assert not np.array_equal(plain, made(animator, solver="dpm"))
    assert not np.array_equal(plain, made(animator, guidance=2.0))


def test_the_first_chunk_does_not_know_what_follows(animator):
    """Frames stream: a longer recording begins with the same chunk where the sound is the same."""
    long = speech()
    chunk = animator.model.settings.temporal.chunk_frames
    short = Waveform(long.samples[: 640 * (chunk + 3)], 16_000)
    # Loudness is measured over the whole recording, so bring both to the same level by hand.
    from emote_cli.perception import speech as hearing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hearing, "speech_gain", lambda sound: 1.0)
        assert np.array_equal(made(animator, speech=long)[:chunk], made(animator, speech=short)[:chunk])


def test_motion_frames_carry_over(animator):
    """Other first chunks make other second chunks, though the second chunk's own sound is the same."""
    from emote_cli.perception import speech as hearing

    chunk = animator.model.settings.temporal.chunk_frames
    one, other = speech(), speech()
    # Change only the first two frames' sound: no window of the second chunk (margin 2) reaches it.
    changed = other.samples.copy()
    changed[: 640 * (chunk - 3)] *= 0.1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hearing, "speech_gain", lambda sound: 1.0)
        first = made(animator, speech=one)
        second = made(animator, speech=Waveform(changed, 16_000))
    assert not np.array_equal(first[:chunk], second[:chunk])
    assert not np.array_equal(first[chunk : 2 * chunk], second[chunk : 2 * chunk])


def test_bytes_round_trip():
    pixels = np.random.default_rng(2).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    assert np.array_equal(to_bytes(to_tensor(pixels)), pixels)


def test_detail_comes_back_only_where_the_picture_stands_still():
    generator = torch.Generator().manual_seed(1)
    portrait_pixels = torch.rand(1, 3, 64, 64, generator=generator) - 0.5
    decoded = portrait_pixels * 0.5
    frames = decoded.repeat(2, 1, 1, 1)
    frames[1, :, 16:48, 16:48] += 0.6
    mask = measure_stillness(frames, decoded)
    assert torch.allclose(mask[0], torch.ones(1, 64, 64))
    assert mask[1, 0, 32, 32] < 0.01
    assert mask[1, 0, 2, 2] > 0.99
    restored = transfer_detail(frames, portrait_pixels, decoded)
    assert torch.allclose(restored[0], portrait_pixels[0], atol=1e-5)
    assert torch.allclose(restored[1, :, 32, 32], frames[1, :, 32, 32].clamp(-1, 1), atol=1e-2)


def test_a_device_that_is_not_there_is_named():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(DeviceError, match="cuda"):
        choose_device("cuda")
    with pytest.raises(DeviceError, match="float8"):
        choose_precision("float8", torch.device("cpu"))
    assert choose_device("auto").type in ("cpu", "mps")


@pytest.fixture(scope="module")
def small_mini() -> Animator:
    """Tiny, but predicting the change against the portrait, one noise for all frames, as the mini does."""
    settings = override(
        load_preset("tiny"),
        ["family.reference_latents=true", "diffusion.objective=sample", "diffusion.steps=1",
         "diffusion.zero_terminal_snr=true", "diffusion.guidance=1", "diffusion.shared_noise=1"],
    )  # fmt: skip
    model = random_model(settings)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return Animator(Runtime(model, choose_device("cpu"), choose_precision("fp32", choose_device("cpu"))))


@pytest.mark.parametrize("reach", [0, 1, 5])
def test_smoothed_frames_are_as_many_and_go_on_from_any_chunk(small_mini, reach):
    options = AnimateOptions(detail=False, smoothing=reach)
    picture, sound = portrait(small_mini.size), speech()
    chunks = list(small_mini.raw_chunks(picture, sound, options))
    frames = np.concatenate([chunk.frames for chunk in chunks])
    assert len(frames) == 13
    assert [chunk.start for chunk in chunks] == np.cumsum([0] + [len(c.frames) for c in chunks])[:-1].tolist()
    rest = small_mini.raw_chunks(picture, sound, options, after=chunks[0].carry)
    assert np.array_equal(np.concatenate([chunk.frames for chunk in rest]), frames[chunks[0].carry.frame :])


def test_smoothed_frames_tremble_less(small_mini):
    def change(reach: int) -> float:
        return float(np.abs(np.diff(made(small_mini, smoothing=reach).astype(float), axis=0)).mean())

    assert 0 < change(2) < 0.8 * change(0)


def test_articulation_lengthens_the_way_from_silence_to_speech(small_mini):
    def shown(**changes: object) -> list[np.ndarray]:
        frames: list[np.ndarray] = []
        decode = small_mini.model.decode
        small_mini.model.decode = lambda latents: (frames.append(latents.numpy()), decode(latents))[1]
        try:
            made(small_mini, **changes)
        finally:
            del small_mini.model.decode
        return frames

    silence = Waveform(np.zeros(round(SECONDS * 16_000), np.float32), 16_000)
    plain, moved = shown()[0], shown(articulation=3.0)[0]
    rest = shown(speech=silence)[0].mean(1, keepdims=True)
    way = plain - rest
    times = 1 + 2 / (
        1 + (np.linalg.norm(way, axis=2, keepdims=True) / FAR) ** 2
    )  # the box is a person's: everywhere
    assert np.allclose(moved - rest, times * way, atol=1e-3 * np.abs(plain).max())
    assert np.abs(moved - plain).max() > 1e-2
