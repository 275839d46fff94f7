"""The ears' head start, on sound that tells the lips by rule."""

import dataclasses

import numpy as np
import pytest
import torch

from emote_cli.data.dataset import ClipArrays
from emote_cli.errors import DataError
from emote_cli.model.checkpoint import random_model
from emote_cli.settings import load_preset
from emote_cli.training import ears
from emote_cli.training.ears import (
    HeardClip,
    fit_readout,
    gather,
    mean_tokens,
    measure_components,
    open_audio_layers,
    places_of,
    read_heard_clips,
    warm_up,
)
from emote_cli.types import AudioFeatures

SETTINGS = load_preset("tiny")
FRAMES = 61


def clip(seed: int) -> HeardClip:
    """The louder, the wider open; and an echo."""
    rng = np.random.default_rng(seed)
    loud = rng.normal(size=(FRAMES, 1, 1))
    sound = rng.normal(0, 0.1, (FRAMES, SETTINGS.audio.layers, SETTINGS.audio.embed)) + loud
    hidden = sound.astype(np.float32)
    seen = np.hstack([loud[:, 0], loud[:, 0] ** 2 - 1, np.roll(loud[:, 0], 1)]).astype(np.float32)
    seen[5] = np.nan
    return HeardClip(AudioFeatures(hidden, 25.0), seen)


CLIPS = [clip(seed) for seed in range(3)]


def model():
    return random_model(SETTINGS, 1)


def test_warming_up_lowers_the_loss():
    losses: list[float] = []
    warm_up(
        model().audio_projector,
        CLIPS,
        SETTINGS.audio,
        steps=60,
        on_step=lambda step, loss: losses.append(loss),
    )
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_frames_without_lips_are_not_heard():
    places = places_of(CLIPS)
    assert len(places) == 3 * (FRAMES - 1)
    assert (0, 5) not in places
    with pytest.raises(DataError, match="no clip has frames with both"):
        places_of([HeardClip(CLIPS[0].features, np.full((FRAMES, 3), np.nan, np.float32))])


def test_clips_are_heard_as_often_as_they_weigh(monkeypatch):
    heard: list[int] = []
    collect = ears.gather

    def spy(clips, places, audio):
        heard.extend(number for number, _ in places)
        return collect(clips, places, audio)

    monkeypatch.setattr(ears, "gather", spy)
    unequal = [
        dataclasses.replace(clip, weight=weight) for clip, weight in zip(CLIPS, (1, 0, 3), strict=True)
    ]
    warm_up(model().audio_projector, unequal, SETTINGS.audio, steps=8)
    share = np.bincount(heard, minlength=3) / len(heard)
    assert share == pytest.approx([0.25, 0, 0.75], abs=0.05)


def test_frames_of_long_clips_are_heard_no_more_often():
    """A clip's weight grows with its length, that of its frames does not."""

    def clip_of(frames: int, factor: float) -> ClipArrays:
        audio, four = SETTINGS.audio, np.zeros((frames, 4), np.float32)
        return ClipArrays(
            id="c", latents=torch.zeros(frames, 4, 8, 8), boxes_px=four, mouths_px=four, speed=four[:, 0],
            features=AudioFeatures(np.zeros((frames, audio.layers, audio.embed), np.float32), 25.0),
            pose=np.zeros((frames, 5), np.float32), found=np.ones(frames, bool), lips=four[:, :3],
            weight=factor * frames,
        )  # fmt: skip

    assert [each.weight for each in read_heard_clips([clip_of(10, 6), clip_of(50, 6), clip_of(20, 1)])] == [
        6,
        6,
        1,
    ]


def test_the_readout_explains_more_than_the_mean():
    projector = model().audio_projector
    warm_up(projector, CLIPS, SETTINGS.audio, steps=60)
    readout = fit_readout(projector, CLIPS, SETTINGS.audio)
    windows, seen = gather(CLIPS, places_of(CLIPS), SETTINGS.audio)
    with torch.no_grad():
        tokens = mean_tokens(projector, windows)
    read = ((tokens - tokens.mean(0)) @ readout.T).numpy() + seen.mean(0)
    assert np.square(read - seen).mean() < 0.8 * seen.var()


def test_opened_layers_let_speech_through():
    opened = model()
    before = {name: value.clone() for name, value in opened.named_parameters()}
    open_audio_layers(opened, fit_readout(opened.audio_projector, CLIPS, SETTINGS.audio), seed=0)
    for name, value in opened.named_parameters():
        assert torch.equal(value, before[name]) != ("audio_attn.to_" in name and name.endswith("weight")), (
            name
        )
        if name.endswith("audio_attn.to_out.0.weight"):
            assert value.std() > 0.02


def moving(seed: int, frames: int = 40) -> ClipArrays:
    """A clip of motion latents: two directions, the first one ten times as long, and a face that is lost once."""
    rng = np.random.default_rng(seed)
    audio, four = SETTINGS.audio, np.zeros((frames, 4), np.float32)
    ways = torch.zeros(2, 10, 8, 8)
    ways[0, 4], ways[1, 6] = 1, 1
    told = torch.from_numpy(rng.normal(size=(frames, 2)).astype(np.float32)) * torch.tensor([10.0, 1.0])
    portrait = torch.full((10, 8, 8), float(seed))
    found = np.ones(frames, bool)
    found[3] = False
    return ClipArrays(
        id="c", latents=portrait + torch.einsum("fk,kcyx->fcyx", told, ways) + 5 * ways[0],
        features=AudioFeatures(np.zeros((frames, audio.layers, audio.embed), np.float32), 25.0),
        boxes_px=four, mouths_px=four, speed=four[:, 0], pose=np.zeros((frames, 5), np.float32), found=found,
        lips=four[:, :3], portrait=portrait, cell_weights=torch.ones(10, 8, 8),
    )  # fmt: skip


def test_ears_learn_the_components_of_motion():
    clips = [moving(1), moving(2)]
    told = measure_components(clips, 2)
    for clip, values in zip(clips, told, strict=True):
        assert np.isnan(values[3]).all()
        seen = np.delete(values, 3, 0)
        assert np.abs(seen.mean(0)).max() < 1e-4
        assert seen.std(0) == pytest.approx([1, 1], abs=0.4)
        motion = np.delete((clip.latents - clip.portrait)[:, 4, 0, 0].numpy(), 3)
        assert abs(np.corrcoef(seen[:, 0], motion)[0, 1]) > 0.999


def test_components_are_asked_for_by_the_recipe():
    clips = [moving(1)]
    assert read_heard_clips(clips, 2)[0].seen.shape == (40, 2)
    assert read_heard_clips(clips, 0)[0].seen.shape == (40, 3)
    pictures = dataclasses.replace(clips[0], portrait=None)
    assert read_heard_clips([pictures], 2)[0].seen.shape == (40, 3)
