"""Clips in motion latents: heads held still, copies, smiles."""

import numpy as np

from emote_cli.data.motion_clips import alter, hold_head, make_smile, mirror_pairs
from emote_cli.data.variants import variant_of
from emote_cli.perception.landmarks import SKULL
from emote_cli.perception.motion_latents import mean_face


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
    pairs = mirror_pairs()
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
