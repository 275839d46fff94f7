"""The Frechet distance against its closed form, against scipy, and as a sum that needs no order."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from emote_cli.evaluation.learned.frechet import Moments, frechet_distance


def moments(rows: np.ndarray, pieces: int = 1) -> Moments:
    found = Moments(rows.shape[1])
    for piece in np.array_split(rows, pieces):
        found.add(piece)
    return found


def rows(seed: int, n: int = 400, d: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)).astype(np.float32)


def test_independent_columns_meet_the_closed_form():
    """Of Gaussians with diagonal covariances: the squared differences of means and of standard deviations, summed."""
    corners = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)], float)
    ours, theirs = moments(corners * [2, 3]), moments(corners * [5, 1] + [4, -2])
    unbiased = 4 / 3
    expected = 4**2 + 2**2 + ((5 - 2) ** 2 + (3 - 1) ** 2) * unbiased
    assert frechet_distance(ours, theirs) == pytest.approx(expected)


def test_it_meets_the_definition_with_scipys_root_of_a_matrix():
    first, second = rows(1), rows(2)
    a, b = np.cov(first.astype(float), rowvar=False), np.cov(second.astype(float), rowvar=False)
    apart = ((first.astype(float).mean(0) - second.astype(float).mean(0)) ** 2).sum()
    expected = apart + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(moments(first), moments(second)) == pytest.approx(expected, rel=1e-9)


def test_equal_sets_are_at_zero_even_where_rows_are_fewer_than_columns():
    few = rows(3, n=10, d=40)
    assert frechet_distance(moments(few), moments(few)) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(moments(few), moments(few + 1)) == pytest.approx(40, rel=1e-6)


def test_neither_pieces_nor_order_nor_sides_matter():
    first, second = rows(4), rows(5)
    whole = frechet_distance(moments(first), moments(second))
    assert len(moments(first, 7).factor) <= 6
    shuffled = np.random.default_rng(0).permutation(first)
    assert frechet_distance(moments(shuffled, 7), moments(second, 3)) == pytest.approx(whole, rel=1e-9)
    assert frechet_distance(moments(second), moments(first)) == pytest.approx(whole, rel=1e-9)
