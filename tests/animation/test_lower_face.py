"""All but the lower face held: the mask, and what it does."""

import numpy as np
import pytest
import torch

from emote_cli.animation.aids.colors import (
    LEEWAY,
    find_color_limits,
    keep_portrait,
    lock_colors,
    split_luma,
)
from emote_cli.animation.aids.masks import draw_lower_face_mask
from emote_cli.perception.landmarks import CHEEKS, JAW
from emote_cli.types import Box, Face

SIZE = 128


def face(turn_deg: float = 0.0, drawn: bool = False) -> Face:
    """A round jaw with a nose and cheeks above it, turned in the picture."""
    points = np.zeros((478, 3), np.float32) + 64
    angles = np.linspace(0, np.pi, len(JAW))  # ear, chin, ear
    points[list(JAW), :2] = np.stack([64 - 30 * np.cos(angles), 64 + 35 * np.sin(angles)], 1)
    points[list(CHEEKS), :2] = [(48, 60), (80, 60), (64, 58)]
    angle = np.deg2rad(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points[:, :2] = (points[:, :2] - 64) @ turn.T + 64
    pose = np.eye(4, dtype=np.float32)
    pose[:2, 1] = (turn @ (0, -1)) * (1, -1)  # the picture's y points down
    return Face(Box(34, 24, 94, 99), points, pose, {} if drawn else {"jawOpen": 0.0})


@pytest.mark.parametrize("drawn", [False, True])
def test_the_mask_covers_the_mouth_and_a_dropping_chin_only(drawn):
    mask = draw_lower_face_mask(face(drawn=drawn), SIZE)
    assert mask.shape == (SIZE, SIZE)
    assert mask[80, 64] > 0.95  # the mouth
    assert mask[102, 64] > 0.5  # below the chin
    assert mask[40, 50] < 0.02  # an eye
    assert mask[10, 10] == 0
    assert mask[124, 64] < 0.05
    assert np.abs(np.diff(mask, axis=0)).max() < 0.2  # no edge to be seen


def test_the_mask_turns_with_the_head():
    mask = draw_lower_face_mask(face(90), SIZE)  # lying on its side: down is to the left
    assert mask[64, 48] > 0.9
    assert mask[64, 26] > 0.5
    assert mask[64, 100] < 0.02


def test_what_is_held_is_the_portrait():
    frames, portrait = torch.rand(3, 3, 8, 8), torch.rand(1, 3, 8, 8)
    mask = torch.zeros(8, 8)
    mask[4:] = 1
    shown = keep_portrait(frames, portrait, mask)
    assert torch.equal(shown[:, :, :4], portrait[:, :, :4].expand(3, -1, -1, -1))
    assert torch.allclose(shown[:, :, 4:], frames[:, :, 4:])


def test_colors_stay_the_portraits_own():
    skin = torch.tensor([0.6, 0.1, -0.2]).view(1, 3, 1, 1)
    portrait, mask = skin.repeat(1, 1, 8, 8), torch.ones(8, 8)
    portrait[..., :2] = torch.tensor([-0.5, -0.5, 1.0]).view(3, 1, 1)  # a blue wall, outside the mask
    mask[:, :2] = 0
    limits = find_color_limits(portrait, mask, mask)
    for kept in (skin, skin - 0.5, 0.95 * skin):
        assert torch.allclose(lock_colors(kept.repeat(1, 1, 8, 8), limits), kept, atol=1e-5)
    magenta = torch.tensor([0.5, -0.6, 0.6]).view(1, 3, 1, 1).repeat(1, 1, 8, 8)
    locked = lock_colors(magenta, limits)
    assert torch.allclose(split_luma(locked)[0], split_luma(magenta)[0], atol=1e-5), "as bright as before"
    assert split_luma(locked)[1][0, 1, :, 3:].max() < -0.05, "less blue than grey"
    assert torch.allclose(lock_colors(portrait, limits), portrait, atol=1e-5), "the wall stays blue"
    nowhere = find_color_limits(portrait, torch.zeros(8, 8), torch.zeros(8, 8))
    assert torch.allclose(lock_colors(magenta, nowhere), magenta, atol=1e-5)


def test_a_chin_is_not_grey_and_a_mouth_no_paler_than_its_palest_place():
    portrait = torch.tensor([0.6, 0.1, -0.2]).view(1, 3, 1, 1).repeat(1, 1, 8, 8)
    lips = torch.zeros(8, 8)
    lips[:4] = 1
    portrait[:, :, 0] = 0.8  # white teeth
    grey = torch.full((1, 3, 8, 8), 0.3)
    locked = lock_colors(grey, find_color_limits(portrait, torch.ones(8, 8), lips))
    redness = split_luma(portrait)[1][0, 0, 7, 7]
    assert split_luma(locked)[1][0, 0, :4].abs().max() < LEEWAY
    assert split_luma(locked)[1][0, 0, 4:].min() > redness - 0.05
    assert torch.allclose(split_luma(locked)[0], split_luma(grey)[0], atol=1e-5)
