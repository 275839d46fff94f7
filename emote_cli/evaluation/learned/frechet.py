"""The Frechet distance of two sets of vectors, each seen as a Gaussian (Heusel et al. 2017, equation 6)."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

Rows = Float[np.ndarray, "rows d"]


class Moments:
    """Mean and covariance of rows that come a few at a time: memory for 2 d rows, however many there are.

    The covariance is kept as a factor F with few rows, C = F' F / (count - 1), which is never squared: so small numbers stay
    exact, and few rows are little work.

    Args:
        width: d, numbers per row.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean = np.zeros(width)
        self._factor = np.zeros((0, width))

    def add(self, rows: Rows) -> None:
        """Take in more rows (Chan's update, in float64)."""
        if not len(rows):
            return
        values = rows.astype(np.float64)
        mean = values.mean(0)
        apart, total = mean - self.mean, self.count + len(values)
        between = math.sqrt(self.count * len(values) / total) * apart
        self._factor = np.concatenate([self._factor, values - mean, between[None]])
        self.mean = self.mean + apart * len(values) / total
        self.count = total
        if len(self._factor) > 2 * len(mean):
            self._factor = _shorten(self._factor)

    @property
    def factor(self) -> Float[np.ndarray, "some d"]:
        """F over the root of (count - 1), of at most d rows; there are at least two rows."""
        short = len(self._factor) <= len(self.mean)
        return (self._factor if short else _shorten(self._factor)) / math.sqrt(self.count - 1)


def frechet_distance(ours: Moments, theirs: Moments) -> float:
    """|m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)); 0 for equal sets.

    With C1 = A'A and C2 = B'B, the roots of the eigenvalues of C1 C2 are the singular values of AB'.

    Args:
        ours: of at least two rows.
        theirs: likewise, of the same width.
    """
    a, b = ours.factor, theirs.factor
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    apart = ((ours.mean - theirs.mean) ** 2).sum()
    return max(float(apart + (a**2).sum() + (b**2).sum() - 2 * shared), 0.0)


def _shorten(factor: Rows) -> Float[np.ndarray, "d d"]:
    """The same covariance from d rows."""
    return np.asarray(np.linalg.qr(factor, mode="r"))
