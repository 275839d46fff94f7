"""The Frechet distance of two sets of vectors, each seen as a Gaussian (Heusel et al. 2017, equation 6)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Rows = Float[np.ndarray, "rows d"]


class Moments:
    """Mean and covariance of rows that come a few at a time: memory for one d x d matrix, however many there are.

    Args:
        width: d, numbers per row.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean = np.zeros(width)
        self._scatter = np.zeros((width, width))

    def add(self, rows: Rows) -> None:
        """Take in more rows (Chan's update, in float64)."""
        if not len(rows):
            return
        values = rows.astype(np.float64)
        mean = values.mean(0)
        apart, total = mean - self.mean, self.count + len(values)
        centered = values - mean
        self._scatter += centered.T @ centered + np.outer(apart, apart) * self.count * len(values) / total
        self.mean += apart * len(values) / total
        self.count = total

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """The sample's covariance (over count - 1); needs two rows."""
        return self._scatter / (self.count - 1)


def frechet_distance(ours: Moments, theirs: Moments) -> float:
    """|m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)); 0 for equal sets.

    The trace of the root is the sum of the singular values of C1^(1/2) C2^(1/2): they are the roots of the eigenvalues of
    C1 C2, and stay exact where there are fewer rows than columns.

    Args:
        ours: of at least two rows.
        theirs: likewise, of the same width.
    """
    shared = np.linalg.svd(_root(ours.covariance) @ _root(theirs.covariance), compute_uv=False).sum()
    apart = ((ours.mean - theirs.mean) ** 2).sum()
    return max(float(apart + np.trace(ours.covariance) + np.trace(theirs.covariance) - 2 * shared), 0.0)


def _root(matrix: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T
