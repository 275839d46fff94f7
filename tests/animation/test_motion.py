"""A model of motion latents: chunks of landmarks, drawn at any size."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from emote_cli.animation.animator import Animator
from emote_cli.animation.device import Precision
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.portrait import cut_portrait
from emote_cli.animation.runtime import Runtime
from emote_cli.animation.scene import Scene, read_scene
from emote_cli.animation.schemes.motion import blink, close_lips, landmarks_of, sway
from emote_cli.media.image import read_image
from emote_cli.model.emo import Emo
from emote_cli.perception.faces import FaceAnalyzer, find_faces
from emote_cli.perception.landmarks import LOWER_INNER_LIP, UPPER_INNER_LIP
from emote_cli.settings import load_preset
from emote_cli.settings_tree import override
from emote_cli.types import Pixels, Portrait, Waveform
from emote_cli.zoo.locate import locate_bundled

ASSETS = Path(__file__).parents[1] / "assets"
MOTION = [
    "autoencoder.kind=motion",
    "autoencoder.latent_channels=10",
    "family.reference_latents=true",
    "image_size=64",
]


@pytest.fixture(scope="module")
def animator() -> Animator:
    torch.manual_seed(1)
    model = Emo(override(load_preset("tiny"), MOTION)).eval()
    torch.nn.init.normal_(model.backbone.conv_out.weight, std=0.5)
    torch.nn.init.normal_(model.painter.conv_out.weight, std=0.05)
    return Animator(Runtime(model, torch.device("cpu"), Precision(torch.float32)))


@pytest.fixture(scope="module")
def photo() -> Pixels:
    return read_image(ASSETS / "portrait.png")


@pytest.fixture(scope="module")
def portrait(animator: Animator, photo: Pixels) -> Portrait:
    path = ASSETS / "portrait.png"
    with FaceAnalyzer(locate_bundled("face_landmarker.task")) as analyzer:
        return cut_portrait(photo, path, animator.size, find_faces(photo, analyzer))


def speech(seconds: float = 1.0) -> Waveform:
    return Waveform(
        np.random.default_rng(5).normal(0, 0.1, round(16_000 * seconds)).astype(np.float32), 16_000
    )


def test_chunks_hold_landmarks_of_every_frame_once(animator: Animator, portrait: Portrait) -> None:
    chunks = list(animator.raw_chunks(portrait, speech(), AnimateOptions()))
    assert sum(len(chunk.frames) for chunk in chunks) == 25
    assert all(b.start == a.start + len(a.frames) for a, b in pairwise(chunks))
    assert chunks[0].frames.shape[1:] == (478, 2)


def test_it_goes_on_behind_a_chunk_as_if_it_had_not_stopped(animator: Animator, portrait: Portrait) -> None:
    whole = list(animator.raw_chunks(portrait, speech(), AnimateOptions()))
    rest = list(animator.raw_chunks(portrait, speech(), AnimateOptions(), whole[0].carry))
    assert np.array_equal(rest[0].frames, whole[1].frames)


def test_chunks_made_ahead_are_the_same(
    animator: Animator, portrait: Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = list(animator.raw_chunks(portrait, speech(), AnimateOptions()))
    monkeypatch.setattr(animator.scheme, "runs_ahead", False)
    in_turn = list(animator.raw_chunks(portrait, speech(), AnimateOptions()))
    assert len(ahead) > 1
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(ahead, in_turn, strict=True))


def test_articulation_moves_the_lips_farther(animator: Animator, portrait: Portrait) -> None:
    once, twice = (
        np.concatenate(
            [c.frames for c in animator.raw_chunks(portrait, speech(), AnimateOptions(articulation=by))]
        )
        for by in (1.0, 2.0)
    )
    assert twice[:, 17].std(0).mean() > 1.7 * once[:, 17].std(0).mean()


@pytest.mark.parametrize("size", [64, 190])
def test_a_still_face_is_the_photo_at_any_size(
    animator: Animator, portrait: Portrait, photo: Pixels, size: int
) -> None:
    scene = Scene(
        settings=animator.model.settings,
        photo=photo,
        portrait=portrait,
        speech=speech(),
        fps=Fraction(25),
        n_frames=25,
        size=(size, size),
    )
    finish = animator.make_finisher(scene, AnimateOptions(frame="full", idle=False))
    frame = finish(landmarks_of(portrait.face)[:, :2], 0.0)
    assert frame.shape == (size, size, 3)
    corner = finish(landmarks_of(portrait.face)[:, :2] + 3, 0.0)[:6, :6]
    assert np.array_equal(frame[:6, :6], corner), "far from the face nothing changes"


def test_the_idle_head_begins_as_the_portrait_and_turns(portrait: Portrait) -> None:
    face = landmarks_of(portrait.face).astype(np.float64)
    points = face[:, :2]
    assert np.abs(sway(points, face, 0.0, 0.4, 7) - points).max() < 1e-6
    moved = [np.abs(sway(points, face, 1.3, speed, 7) - points).mean() for speed in (0.0, 0.4, 1.2)]
    assert moved[0] < moved[1] < moved[2]


def test_a_blink_shuts_the_eyes(portrait: Portrait) -> None:
    points = landmarks_of(portrait.face)[:, :2]
    assert blink(points, 0) is None
    shut = blink(points, 1.0)
    assert shut is not None
    assert shut[159, 1] > points[145, 1], "the upper lid's edge is past the lower one"
    assert np.array_equal(shut[UPPER_INNER_LIP[5]], points[UPPER_INNER_LIP[5]])


def test_lips_do_not_pass_through_each_other(portrait: Portrait) -> None:
    points = landmarks_of(portrait.face)[None, :, :2].copy()
    points[:, list(LOWER_INNER_LIP[1:-1]), 1] -= 20
    closed = close_lips(points)
    gaps = closed[:, list(LOWER_INNER_LIP[1:-1]), 1] - closed[:, list(UPPER_INNER_LIP[1:-1]), 1]
    assert gaps.min() > -1e-3


def test_an_option_that_does_nothing_is_told(portrait_path, speech_path) -> None:
    def notes(model: str, **given: object) -> list[str]:
        options = AnimateOptions(duration=0.2, **given)
        scene = read_scene(portrait_path, speech_path, options, load_preset(model), None)
        return [line for line in scene.notes if "no effect" in line]

    (line,) = notes("mini", detail=False)
    assert line.startswith("--no-detail has no effect on mini")
    assert notes("mini") == notes("tiny", detail=True) == []
