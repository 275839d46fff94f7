"""What a viewer sees of a moved portrait is what the Painter was trained to draw."""

import cv2
import numpy as np
import pytest
import torch

from emote_cli.animation.moving_portrait import MovingPortrait, show_painter, view_of
from emote_cli.animation.schemes.motion import blink
from emote_cli.model.painter import VIEW, Painter
from emote_cli.perception import mouth_inside
from emote_cli.perception.landmarks import LID_EDGES, LOWER_INNER_LIP, UPPER_INNER_LIP
from emote_cli.perception.motion_latents import mean_face
from emote_cli.perception.mouth_inside import LEAST_BLUR_PX, find_teeth, measure_blur
from emote_cli.training.pairs import cut

INNER_LIPS = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
LOWER_LIP = [146, 91, 181, 84, 17, 314, 405, 321, 375, 95, 88, 178, 87, 14, 317, 402, 318, 324]


def face() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A smooth picture, the landmarks of a closed mouth in it, and of an open one."""
    rest = (mean_face() * 61 + (97, 71)).astype(np.float32)
    rest[list(LOWER_INNER_LIP), 1] = rest[list(UPPER_INNER_LIP), 1]
    noise = np.random.default_rng(0).integers(120, 255, (211, 193, 3), dtype=np.uint8)
    opened = rest.copy()
    opened[LOWER_LIP, 1] += 14
    return cv2.GaussianBlur(noise, (0, 0), 6), rest, opened


def seen_error(painter: Painter) -> float:
    """How far, on average, the frame's square is from what the Painter's own `paint` gives; the edges fade."""
    picture, rest, opened = face()
    frame = MovingPortrait(picture, rest, painter).draw(opened)
    view = view_of(opened, rest)
    seen = show_painter(picture, rest, opened, view)
    warped, portrait = (
        torch.from_numpy(p.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        for p in (seen.warped, seen.portrait)
    )
    with torch.inference_mode():
        painted = painter.paint(warped, portrait, torch.from_numpy(seen.hints)[None])
    wanted = ((painted.clamp(-1, 1)[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    middle = (slice(VIEW // 4, 3 * VIEW // 4),) * 2
    return float(np.abs(cut(frame, view)[middle].astype(np.float32) - wanted[middle]).mean())


def test_an_untrained_painter_shows_the_sketched_mouth() -> None:
    assert seen_error(Painter()) < 3


def test_a_painter_s_own_pixels_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    painter = Painter()
    with torch.no_grad():
        painter.conv_out.bias.fill_(-0.5)
    assert seen_error(painter) > 6  # most of the opening is the sketch's
    monkeypatch.setattr(mouth_inside, "SKETCHED", 0)
    assert seen_error(painter) < 3


def test_a_lid_hides_the_eye_and_does_not_squeeze_it() -> None:
    picture, rest, _ = face()
    picture = np.full_like(picture, 180)
    for upper, lower in LID_EDGES:
        edge = np.round(rest[[*upper, *lower[-2:0:-1]]] * 16).astype(np.int32)
        cv2.fillPoly(picture, [edge], (0, 0, 255), cv2.LINE_8, 4)
    pupils = [rest[list(lower)].mean(0) - (0, 1) for _, lower in LID_EDGES]
    for x, y in pupils:
        picture[round(y) : round(y) + 1, round(x) - 2 : round(x) + 3] = 0
    moving = MovingPortrait(picture, rest, Painter())

    def visible(closed: float) -> np.ndarray:
        frame = moving.draw(rest, blink(rest, closed))[: round(rest[1, 1])].astype(int)
        return np.asarray(frame[..., 2] - frame[..., 0] > 60)

    assert visible(1).sum() < 0.05 * visible(0).sum()
    half = moving.draw(rest, blink(rest, 0.5)).astype(int).sum(-1)
    for x, y in pupils:
        around = half[round(y) - 4 : round(y) + 5, round(x)]
        assert abs(int(around.argmin()) - 4) <= 1


def test_a_mouth_at_the_edge_of_the_square_is_drawn() -> None:
    picture, rest, opened = face()
    opened[LOWER_LIP, 0] += 60
    assert MovingPortrait(picture, rest, Painter()).draw(opened).shape == picture.shape


def smiling(lower: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red face whose mouth is open and white, above or below; its landmarks, and those of a mouth open wider."""
    picture, closed, _ = face()
    smile, opened = closed.copy(), closed.copy()
    smile[LOWER_LIP, 1] += 8
    opened[LOWER_LIP, 1] += 20
    picture[:] = (170, 100, 95)
    teeth = smile[INNER_LIPS].copy()
    if lower:
        cv2.fillPoly(picture, [np.round(teeth).astype(np.int32)], (40, 15, 15))
        teeth[:, 1] = np.maximum(teeth[:, 1], closed[13, 1] + 3)
    cv2.fillPoly(picture, [np.round(teeth).astype(np.int32)], (250, 250, 250))
    return picture, smile, opened


