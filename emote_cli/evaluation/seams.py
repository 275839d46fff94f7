"""Seams: whether pictures jump where one chunk of frames ends and the next begins."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from emote_cli.evaluation.findings import Findings, Measure, median_around, number
from emote_cli.evaluation.footage import Footage

PERIODS = range(4, 65)
"""Chunk lengths that are looked for, in frames."""

_SURE = 4.5
"""A chunk length is believed from this many standard errors on; there are some two thousand ways to be wrong."""
_LEAST_SEAMS = 4
_SURE_IN_HALF = 3.0
"""And from this many in each half of the video by itself."""

MEASURES = {
    "seams": Measure(
        "jumps at seams",
        "Mean change from frame to frame (gray values around the face) across seams over that inside chunks, both relative"
        " to their neighbors. Chunks are as long as said (--chunk-frames), or as found: the same regular jump stands out in"
        " both halves of the video. Not known where there is none.",
        better="one",
    ),
    "seams.period": Measure("chunk length", "Frames from seam to seam, as said or found.", "frames", notable=None),
}  # fmt: skip


def measure_seams(footage: Footage, chunk_frames: int | None = None) -> Findings:
    """All of `MEASURES`.

    Args:
        footage: the video.
        chunk_frames: from seam to seam, with the first seam after so many frames; None looks for it.
    """
    relative = relative_change(footage)
    if np.isfinite(relative).sum() < 2 * PERIODS[0]:
        return dict.fromkeys(MEASURES, "too few frames")
    if chunk_frames is not None:
        ratio, _ = compare_seams(relative, chunk_frames, 0)
        reason = f"no seam: the video is shorter than two chunks of {chunk_frames} frames, or stands still"
        return {"seams": number(ratio, reason), "seams.period": float(chunk_frames)}
    period, phase = find_period(relative)
    if not period:
        return dict.fromkeys(
            MEASURES, "not known: no regular jump stands out; --chunk-frames says where seams are"
        )
    return {"seams": compare_seams(relative, period, phase)[0], "seams.period": float(period)}


def relative_change(footage: Footage) -> Float[np.ndarray, " frames"]:
    """Change of each frame over the median of the nine around it: speech that gets livelier is no seam."""
    change = footage.change
    if len(change) < 9:
        return np.full(len(change), np.nan)
    usual = median_around(change, 4)
    floor = max(float(np.nanmedian(change)) * 0.05, 1e-3) if np.isfinite(change).any() else 1e-3
    return change / np.maximum(usual, floor)


def compare_seams(relative: Float[np.ndarray, " frames"], period: int, phase: int) -> tuple[float, float]:
    """Mean at the seams over mean elsewhere, and how many standard errors lie between; NaN where it cannot be told."""
    at_seam = np.arange(len(relative)) % period == phase
    at_seam[0] = False
    seams, inside = (relative[marks & np.isfinite(relative)] for marks in (at_seam, ~at_seam))
    if not len(seams) or not len(inside) or inside.mean() <= 0:
        return math.nan, 0.0
    if len(seams) < _LEAST_SEAMS:
        return float(seams.mean() / inside.mean()), 0.0
    error = max(float(inside.std()), 0.02) / math.sqrt(len(seams))
    return float(seams.mean() / inside.mean()), float((seams.mean() - inside.mean()) / error)


def find_period(relative: Float[np.ndarray, " frames"]) -> tuple[int, int]:
    """The chunk length and the place of the first seam that explain the changes best; (0, 0) where none does surely.

    A true seam is large each time, not large once: the lower half of its changes counts.
    """
    best, found = _SURE, (0, 0)
    for period in PERIODS:
        for phase in range(period):
            places = np.arange(phase or period, len(relative), period)
            values = relative[places]
            values = values[np.isfinite(values)]
            if len(values) < _LEAST_SEAMS or np.percentile(values, 25) < 1.05:
                continue
            _, sure = compare_seams(relative, period, phase)
            if sure > best * 1.05 and _stands_in_halves(relative, period, phase):
                best, found = sure, (period, phase)
    return found


def _stands_in_halves(relative: Float[np.ndarray, " frames"], period: int, phase: int) -> bool:
    """Whether the seams show in each half of the video by itself."""
    middle = len(relative) // 2
    halves = ((relative[:middle], phase), (relative[middle:], (phase - middle) % period))
    return all(compare_seams(half, period, shift)[1] >= _SURE_IN_HALF for half, shift in halves)
