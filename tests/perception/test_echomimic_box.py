"""EchoMimic's square and mask: the same face gives the same ones wherever it is; squares stay in the picture."""

from dataclasses import replace

import numpy as np
import pytest

from emote_cli.perception.echomimic_box import detector_box, echomimic_mask_box, echomimic_square
from emote_cli.perception.motion_latents import mean_face
from emote_cli.types import Box, Face


def face(scale: float = 40.0, x: float = 150.0, y: float = 120.0) -> Face:
    points = np.concatenate([mean_face() * scale + (x, y), np.zeros((478, 1))], 1).astype(np.float32)
    low, high = points.min(0), points.max(0)
    box = Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Face(box, points, np.eye(4, dtype=np.float32), {"jawOpen": 0.0})


def test_the_box_goes_with_the_face():
    one, other = detector_box(face()), detector_box(face(80.0, 310.0, 205.0))
    for low, high in (("x0", "x1"), ("y0", "y1")):
        assert getattr(other, high) - getattr(other, low) == pytest.approx(
            2 * (getattr(one, high) - getattr(one, low)), rel=1e-4
        )
    assert other.x0 - 310 == pytest.approx(2 * (one.x0 - 150), abs=0.01)
    assert other.y1 - 205 == pytest.approx(2 * (one.y1 - 120), abs=0.01)
    whole = face().box_px
    assert whole.x0 < one.center[0] < whole.x1
    assert 0.5 < one.width / whole.width < 1.3
    assert 0.6 < one.height / whole.height < 1.5


def test_squares_stay_in_the_picture():
    for x, y, width, height in (
        (150, 120, 300, 240),
        (30, 20, 300, 240),
        (280, 230, 300, 240),
        (60, 60, 99, 999),
    ):
        square = echomimic_square(face(x=x, y=y), width, height)
        assert square.width == square.height >= 2
        assert 0 <= square.x0 < square.x1 <= width
        assert 0 <= square.y0 < square.y1 <= height


def test_the_mask_is_a_fifth_larger_than_the_box():
    one = detector_box(face())
    x0, x1, y0, y1 = echomimic_mask_box(face(), 300)
    assert x1 - x0 == pytest.approx(1.2 * one.width, abs=1)
    assert y1 - y0 == pytest.approx(1.2 * one.height, abs=1)
    assert echomimic_mask_box(face(400.0), 300)[1] == 300


def test_a_box_that_a_person_gave_is_taken():
    given = replace(face(), blendshapes={}, box_px=Box(3, 4, 25, 36))
    assert detector_box(given) == Box(3, 4, 25, 36)
