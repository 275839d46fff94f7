"""What the measures give: numbers by name, or the reason why there is none; and what each name means."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Float

Findings = dict[str, float | str]
"""Numbers by name; a text in the place of a number says why it could not be measured."""

MISSING = "not measured: emote download metrics"
"""The reason where a network was not fetched."""

Curve = Float[np.ndarray, " frames"]

_CHANCE = 0.01
"""How often chance may pass for agreement."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a number means.

    Attributes:
        title: for tables.
        recipe: how it is measured, in a sentence or two.
        unit: of the number; empty for pure numbers.
        better: which direction is good; `truth` means: near the true video's own.
        notable: a difference, in the number's unit, that people notice; smaller ones are not worth a word. None: neither good nor bad
            by itself.
    """

    title: str
    recipe: str
    unit: str = ""
    better: Literal["higher", "lower", "zero", "one", "truth"] = "truth"
    notable: float | None = 0.1

    @property
    def good(self) -> str:
        """Which numbers are good, in a word or two that can be read without colors."""
        if self.notable is None:
            return "-"
        told = {"zero": "near 0", "one": "near 1", "truth": "near the truth"}
        return told.get(self.better, self.better)


def number(value: float, reason: str) -> float | str:
    """The value, or the reason where it is NaN or infinite."""
    return float(value) if math.isfinite(value) else reason


def correlate(ours: Curve, theirs: Curve) -> float:
    """Pearson's correlation over the frames where both are known; NaN where one is flat or nearly all unknown."""
    known = np.isfinite(ours) & np.isfinite(theirs)
    if known.sum() < 3 or ours[known].std() < 1e-6 or theirs[known].std() < 1e-6:
        return math.nan
    return float(np.corrcoef(ours[known], theirs[known])[0, 1])


def amplitude(ours: Curve, theirs: Curve) -> float:
    """Standard deviation over that of the other, over the frames where both are known."""
    known = np.isfinite(ours) & np.isfinite(theirs)
    if known.sum() < 3 or theirs[known].std() < 1e-6:
        return math.nan
    return float(ours[known].std() / theirs[known].std())


def correlate_shifted(
    ours: Curve, theirs: Float[np.ndarray, " true_frames"], reach: int
) -> Float[np.ndarray, " shifts"]:
    """Correlations with the other curve moved by -reach ... reach frames; positive: ours comes after theirs.

    All shifts use the same stretch of ours, so that none has more frames to agree on than another.
    """
    n = min(len(ours), len(theirs))
    if n <= 2 * reach + 3:
        return np.full(2 * reach + 1, np.nan)
    mine = ours[reach : n - reach]
    return np.array([correlate(mine, theirs[reach - k : n - reach - k]) for k in range(-reach, reach + 1)])


def chance_bound(ours: Curve, theirs: Curve, reach: int) -> float:
    """What the best of `correlate_shifted` reaches by chance in one case of a hundred, for two curves that move like these.

    Frames near each other are alike, so that a few count as one (Bartlett's formula, over `reach` frames). That leaves
    fewer independent frames to agree on (Fisher's transformation), and fewer independent lags (Bonferroni). Lips of
    one clip and sound of another pass in 2 of 100 cases (2,070 pairs of real clips of 3 to 20 s).
    """
    n = min(len(ours), len(theirs))
    mine, true = ours[:n], theirs[:n]
    known = int((np.isfinite(mine) & np.isfinite(true))[reach : n - reach].sum())
    alike = [correlate(mine[k:], mine[:-k]) * correlate(true[k:], true[:-k]) for k in range(1, reach + 1)]
    as_one = max(1 + 2 * float(np.nansum(alike)), 1.0)
    lags = max((2 * reach + 1) / as_one, 1.0)
    return math.tanh(NormalDist().inv_cdf(1 - _CHANCE / lags) / math.sqrt(max(known / as_one - 3, 1.0)))


def find_peak(values: Float[np.ndarray, " shifts"]) -> tuple[float, float]:
    """Place (in steps from the middle, between them by a parabola) and height of the highest value; NaN without one."""
    if not np.isfinite(values).any():
        return math.nan, math.nan
    best = int(np.nanargmax(values))
    place = best - len(values) // 2
    if not 0 < best < len(values) - 1 or not np.isfinite(values[best - 1 : best + 2]).all():
        return float(place), float(values[best])
    before, top, after = (float(v) for v in values[best - 1 : best + 2])
    bend = before - 2 * top + after
    offset = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return place + offset, top - 0.25 * (before - after) * offset


def split_windows(n_frames: int, fps: float, seconds: float = 10.0, least: int = 3) -> list[slice]:
    """Stretches of ten seconds; at least three, shorter ones in shorter videos. The last takes what is left over."""
    count = max(least, int(n_frames / fps / seconds))
    edges = np.linspace(0, n_frames, count + 1).round().astype(int)
    if n_frames / fps >= least * seconds:
        edges[:-1] = (np.arange(count) * seconds * fps).round()
    return [slice(a, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]


def median_around(curve: Curve, reach: int) -> Curve:
    """Median of what is known in each frame and `reach` frames on either side; NaN without anything."""
    padded = np.pad(curve.astype(float), reach, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    usual, some = np.full(len(curve), np.nan), np.isfinite(around).any(1)
    usual[some] = np.nanmedian(around[some], axis=1)
    return usual


def median_known(values: np.ndarray | Iterable[float]) -> float:
    """Median of what is known; NaN without anything."""
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), float)
    known = array[np.isfinite(array)]
    return float(np.median(known)) if len(known) else math.nan
