"""Whether lips keep to the sound, without any true video: lips told by the sound against lips seen in the picture."""

from __future__ import annotations

import math

import numpy as np

from emote_cli.evaluation.findings import (
    Findings,
    Measure,
    chance_bound,
    correlate_shifted,
    find_peak,
    number,
)
from emote_cli.evaluation.footage import Footage
from emote_cli.evaluation.lips import lips_of

REACH_S = 0.6
"""Lags up to this are looked for: further off, one syllable matches another."""

MEASURES = {
    "sync.correlation": Measure(
        "lips keep to the sound",
        "Correlation of the lips' opening (as in lips.correlation) with what the sound tells of it, at the best lag. The bundled ears tell it, and `mini` hears by the same:"
        " compare its number with other editions', not with other models'.",
        better="higher",
    ),
    "sync.lag_ms": Measure(
        "lips late against the sound", "The lag, up to 0.6 s, at which they agree best; negative: the lips come first. Not found where they agree no"
        " better than the best of all lags does by chance in one case of a hundred.", "ms", "zero", notable=40
    ),
    "sync.confidence": Measure(
        "how sure the lag is", "Correlation at the best lag less the median over all lags.", better="higher"
    ),
}  # fmt: skip


def measure_sync(footage: Footage) -> Findings:
    """All of `MEASURES`; a lag is told only where lips and sound agree at all."""
    if not len(footage.energy):
        return dict.fromkeys(MEASURES, "the video has no sound")
    opening = lips_of(footage).opening
    reach = round(REACH_S * footage.fps)
    shifts = correlate_shifted(opening, footage.heard, reach)
    place, height = find_peak(shifts)
    median = float(np.nanmedian(shifts)) if np.isfinite(shifts).any() else math.nan
    reason = "lips or sound stay still, or the video is shorter than 1.5 s"
    chance = chance_bound(opening, footage.heard, reach)
    lost = f"not found: the best correlation is {height:.2f}, and chance reaches {chance:.2f}"
    if abs(place) == reach:
        lost = f"not found: lips and sound agree best at {REACH_S:g} s or beyond"
    lag_ms = number(place * 1000 / footage.fps, reason)
    return {
        "sync.correlation": number(height, reason),
        "sync.lag_ms": lost if height < chance or abs(place) == reach else lag_ms,
        "sync.confidence": number(height - median, reason),
    }
