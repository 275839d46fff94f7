"""Clips in motion latents: heads held still, copies, smiles."""

from pathlib import Path

import numpy as np
import pytest
import torch

from emote_cli.data.manifest import ClipRecord
from emote_cli.data.motion_clips import alter, find_mirror_pairs, hold_head, make_motion_clips, make_smile
from emote_cli.data.variants import variant_of
from emote_cli.perception.landmarks import SKULL
from emote_cli.perception.motion_latents import Grid, mean_face
from emote_cli.settings import load_preset
from emote_cli.types import AudioFeatures, Waveform


def face() -> np.ndarray:
    mean = mean_face()
    depth = -np.cos(mean[:, 0]) * np.cos(mean[:, 1] - 0.5)
    return (np.column_stack([mean, depth]) * 53 + (127, 101, 0)).astype(np.float32)


def turned(points: np.ndarray, yaw: float) -> np.ndarray:
    middle = points.mean(0)
    matrix = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    return ((points - middle) @ matrix.T * 1.1 + middle + (9, -4, 0)).astype(np.float32)


def test_a_head_that_turns_is_held_and_its_mouth_still_opens() -> None:
    rest = face()
    speaking = rest.copy()
    speaking[14, 1] += 8
    held = hold_head(np.stack([turned(rest, 0.3), turned(speaking, -0.2)]), rest)
    assert np.abs(held[0] - rest).max() < 0.5
    assert np.abs(held[1, list(SKULL)] - rest[list(SKULL)]).max() < 0.5
    assert abs(held[1, 14, 1] - rest[14, 1] - 8) < 0.5


def test_mirrored_landmarks_keep_their_side() -> None:
    pairs = find_mirror_pairs()
    assert np.array_equal(pairs[pairs], np.arange(478))
    assert pairs[61] == 291
    variant = variant_of("some", 1)
    assert variant is not None
    assert variant.mirrored
    copy = alter(face()[None], variant, 256)[0]
    assert copy[61, 0] < copy[291, 0], "the right corner of the mouth is still on the picture's left"


def test_a_smile_widens_the_mouth_and_leaves_the_skull() -> None:
    rest, rng = face(), np.random.default_rng(2)
    smiles = [make_smile(rest, rng) for _ in range(20)]
    widths = [s[291, 0] - s[61, 0] for s in smiles]
    assert np.mean(widths) > rest[291, 0] - rest[61, 0] + 1
    assert np.abs(smiles[0][[10, 33, 263]] - rest[[10, 33, 263]]).max() < 0.2


def test_heads_are_held_or_tell_where_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, model = 7, load_preset("mini")
    points = np.stack([turned(face(), 0.05 * k) for k in range(frames)])
    tracks = {
        "landmarks_px": points,
        "found": np.ones(frames, bool),
        "head_speed_deg_s": np.full(frames, 30.0, np.float32),
        "pose_4x4": np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)),
        "box_px": np.tile(np.array([70, 50, 190, 190], np.float32), (frames, 1)),
        "jaw_open": np.zeros(frames, np.float32),
    }
    monkeypatch.setattr("emote_cli.data.motion_clips.read_tracks", lambda folder, record: tracks)
    sound = Waveform(np.zeros(16_000, np.float32), 16_000)
    monkeypatch.setattr("emote_cli.data.motion_clips.read_audio", lambda path: sound)
    heard = AudioFeatures(np.zeros((frames, model.audio.layers, model.audio.embed), np.float32), 25.0)
    record = ClipRecord("c", "c.mp4", "", 0, 1, 25.0, frames, 256, True)

    def landmarks(hold: bool) -> np.ndarray:
        (clip,) = make_motion_clips(
            Path(), [record], [1.0], model, lambda sound: heard,
            variants=0, portraits=1, hold_heads=hold, on_bad=lambda record, text: pytest.fail(text),
        )  # fmt: skip
        grid = Grid(torch.from_numpy(points[0, :, :2].copy()), model.latent_size, model.image_size)
        return grid.decode(clip.latents.float()).numpy()

    held, free = landmarks(True), landmarks(False)
    skull = list(SKULL)
    assert np.abs(held[-1, skull] - points[0, skull, :2]).max() < 1
    assert np.abs(points[-1, skull, :2] - points[0, skull, :2]).max() > 5
    assert np.abs(free[-1, skull] - points[-1, skull, :2]).max() < 1.5
