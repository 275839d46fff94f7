import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from emote_cli.animation.choice import choose_face, draw_numbers
from emote_cli.animation.portrait import cut_portrait, list_doubts, roll_deg
from emote_cli.errors import FaceError
from emote_cli.perception.faces import FaceAnalyzer, find_faces
from emote_cli.zoo.locate import locate_bundled
from tests.conftest import make_portrait


@pytest.fixture(scope="module")
def analyzer():
    with FaceAnalyzer(locate_bundled("face_landmarker.task")) as analyzer:
        yield analyzer


@pytest.fixture(scope="module")
def astronaut(portrait_path) -> np.ndarray:
    return np.asarray(Image.open(portrait_path).convert("RGB"))


def test_the_face_sits_in_the_middle_of_the_square(portrait_path, analyzer):
    portrait = make_portrait(portrait_path, 97, analyzer)
    assert portrait.pixels.shape == (97, 97, 3)
    assert portrait.source == portrait_path
    assert portrait.crop_px.width == portrait.crop_px.height
    x, y = portrait.face.box_px.center
    assert abs(x - 97 / 2) < 6
    assert abs(y - 97 / 2) < 6
    assert 97 * 0.5 < portrait.face.box_px.height < 97 * 0.7


def test_face_and_pixels_agree(portrait_path, astronaut, analyzer):
    """The face that MediaPipe finds in the crop is where the portrait says it is."""
    portrait = make_portrait(portrait_path, 211, analyzer)
    again = analyzer.analyze(portrait.pixels)[0]
    away = np.linalg.norm(again.landmarks_px[:, :2] - portrait.face.landmarks_px[:, :2], axis=1)
    assert away.mean() < 0.02 * 211


@pytest.mark.parametrize("wide", [True, False])
def test_a_very_long_picture(astronaut, analyzer, wide):
    strip = np.full((512, 4099, 3), 90, np.uint8)
    strip[:, 3000:3512] = astronaut
    pixels = strip if wide else np.ascontiguousarray(np.pad(astronaut, ((1777, 1810), (0, 0), (0, 0))))
    portrait = cut_portrait(pixels, Path("long.png"), 64, find_faces(pixels, analyzer))
    x, y = portrait.crop_px.center
    assert (3000 < x < 3512) if wide else (1777 < y < 2289)


def test_no_face_says_so():
    with pytest.raises(FaceError, match=r"no face found in gray\.png \(83x61\)"):
        cut_portrait(np.full((61, 83, 3), 128, np.uint8), Path("gray.png"), 64, [])


def test_the_largest_of_two(shared, analyzer):
    pixels = np.asarray(Image.open(shared / "media/portraits/two-people.jpg").convert("RGB"))
    faces = find_faces(pixels, analyzer)
    assert len(faces) == 2
    assert faces[0].box_px.area >= faces[1].box_px.area


@pytest.mark.parametrize("name", ["obama.jpg", "obama-exif-rotated.jpg", "obama-240p-small-face.jpg"])
def test_real_photos(shared, analyzer, name):
    portrait = make_portrait(shared / "media/portraits" / name, 128, analyzer)
    assert 128 * 0.45 < portrait.face.box_px.height < 128 * 0.75
    assert analyzer.analyze(portrait.pixels) != []


def test_fruit_is_no_face(shared, analyzer):
    with pytest.raises(FaceError):
        make_portrait(shared / "media/portraits/apple-no-face.jpg", 128, analyzer)


@pytest.mark.parametrize("angle", [-40, 25])
def test_a_tilted_head_is_cut_out_upright(astronaut, analyzer, angle):
    matrix = cv2.getRotationMatrix2D((220, 120), angle, 1.0)
    tilted = cv2.warpAffine(astronaut, matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    portrait = cut_portrait(tilted, Path("tilted.png"), 211, find_faces(tilted, analyzer))
    assert portrait.roll_deg == pytest.approx(roll_deg(analyzer.analyze(astronaut)[0]) - angle, abs=3)
    again = analyzer.analyze(portrait.pixels)[0]
    assert abs(roll_deg(again)) < 3
    away = np.linalg.norm(again.landmarks_px[:, :2] - portrait.face.landmarks_px[:, :2], axis=1)
    assert away.mean() < 0.02 * 211


def test_a_face_can_be_chosen(astronaut, analyzer):
    both = np.concatenate([astronaut, cv2.resize(astronaut, (384, 512))], axis=1)
    faces = find_faces(both, analyzer)
    assert len(faces) == 2
    source, size = Path("both.png"), (896, 512)
    assert choose_face(faces, 2, source, size) is faces[1]
    for face in faces:
        assert choose_face(faces, dataclasses.astuple(face.box_px.scaled(1.2)), source, size) is face
    with pytest.raises(FaceError, match=r"no face 3 in both\.png: 2 found"):
        choose_face(faces, 3, source, size)
    with pytest.raises(FaceError, match="outside"):
        choose_face(faces, (0, 0, 900, 99), source, size)
    drawn = draw_numbers(both, faces)
    assert drawn.shape == both.shape
    assert not np.array_equal(drawn, both)


def test_a_box_names_a_face_that_only_people_see():
    pixels = np.full((97, 89, 3), 200, np.uint8)
    portrait = cut_portrait(pixels, Path("drawing.png"), 64, [], (20, 30, 50, 71))
    assert portrait.roll_deg == 0
    assert portrait.crop_px.width == 70


def test_poor_photos_are_warned_of(astronaut, analyzer):
    def told(pixels):
        return list(list_doubts(cut_portrait(pixels, Path("x.png"), 256, find_faces(pixels, analyzer)), 256))

    assert told(astronaut) == []
    assert "is small" in told(cv2.resize(astronaut, (220, 220), interpolation=cv2.INTER_AREA))[0]
    assert "blurred" in told(cv2.GaussianBlur(astronaut, (0, 0), 5))[0]