def white_rows(moving: MovingPortrait, points: np.ndarray) -> np.ndarray:
    """Rows of white in the middle of the mouth."""
    return np.flatnonzero(moving.draw(points)[:, round(points[13, 0])].min(-1) > 180)


def test_teeth_that_the_portrait_shows_keep_their_size_and_place() -> None:
    picture, smile, opened = smiling()
    moving = MovingPortrait(picture, smile, Painter())
    before, after = white_rows(moving, smile), white_rows(moving, opened)
    assert len(before) >= 5
    assert abs(len(after) - len(before)) <= 2
    assert abs(int(after[0]) - int(before[0])) <= 1


def test_lower_teeth_go_with_the_lower_lip() -> None:
    picture, smile, opened = smiling(lower=True)
    moving = MovingPortrait(picture, smile, Painter())
    assert moving.teeth.lower
    assert abs(float(white_rows(moving, opened)[-1] - white_rows(moving, smile)[-1]) - 12) <= 2


def test_lips_are_no_teeth() -> None:
    picture, smile, _ = smiling()
    picture[:] = (170, 100, 95)
    assert find_teeth(picture, smile).share == 0


def test_a_sketch_is_no_sharper_than_the_face() -> None:
    picture, rest, opened = face()
    picture[:] = (170, 120, 110)
    for upper, lower in LID_EDGES:
        cv2.fillPoly(picture, [np.round(rest[[*upper, *lower[-2:0:-1]]]).astype(np.int32)], (20, 20, 20))
    blurred = cv2.GaussianBlur(picture, (0, 0), 2)
    assert measure_blur(picture, rest) < 1 < 1.5 < measure_blur(blurred, rest) < 3

    def steepest(pixels: np.ndarray) -> float:
        frame = MovingPortrait(pixels, rest, Painter()).draw(opened)
        column = frame[round(rest[13, 1]) : round(rest[13, 1]) + 12, round(rest[13, 0])].astype(float)
        return float(np.abs(np.diff(column.mean(-1))).max())

    assert steepest(blurred) < 0.6 * steepest(picture)


def test_the_blur_of_a_face_that_is_not_in_the_picture_is_not_guessed() -> None:
    picture, rest, _ = face()
    for down in (-400, 400):
        assert measure_blur(picture, rest + np.array([0, down], np.float32)) == LEAST_BLUR_PX


def test_the_mouth_of_a_face_that_lies_is_left_to_the_painter(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, smile, opened = smiling()
    turned = np.ascontiguousarray(np.rot90(picture))
    lying, opened = (
        np.stack([p[:, 1], picture.shape[1] - 1 - p[:, 0]], -1).astype(np.float32) for p in (smile, opened)
    )
    moving = MovingPortrait(turned, lying, Painter())
    assert moving.teeth.share == 0
    frame = moving.draw(opened)
    monkeypatch.setattr(mouth_inside, "SKETCHED", 0)
    assert np.array_equal(frame, moving.draw(opened))
