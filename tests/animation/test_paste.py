"""Back into the photo: the head moves, all else stays, and no edge shows."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from emote_cli.animation.aids.enlarge import Enlarger
from emote_cli.animation.aids.masks import draw_head_mask
from emote_cli.animation.aids.paste import Paster
from emote_cli.animation.choice import choose_face
from emote_cli.animation.portrait import cut_portrait
from emote_cli.types import Box, Face, Portrait

MODEL = 64


@pytest.fixture(scope="module")
def photo(portrait_path) -> np.ndarray:
    return np.asarray(Image.open(portrait_path).convert("RGB"))


def face(roll: float) -> Face:
    """A face of the astronaut's size and place, leaning by `roll` degrees."""
    drawn = choose_face([], (160, 70, 290, 220), Path("x.png"), (512, 512))
    points = drawn.landmarks_px
    lean = np.radians(roll)
    points[33, :2], points[263, :2] = (190, 140), (190 + 70 * np.cos(lean), 140 + 70 * np.sin(lean))
    return Face(drawn.box_px, points, drawn.pose_4x4, {"jawOpen": 0.0})


def portrait(photo: np.ndarray, roll: float = 0.0) -> Portrait:
    made = cut_portrait(photo, Path("x.png"), MODEL, [face(roll)])
    assert made.roll_deg == pytest.approx(roll, abs=1e-4)
    return made


@pytest.mark.parametrize("roll", [0.0, 25.0, -50.0])
def test_outside_the_head_nothing_changes(photo, rng, roll):
    paste = Paster(photo, portrait(photo, roll))
    made = paste(rng.integers(0, 256, (MODEL, MODEL, 3), np.uint8))
    changed = (made != photo).any(axis=2)
    xs = np.nonzero(changed)[1]
    assert 0.02 < changed.mean() < 0.35
    assert xs.min() > 60
    assert xs.max() < 400
    inside = np.zeros_like(changed)
    inside[paste._y0 : paste._y1, paste._x0 : paste._x1] = paste.mask[..., 0] > 0
    assert not (changed & ~inside).any()


@pytest.mark.parametrize("roll", [0.0, 25.0])
def test_the_portrait_itself_gives_the_photo_back(photo, roll):
    cut = portrait(photo, roll)
    made = Paster(photo, cut)(cut.pixels)
    away = np.abs(made.astype(int) - photo)
    assert away.max() <= (1 if roll == 0 else 70)  # turning twice blurs the finest detail
    assert away.mean() < 0.5


def test_another_tint_is_matched_and_no_edge_shows(photo):
    cut = portrait(photo)
    tinted = (cut.pixels + np.array([13, -7, 5])).clip(0, 255).astype(np.uint8)
    made = Paster(photo, cut)(tinted)
    assert np.abs(made.astype(int) - photo).mean() < 1.0


def test_a_square_over_the_edge(photo):
    cropped = np.ascontiguousarray(photo[90:300, 170:400])
    box = (0, 0, 120, 130)
    cut = cut_portrait(cropped, Path("x.png"), MODEL, [], box)
    made = Paster(cropped, cut)(np.zeros((MODEL, MODEL, 3), np.uint8))
    assert made.shape == cropped.shape


def test_the_mask_is_one_on_the_face_and_zero_at_the_edges():
    mask = draw_head_mask(Box(40, 38, 90, 95), 131)
    assert mask[66, 65] == 1
    assert max(mask[0].max(), mask[-1].max(), mask[:, 0].max(), mask[:, -1].max()) == 0
    assert np.abs(np.diff(mask, axis=0)).max() < 0.15


def test_enlarging_keeps_the_photos_detail_where_nothing_moves(photo):
    cut = portrait(photo)
    sharp = cv2.resize(photo[:256, :256], (256, 256))
    small = cv2.resize(sharp, (MODEL, MODEL), interpolation=cv2.INTER_AREA)
    enlarge = Enlarger(small, sharp)
    assert np.abs(enlarge(small) - sharp).mean() < 0.5
    moved = small.copy()
    moved[20:44, 20:44] = 255
    assert np.abs(enlarge(moved)[120:136, 120:136] - 255).mean() < 6
    assert cut.pixels.shape == (MODEL, MODEL, 3)
