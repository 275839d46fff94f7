"""What the lips do, from landmarks."""

import numpy as np
import pytest

from emote_cli.data.lips import USUAL_DEVIATION, lip_values


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
