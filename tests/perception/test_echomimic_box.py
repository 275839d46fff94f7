"""EchoMimic's square and mask: the same face gives the same ones wherever it is; squares stay in the picture."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from emote_cli.errors import WeightsError
from emote_cli.perception import mtcnn
from emote_cli.perception.echomimic_box import (
    detector_box,
    echomimic_mask,
    echomimic_square,
    see_with_mtcnn,
    square_around,
)
from emote_cli.perception.geometry import to_crop
from emote_cli.perception.motion_latents import mean_face
from emote_cli.types import Box, Face, Portrait

PICTURE = np.zeros((240, 300, 3), np.uint8)


def face(scale: float = 40.0, x: float = 150.0, y: float = 120.0) -> Face:
    points = np.concatenate([mean_face() * scale + (x, y), np.zeros((478, 1))], 1).astype(np.float32)
    low, high = points.min(0), points.max(0)
    box = Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Face(box, points, np.eye(4, dtype=np.float32), {"jawOpen": 0.0})


def portrait(box: Box, square: Box, size: int = 128) -> Portrait:
    """A square cut out of a picture in which MTCNN sees the face in a box."""
    cut = to_crop(replace(face(), mtcnn_px=box), square, size)
    return Portrait(np.zeros((size, size, 3), np.uint8), cut, square, Path("x.png"))


@pytest.fixture
def seen(monkeypatch) -> list[mtcnn.SeenFace]:
    """What MTCNN sees of any picture."""
    faces: list[mtcnn.SeenFace] = []
    monkeypatch.setattr(mtcnn, "load_mtcnn", lambda: SimpleNamespace(detect=lambda _: faces))
    return faces


def test_the_estimate_goes_with_the_face():
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


def test_the_face_that_is_meant_is_taken_not_the_largest(seen):
    near = Box(115.0, 80.0, 186.0, 165.0)
    seen += [mtcnn.SeenFace(Box(0.0, 0.0, 110.0, 160.0), 0.99), mtcnn.SeenFace(near, 0.81)]
    assert detector_box(see_with_mtcnn(PICTURE, face())) == near
    found, square = echomimic_square(PICTURE, face())
    assert found.mtcnn_px == near
    assert square == square_around(near, 300, 240)


def test_without_mtcnn_the_box_is_estimated(seen, monkeypatch):
    near = Box(115.0, 80.0, 186.0, 165.0)
    seen += [mtcnn.SeenFace(near, 0.8), mtcnn.SeenFace(Box(0.0, 0.0, 50.0, 60.0), 0.99)]  # unsure; another's
    assert see_with_mtcnn(PICTURE, face()).mtcnn_px is None
    seen.clear()
    assert see_with_mtcnn(PICTURE, face()).mtcnn_px is None
    monkeypatch.setattr(mtcnn, "load_mtcnn", lambda: None)
    _, square = echomimic_square(PICTURE, face())
    assert square == square_around(detector_box(face()), 300, 240)


def test_missing_weights_are_no_error_damaged_ones_are(tmp_path, monkeypatch):
    def missing(name: str) -> Path:
        raise WeightsError(name)

    monkeypatch.setattr(mtcnn, "locate_bundled", missing)
    assert mtcnn.load_mtcnn.__wrapped__() is None
    monkeypatch.setattr(mtcnn, "locate_bundled", lambda name: tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  model.safetensors\n")
    with pytest.raises(WeightsError, match="damaged"):
        mtcnn.load_mtcnn.__wrapped__()


def test_squares_stay_in_the_picture():
    for x, y, width, height in (
        (150, 120, 300, 240),
        (30, 20, 300, 240),
        (280, 230, 300, 240),
        (60, 60, 99, 999),
    ):
        square = square_around(detector_box(face(x=x, y=y)), width, height)
        assert square.width == square.height >= 2
        assert 0 <= square.x0 < square.x1 <= width
        assert 0 <= square.y0 < square.y1 <= height


def test_the_square_is_twice_the_box_as_far_as_the_picture_goes():
    assert square_around(Box(100, 100, 160, 180), 999, 999) == Box(70, 80, 190, 200)
    assert square_around(Box(100.4, 99.6, 160.4, 179.6), 999, 999) == Box(70, 80, 190, 200)
    assert square_around(Box(10, 100, 70, 180), 999, 999) == Box(0, 90, 100, 190)  # cut on the left
    assert square_around(Box(100, 100, 160, 180), 999, 190) == Box(70, 65, 190, 185)  # cut below


def test_the_mask_is_a_fifth_larger_than_the_box():
    mask = echomimic_mask(portrait(Box(40, 50, 100, 130), Box(0, 0, 128, 128)), 128)
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (34, 105, 42, 127)
    assert set(np.unique(mask)) == {0.0, 1.0}


def test_the_mask_is_drawn_in_the_photo_and_enlarged_softly():
    """The box 20, 30 to 50, 70 grows by 3 and 4 pixels; the square begins at 10, 20 and is enlarged 4 times."""
    mask = echomimic_mask(portrait(Box(20, 30, 50, 70), Box(10, 20, 74, 84), 256), 256)
    rows, columns = np.nonzero(mask > 0.5)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (28, 172, 24, 216)
    assert mask[100, 26:30] == pytest.approx([0.125, 0.375, 0.625, 0.875], abs=0.01)


@pytest.mark.parametrize("box", [Box(-9, -5, 30, 40), Box(100, 90, 160, 150), Box(-50, -60, 300, 400)])
def test_masks_end_at_the_edge_of_the_square(box: Box):
    mask = echomimic_mask(portrait(box, Box(0, 0, 128, 128)), 128)
    inside = np.zeros((128, 128))
    across, down = int(box.width * 0.1), int(box.height * 0.1)
    x0, y0 = max(int(box.x0) - across, 0), max(int(box.y0) - down, 0)
    inside[y0 : int(box.y1) + down, x0 : int(box.x1) + across] = 1
    assert np.array_equal(mask, inside)


def test_a_box_that_a_person_gave_is_taken(seen):
    given = replace(face(), blendshapes={}, box_px=Box(3, 4, 25, 36))
    seen.append(mtcnn.SeenFace(Box(3, 4, 26, 37), 0.99))
    assert detector_box(see_with_mtcnn(PICTURE, given)) == Box(3, 4, 25, 36)
