import numpy as np
import pytest

from emote_cli.perception.tracking import follow, head_speed_deg_s, mouth_open, track_to_crop
from emote_cli.types import Box, Face


def face_at(x, y, size, yaw_deg=0.0, rng=None):
    """A made-up face: a square of random landmarks, turned about the vertical axis."""
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = (rng or np.random.default_rng(5)).uniform(0, size, (478, 2)) + np.array([x, y])
    pose, angle = np.eye(4, dtype=np.float32), np.radians(yaw_deg)
    pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    shapes = {"jawOpen": 0.25, "eyeBlinkLeft": 0.2, "eyeBlinkRight": 0.6}
    return Face(Box(float(x), float(y), float(x + size), float(y + size)), points, pose, shapes)


def test_the_same_face_is_followed_when_another_grows_larger():
    ours = [face_at(10 + i, 10, 50) for i in range(7)]
    others = [face_at(200, 10, 30 + 10 * i) for i in range(7)]
    frames = [sorted(pair, key=lambda f: -f.box_px.area) for pair in zip(ours, others, strict=True)]
    assert frames[-1][0] is others[-1]
    track = follow(frames, 25)
    assert track.found.all()
    assert track.boxes_px[:, 0].tolist() == list(range(10, 17))


def test_a_hint_chooses_the_person():
    frames = [[face_at(10, 10, 60), face_at(200, 10, 30)]] * 3
    assert follow(frames, 25, near=Box(190, 0, 240, 50)).boxes_px[0, 0] == 200
    assert follow(frames, 25).boxes_px[0, 0] == 10


def test_gaps_are_marked_and_bridged():
    track = follow([[face_at(10, 10, 50)], [], [face_at(200, 0, 90), face_at(12, 10, 50)]], 25)
    assert track.found.tolist() == [True, False, True]
    assert track.boxes_px[2, 0] == 12
    for rows in (track.boxes_px, track.landmarks_px, track.pose_4x4, track.jaw_open, track.blink):
        assert np.isnan(rows[1]).all()
    assert track.blink[0] == pytest.approx(0.4)


def test_no_frames_at_all():
    track = follow([], 25)
    assert track.n_frames == 0
    assert len(head_speed_deg_s(track)) == 0


@pytest.mark.parametrize("fps", [25.0, 30000 / 1001])
def test_a_steady_turn_has_its_speed(fps):
    track = follow([[face_at(0, 0, 50, yaw_deg=1.3 * i)] for i in range(23)], fps)
    speed = head_speed_deg_s(track)
    assert np.isnan(speed[0])
    np.testing.assert_allclose(speed[8:-8], 1.3 * fps, rtol=1e-3)


def test_jitter_reads_as_little_motion(rng):
    track = follow([[face_at(0, 0, 50, yaw_deg=float(rng.normal(0, 0.4)))] for _ in range(101)], 25)
    # Unsmoothed, steps of normal(0, 0.4 * sqrt 2) at 25 fps would read as 11 degrees per second.
    assert np.nanmean(head_speed_deg_s(track)) < 4


def test_speed_has_no_value_beside_a_gap():
    frames = [[face_at(0, 0, 50, yaw_deg=float(i))] for i in range(11)]
    frames[5] = []
    missing = np.isnan(head_speed_deg_s(follow(frames, 25)))
    assert np.flatnonzero(missing).tolist() == [0, 5, 6]


def test_a_track_moves_with_its_crop():
    track = track_to_crop(follow([[face_at(20, 30, 40)], []], 25), Box(10, 10, 90, 90), 160)
    assert track.boxes_px[0].tolist() == [20, 40, 100, 120]
    assert track.landmarks_px[0, :, :2].min() >= 20
    assert np.isnan(track.boxes_px[1]).all()


def test_the_mouth_opens_by_the_gap_between_the_lips():
    shut, wide = face_at(0, 0, 50), face_at(0, 0, 50)
    for face, gap in ((shut, 0), (wide, 6)):
        face.landmarks_px[[13, 14]] = [[20, 30, 0], [20, 30 + gap, 0]]
        face.landmarks_px[[33, 263]] = [[10, 10, 0], [34, 10, 0]]
    opening = mouth_open(follow([[shut], [wide], []], 25))
    assert opening[:2].tolist() == [0, 0.25]
    assert np.isnan(opening[2])
