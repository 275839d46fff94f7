from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from emote_cli.animation.compose import cut_portrait, find_faces, make_portrait
from emote_cli.errors import FaceError
from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.weights import bundled


@pytest.fixture(scope="module")
def analyzer():
    with FaceAnalyzer(bundled("face_landmarker.task")) as analyzer:
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


def test_a_small_face_in_a_large_picture_is_found(astronaut, analyzer):
    canvas = np.full((1200, 1600, 3), 128, np.uint8)
    canvas[700:900, 1300:1500] = cv2.resize(astronaut, (200, 200), interpolation=cv2.INTER_AREA)
    assert analyzer.analyze(canvas) == []
    face = find_faces(canvas, analyzer)[0]
    whole = analyzer.analyze(astronaut)[0]
    expected = np.array(whole.box_px.center) * 200 / 512 + (1300, 700)
    assert np.abs(np.array(face.box_px.center) - expected).max() < 4


@pytest.mark.parametrize("wide", [True, False])
def test_a_very_long_picture(astronaut, analyzer, wide):
    strip = np.full((512, 4099, 3), 90, np.uint8)
    strip[:, 3000:3512] = astronaut
    pixels = strip if wide else np.ascontiguousarray(np.pad(astronaut, ((1777, 1810), (0, 0), (0, 0))))
    portrait = cut_portrait(pixels, Path("long.png"), 64, analyzer)
    x, y = portrait.crop_px.center
    assert (3000 < x < 3512) if wide else (1777 < y < 2289)


def test_no_face_says_so(analyzer):
    with pytest.raises(FaceError, match=r"no face found in gray\.png \(83x61\)"):
        cut_portrait(np.full((61, 83, 3), 128, np.uint8), Path("gray.png"), 64, analyzer)


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
