"""SyncNet's MFCC against the package that it was trained with."""

import numpy as np
import pytest

from emote_cli.evaluation.learned.mfcc import mfcc

features = pytest.importorskip("python_speech_features", exc_type=ImportError)


@pytest.mark.parametrize("n_samples", [399, 400, 401, 560, 561, 16_000])
def test_it_equals_python_speech_features(n_samples):
    rng = np.random.default_rng(n_samples)
    sound = (rng.normal(size=n_samples) * 3000).astype(np.int16)
    sound[: n_samples // 3] = 0  # true silence has no logarithm
    np.testing.assert_allclose(mfcc(sound), features.mfcc(sound, 16_000), atol=1e-9)


def test_a_part_equals_the_same_part_of_the_whole():
    sound = (np.random.default_rng(1).normal(size=8000) * 3000).astype(np.int16)
    part = mfcc(sound[1600 : 1600 + 9 * 160 + 400], int(sound[1599]))
    np.testing.assert_allclose(part, mfcc(sound)[10:20], atol=1e-9)
