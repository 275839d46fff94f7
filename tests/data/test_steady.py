"""Heads held still, and what the lips do, from synthetic landmarks."""

import numpy as np
import pytest

from emote_cli.data.lips import USUAL_DEVIATION, lip_values
from emote_cli.data.steady import ANCHORS, moved_boxes, rescaled, steadying, warped

FRAMES = 7


@pytest.fixture
def shaken() -> tuple[np.ndarray, np.ndarray]:
    """A rigid face that turns, grows and wanders; and how."""
    rng = np.random.default_rng(5)
    face = rng.uniform(60, 190, (478, 2))
    landmarks, maps = [], []
    for _ in range(FRAMES):
        angle, size = rng.normal(0, 0.1), rng.uniform(0.9, 1.1)
        turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = rng.normal(0, 8, 2)
        landmarks.append(face @ turn.T + shift)
        maps.append((turn, shift))
    return np.array(landmarks), maps


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ affine[:, :2].T + affine[:, 2]


def test_a_rigid_head_comes_to_rest(shaken):
    landmarks, _ = shaken
    affines = steadying(landmarks, np.ones(FRAMES, bool))
    still = np.array([apply(a, p) for a, p in zip(affines, landmarks, strict=True)])
    assert landmarks.std(0).max() > 4
    assert still.std(0).max() < 1e-6
    home = landmarks[:, ANCHORS].mean(0)
    assert np.allclose(still[3, ANCHORS], home, atol=3)


def test_frames_without_a_face_stay(shaken):
    landmarks, _ = shaken
    found = np.ones(FRAMES, bool)
    found[2] = False
    landmarks[2] = np.nan
    affines = steadying(landmarks, found)
    assert np.array_equal(affines[2], np.eye(2, 3))
    assert np.isfinite(affines).all()
    assert np.array_equal(steadying(landmarks, np.zeros(FRAMES, bool)), np.tile(np.eye(2, 3), (FRAMES, 1, 1)))


def test_a_frame_moves_as_its_points_do(shaken):
    landmarks, _ = shaken
    affine = steadying(landmarks, np.ones(FRAMES, bool))[4]
    frame = np.zeros((256, 256, 3), np.uint8)
    x, y = landmarks[4].mean(0).round().astype(int)
    frame[y - 2 : y + 3, x - 2 : x + 3] = 255
    moved = warped(frame, affine)
    rows, columns = np.nonzero(moved[..., 0] > 127)
    expected = apply(affine, np.array([[x, y]], float))[0]
    assert (columns.mean(), rows.mean()) == pytest.approx(tuple(expected), abs=1)


def test_half_the_size_has_half_the_shift():
    affines = np.array([[[1.1, 0.2, 10.0], [-0.2, 0.9, 4.0]]])
    assert np.allclose(apply(rescaled(affines, 0.5)[0], np.array([[20.0, 30.0]])),
                       apply(affines[0], np.array([[40.0, 60.0]])) / 2)  # fmt: skip


def test_boxes_follow():
    affines = np.array([[[0.0, -1.0, 100.0], [1.0, 0.0, 0.0]]])  # a quarter turn
    assert moved_boxes(np.array([[10.0, 20.0, 30.0, 60.0]]), affines).tolist() == [[40, 10, 80, 30]]


def test_lips_count_from_their_usual_place():
    landmarks = np.zeros((5, 478, 3))
    landmarks[:, 14, 1] = [0, 0, 5, 10, np.nan]
    landmarks[:, 291, 0] = 40
    landmarks[4] = np.nan
    boxes = np.tile([0.0, 0.0, 80.0, 100.0], (5, 1))
    jaw = np.array([0.1, 0.1, 0.1, 0.4, np.nan])
    lips = lip_values({"landmarks_px": landmarks, "box_px": boxes, "jaw_open": jaw})
    assert np.allclose(lips[3] * USUAL_DEVIATION, [0.3, 0.075, 0], atol=1e-6)
    assert np.isnan(lips[4]).all()
    assert np.isfinite(lips[:4]).all()


def test_lips_that_the_data_set_knows_count_as_they_are():
    known = np.random.default_rng(0).normal(size=(4, 3))
    tracks = {"landmarks_px": np.zeros((4, 478, 3)), "box_px": np.ones((4, 4)), "jaw_open": np.zeros(4)}
    assert np.allclose(lip_values({**tracks, "found": np.ones(4, bool), "lips": known}), known)
    with pytest.raises(ValueError, match=r"shape \(3, 3\), not \(4, 3\)"):
        lip_values({**tracks, "found": np.ones(4, bool), "lips": known[:3]})
