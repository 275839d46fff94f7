"""Lips against those of the true video: how well they follow, how far they go, and whether they close."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from emote_cli.evaluation.findings import (
    Curve,
    Findings,
    Measure,
    amplitude,
    chance_bound,
    correlate,
    correlate_shifted,
    find_peak,
    number,
)
from emote_cli.evaluation.footage import Footage

CLOSED = (0.015, 0.05)
"""Lip gaps over the distance of the eyes between which the bound of closed lips lies (sealed lips read 0.006 to 0.015,
under a beard or when full up to 0.04)."""
_CLOSED_SHARE = 0.15

SILENT_BELOW = 1.6
"""Sound this many powers of ten below the loud parts (95th percentile) is silence: 32 dB."""
_SILENT_S = 0.25
"""Shorter pauses are closures, not silence."""
_NEAR_S = 0.06
_REACH_S = 0.48

MEASURES = {
    "lips.correlation": Measure(
        "lips follow the true ones",
        "Correlation over all frames of the mean of jawOpen and lip gap (each in its own standard deviations) with the"
        " true video's, moments compared by their time.",
        better="one",
    ),
    "lips.jaw.correlation": Measure("jaw follows the true one", "The same of MediaPipe's jawOpen alone.", better="one"),
    "lips.gap.correlation": Measure(
        "lip gap follows the true one", "The same of the gap between the inner lips over the distance of the outer eye corners.", better="one"
    ),
    "lips.width.correlation": Measure("mouth width follows the true one", "The same of the distance of the mouth's corners.", better="one"),
    "lips.jaw.amplitude": Measure("how far the jaw goes", "Standard deviation of jawOpen over the true one.", better="one", notable=0.2),
    "lips.gap.amplitude": Measure("how far lips part", "Standard deviation of the lip gap over the true one.", better="one", notable=0.2),
    "lips.width.amplitude": Measure("how far corners go", "Standard deviation of the mouth's width over the true one.", better="one", notable=0.2),
    "lips.lag_ms": Measure(
        "lips late against the true ones", "Shift, up to 0.48 s, at which lips.correlation is best.", "ms", "zero", notable=40
    ),
    "lips.closed.precision": Measure(
        "closed lips that should be", "Share of frames with closed lips (gap in the lowest 15 % of the way between its 5th and 95th percentile; the bound is between 0.015 and 0.05) within 60 ms of a frame where the true"
        " ones are closed, a labelled closure or silence.", better="one"
    ),
    "lips.closed.recall": Measure(
        "closures that are made", "Share of frames where the true lips are closed within 60 ms of one where these are.", better="one"
    ),
    "lips.closures.recall": Measure(
        "labelled closures that are made", "Share of labelled closures (p, b, m) within 60 ms of which the lips are closed.", better="one"
    ),
    "lips.silence.closed": Measure(
        "closed in silence", "Share of silent frames (0.25 s or longer, 32 dB below the speech) with closed lips.", notable=0.2
    ),
    "lips.silence.std": Measure("unrest in silence", "Standard deviation of jawOpen over silent frames.", better="lower", notable=0.02),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lips:
    """Curves of the lips at common times."""

    jaw: Curve
    gap: Curve
    width: Curve

    @property
    def opening(self) -> Curve:
        """Mean of jaw and gap, each in its own standard deviations."""
        return (standardize(self.jaw) + standardize(self.gap)) / 2


def lips_of(footage: Footage) -> Lips:
    """The lips of a video, frame by frame."""
    return Lips(footage.jaw, footage.gap, footage.width_of_mouth)


def lips_at(footage: Footage, times_s: Float[np.ndarray, " times"]) -> Lips:
    """The lips of a video at other moments; NaN after its end and in gaps without a face."""
    return Lips(
        *(at(curve, footage.fps, times_s) for curve in (footage.jaw, footage.gap, footage.width_of_mouth))
    )


def at(curve: Curve, fps: float, times_s: Float[np.ndarray, " times"]) -> Float[np.ndarray, " times"]:
    """Values of a curve between its frames; NaN past its end and beside unknown values."""
    return np.interp(times_s * fps, np.arange(len(curve)), curve, right=np.nan)


def standardize(curve: Curve) -> Curve:
    """Less its mean, over its deviation; flat curves become zero."""
    if not np.isfinite(curve).any():
        return curve
    return (curve - np.nanmean(curve)) / max(float(np.nanstd(curve)), 1e-6)


def measure_lips(
    footage: Footage, truth: Footage | None = None, closures_s: Sequence[float] = ()
) -> Findings:
    """All of `MEASURES` that can be told.

    Args:
        footage: the video.
        truth: what it should be like.
        closures_s: moments at which the lips should be closed, where they are known (p, b, m).
    """
    ours = lips_of(footage)
    silent = find_silence(footage)
    closed = find_closed(ours.gap)
    found: Findings = {
        "lips.silence.std": number(_deviation(footage.jaw[silent]), "no silence in the sound"),
        "lips.silence.closed": number(_share(closed[silent & footage.found]), "no silence in the sound"),
    }
    near = round(_NEAR_S * footage.fps)
    labelled = np.zeros(footage.n_frames, bool)
    places = [place for place in (round(s * footage.fps) for s in closures_s) if place < footage.n_frames]
    labelled[places] = True
    if places:
        found["lips.closures.recall"] = _share(widen(closed, near)[places])
    if truth is None:
        return found
    theirs = lips_at(truth, footage.times_s)
    pairs = {
        "jaw": (ours.jaw, theirs.jaw),
        "gap": (ours.gap, theirs.gap),
        "width": (ours.width, theirs.width),
    }
    still = "the lips of one of the two videos stay still"
    found["lips.correlation"] = number(correlate(ours.opening, theirs.opening), still)
    for name, (mine, true) in pairs.items():
        found[f"lips.{name}.correlation"] = number(correlate(mine, true), still)
        found[f"lips.{name}.amplitude"] = number(amplitude(mine, true), "the true lips stay still")
    reach = round(_REACH_S * footage.fps)
    shifts = correlate_shifted(ours.opening, theirs.opening, reach)
    place, height = find_peak(shifts)
    chance = chance_bound(ours.opening, theirs.opening, reach)
    lag_ms = number(place * 1000 / footage.fps, f"{still}, or it is shorter than a second")
    lost = f"not found: the best correlation is {height:.2f}, and chance reaches {chance:.2f}"
    if abs(place) == reach:
        lost = f"not found: the lips agree best at {_REACH_S:g} s or beyond"
    found["lips.lag_ms"] = lost if height < chance or abs(place) == reach else lag_ms
    should = find_closed(theirs.gap)
    found["lips.closed.precision"] = number(
        _share(widen(should | labelled | silent, near)[closed]), "the lips are never closed"
    )
    found["lips.closed.recall"] = number(
        _share(widen(closed, near)[should]), "the true lips are never closed"
    )
    return found


def find_closed(gap: Curve) -> Bool[np.ndarray, " frames"]:
    """Frames with closed lips, relative to how this face closes and opens them."""
    known = gap[np.isfinite(gap)]
    if not len(known):
        return np.zeros(len(gap), bool)
    low, high = np.percentile(known, [5, 95])
    return gap < min(max(low + _CLOSED_SHARE * (high - low), CLOSED[0]), CLOSED[1])


def find_silence(footage: Footage) -> Bool[np.ndarray, " frames"]:
    """Frames in stretches of at least a quarter second without voice; none without sound."""
    quiet_steps = np.zeros(0, bool)
    if len(footage.energy):
        loud = max(float(np.percentile(footage.energy, 95)), -3.0)
        quiet_steps = footage.energy < loud - SILENT_BELOW
    steps = ((footage.times_s + 0.5 / footage.fps) * 100).astype(int)
    inside = steps < len(quiet_steps)
    quiet = np.zeros(footage.n_frames, bool)
    quiet[inside] = quiet_steps[steps[inside]]
    return _long_runs(quiet, max(round(_SILENT_S * footage.fps), 1))


def _long_runs(marks: Bool[np.ndarray, " frames"], least: int) -> Bool[np.ndarray, " frames"]:
    """Only the marks that stand in rows of at least so many."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marks.astype(int), [0]])))
    kept = np.zeros(len(marks), bool)
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        kept[start:stop] = stop - start >= least
    return kept


def widen(marks: Bool[np.ndarray, " frames"], by: int) -> Bool[np.ndarray, " frames"]:
    """Marks with so many frames on either side."""
    return np.convolve(marks, np.ones(2 * by + 1), "same") > 0.5


def _share(marks: np.ndarray) -> float:
    return float(marks.mean()) if len(marks) else math.nan


def _deviation(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.std()) if len(known) > 2 else math.nan
