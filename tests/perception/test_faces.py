import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emote_cli.errors import WeightsError
from emote_cli.media.image import read_image, resize
from emote_cli.perception.faces import MOST_LOOKS, FaceAnalyzer, find_faces, plan_squares
from emote_cli.perception.geometry import (
    CROP_EXPAND,
    box_to_crop,
    crop_square,
    draw_pose_axes,
    euler_deg,
    mouth_box,
    overlap,
    region_mask,
    rotation,
    to_crop,
    union_box,
)
from emote_cli.types import Box
from emote_cli.zoo.locate import locate_bundled


def turn(pitch, yaw, roll):
    """Head pose from angles in degrees: roll first, then pitch, then yaw; camera looks down -z, y is up."""
    p, y, r = np.radians([pitch, yaw, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3] = about_y @ about_x @ about_z
    return pose


@pytest.fixture(scope="module")
def portrait(portrait_path):
    return read_image(portrait_path)


@pytest.fixture(scope="module")
def analyzer():
    with FaceAnalyzer(locate_bundled("face_landmarker.task")) as analyzer:
        yield analyzer


@pytest.fixture(scope="module")
def face(portrait, analyzer):
    return analyzer.analyze(portrait)[0]


angles = st.floats(-80, 80)


@given(angles, angles, angles, st.floats(0.2, 5))
def test_angles_come_back_whatever_the_scale(pitch, yaw, roll, scale):
    pose = turn(pitch, yaw, roll)
    pose[:3, :3] *= scale
    assert euler_deg(pose) == pytest.approx((pitch, yaw, roll), abs=1e-3)


def test_signs_are_those_of_the_picture():
    nose = turn(0, 30, 0)[:3, :3] @ [0, 0, 1]
    assert nose[0] > 0  # yaw + turns the nose to the right of the picture
    assert (turn(30, 0, 0)[:3, :3] @ [0, 0, 1])[1] < 0  # pitch + turns it down
    assert (turn(0, 0, 30)[:3, :3] @ [0, 1, 0])[0] < 0  # roll + leans the crown to the left


def test_rotations_of_a_batch_are_rotations(rng):
    turns = rotation(rng.normal(size=(5, 4, 4)))
    np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), np.tile(np.eye(3), (5, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turns), 1)


sizes = st.integers(50, 2000)


@given(sizes, sizes, st.floats(-50, 1500), st.floats(-50, 1500), st.floats(10, 900), st.floats(10, 900))
def test_the_crop_is_square_and_inside_where_it_fits(width, height, x, y, w, h):
    box = Box(x, y, x + w, y + h)
    crop = crop_square(box, width, height)
    side = round(max(box.width, box.height) * CROP_EXPAND)
    assert crop.width == crop.height == side
    for low, high, length in ((crop.x0, crop.x1, width), (crop.y0, crop.y1, height)):
        assert low == int(low)
        if side <= length:
            assert 0 <= low
            assert high <= length
        else:
            assert low <= 0
            assert high >= length


def test_the_crop_is_centered_away_from_the_edges():
    assert crop_square(Box(90, 100, 110, 120), 1000, 1000) == Box(83, 93, 117, 127)


def test_union_passes_over_gaps():
    boxes = np.array([[5, 6, 7, 8], [np.nan] * 4, [1, 7, 6, 11]], np.float32)
    assert union_box(boxes) == Box(1, 6, 7, 11)
    with pytest.raises(ValueError, match="no box"):
        union_box(boxes[1:2])


def test_face_regions_grow_from_tight_to_full():
    box = Box(20, 30, 40, 60)
    tight, wide, full = (region_mask(box, 101, scale) for scale in (1.0, 1.6, math.inf))
    assert tight.shape == (1, 101, 101)
    assert tight.sum() == 20 * 30
    assert tight[0, 30:60, 20:40].all()
    assert wide.sum() == 32 * 48
    assert full.all()
    assert (tight <= wide).all()
    assert set(np.unique(wide)) == {0, 1}


def test_a_region_over_the_edge_is_cut():
    assert region_mask(Box(-10, -10, 5, 7), 11).sum() == 35
    assert region_mask(Box(20, 20, 30, 30), 11).sum() == 0


def test_the_face_of_a_portrait(portrait, face):
    height, width = portrait.shape[:2]
    assert face.landmarks_px.shape == (478, 3)
    assert 0 < face.box_px.x0 < face.box_px.x1 < width
    assert 0 < face.box_px.y0 < face.box_px.y1 < height
    mouth = mouth_box(face.landmarks_px)
    assert face.box_px.center[1] < mouth.center[1] < face.box_px.y1
    assert mouth.width < face.box_px.width / 2
    assert len(face.blendshapes) == 52
    assert all(abs(angle) < 30 for angle in euler_deg(face.pose_4x4))


def test_the_mirrored_face_turns_the_other_way(portrait, face, analyzer):
    mirrored = analyzer.analyze(np.ascontiguousarray(portrait[:, ::-1]))[0]
    _, yaw, roll = euler_deg(face.pose_4x4)
    _, yaw_back, roll_back = euler_deg(mirrored.pose_4x4)
    assert yaw == pytest.approx(-yaw_back, abs=3)
    assert roll == pytest.approx(-roll_back, abs=3)


def test_a_crop_shows_the_face_where_the_mapping_says(portrait, face, analyzer):
    from emote_cli.media.image import crop_and_resize

    crop = crop_square(face.box_px, portrait.shape[1], portrait.shape[0])
    mapped = to_crop(face, crop, 211)
    seen = analyzer.analyze(crop_and_resize(portrait, crop, 211))[0]
    error = np.abs(mapped.landmarks_px[:, :2] - seen.landmarks_px[:, :2]).mean()
    assert error < 0.02 * mapped.box_px.width
    assert box_to_crop(face.box_px, crop, 211).width == pytest.approx(mapped.box_px.width, rel=1e-4)


def test_two_faces_come_largest_first(portrait, face, analyzer):
    (x, y), half = (round(v) for v in face.box_px.center), round(face.box_px.height)
    near = portrait[y - half : y + half, x - half : x + half]
    small = resize(near, (near.shape[1] * 2 // 3, near.shape[0] * 2 // 3))
    both = np.full((len(near), near.shape[1] + small.shape[1], 3), 128, np.uint8)
    both[: len(small), : small.shape[1]] = small
    both[:, small.shape[1] :] = near
    faces = analyzer.analyze(both)
    assert len(faces) == 2
    assert faces[0].box_px.area > faces[1].box_px.area
    assert faces[0].box_px.x0 > small.shape[1] > faces[1].box_px.x1


def test_a_face_that_one_look_overlooks_is_found_in_place(portrait, face, analyzer):
    large = np.full((900, 1700, 3), 90, np.uint8)
    large[300:812, 700:1212] = portrait
    assert analyzer.analyze(large) == []
    faces = find_faces(large, analyzer)
    assert len(faces) == 1
    there = face.box_px
    assert overlap(faces[0].box_px, Box(there.x0 + 700, there.y0 + 300, there.x1 + 700, there.y1 + 300)) > 0.8


@pytest.mark.parametrize("corner", [(60, 70), (513, 641), (990, 1390)])
def test_a_face_of_40_pixels_is_found_once(portrait, face, analyzer, corner):
    y, x = corner
    large = np.full((1200, 1600, 3), 128, np.uint8)
    large[y : y + 200, x : x + 200] = resize(portrait, (200, 200))
    faces = find_faces(large, analyzer)
    assert len(faces) == 1
    assert 36 < faces[0].box_px.height < 48
    expected = np.array(face.box_px.center) * 200 / 512 + (x, y)
    assert np.abs(np.array(faces[0].box_px.center) - expected).max() < 4


def test_two_small_faces_stay_two(portrait, analyzer):
    large = np.full((1200, 1600, 3), 128, np.uint8)
    small = resize(portrait, (200, 200))
    large[300:500, 400:600] = large[700:900, 1000:1200] = small
    assert len(find_faces(large, analyzer)) == 2


@pytest.mark.parametrize(
    ("shape", "most"),
    [
        ((480, 640), 18),
        ((512, 512), 12),
        ((1080, 1920), MOST_LOOKS),
        ((300, 30_000), 1),
        ((1, 1), 1),
        ((70, 9), 1),
    ],
)
def test_a_picture_without_a_face_costs_few_looks(shape, most):
    looks = []

    class Blind(FaceAnalyzer):
        def __init__(self):
            pass

        def analyze(self, rgb, timestamp_ms=None):
            looks.append(rgb.shape)
            return []

    assert find_faces(np.zeros((*shape, 3), np.uint8), Blind()) == []
    assert 1 <= len(looks) <= most


@given(sizes, sizes, st.floats(0.1, 1), st.floats(0.1, 0.6))
def test_squares_cover_the_picture_and_overlap(width, height, share, shared):
    side = round(min(width, height) * share)
    corners = plan_squares(width, height, side, shared)
    for length, starts in ((width, {x for x, _ in corners}), (height, {y for _, y in corners})):
        ordered = sorted(starts)
        assert (ordered[0], ordered[-1]) == (0, length - side)
        assert all(side - (b - a) >= math.floor(shared * side) - 1 for a, b in pairwise(ordered))


@pytest.mark.parametrize("shape", [(97, 61, 3), (1, 1, 3)])
def test_no_face_is_an_empty_list(analyzer, shape, rng):
    assert find_faces(rng.integers(0, 255, shape, np.uint8), analyzer) == []


def test_times_may_repeat_in_video_mode(portrait):
    with FaceAnalyzer(locate_bundled("face_landmarker.task"), max_faces=1, video=True) as video:
        assert len(video.analyze(portrait, 0)) == len(video.analyze(portrait, 0)) == 1


def test_nothing_reaches_the_terminal(portrait, capfd):
    with FaceAnalyzer(locate_bundled("face_landmarker.task")) as fresh:
        fresh.analyze(portrait)
    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("", "")


def test_a_missing_or_broken_model_says_so(tmp_path):
    broken = tmp_path / "face.task"
    broken.write_bytes(b"nothing of the kind")
    for path in (tmp_path / "none.task", broken):
        with pytest.raises(WeightsError, match="face model") as raised:
            FaceAnalyzer(path)
        assert raised.value.hint


def test_axes_are_drawn_on_a_copy(portrait, face):
    before = portrait.copy()
    drawn = draw_pose_axes(portrait, face)
    np.testing.assert_array_equal(portrait, before)
    assert (drawn != portrait).any()


def test_overlap_of_boxes():
    assert overlap(Box(0, 0, 2, 2), Box(0, 0, 2, 2)) == 1
    assert overlap(Box(0, 0, 2, 2), Box(1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap(Box(0, 0, 1, 1), Box(5, 5, 6, 6)) == 0
