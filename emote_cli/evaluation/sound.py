"""How clean the sound is."""

from __future__ import annotations

import math

import numpy as np

from emote_cli.evaluation.findings import Findings, Measure, number
from emote_cli.evaluation.footage import Footage

_QUIET, _LOUD = 10, 95
"""Percentiles of the level: between words, and in loud vowels."""

MEASURES = {
    "sound.noise_db": Measure(
        "noise under the speech",
        "Level of the quiet moments (10th percentile of steps of 10 ms, between 700 and 7,000 Hz) less that of the loud ones"
        " (95th percentile).",
        "dB",
        "lower",
        notable=6,
    ),
}  # fmt: skip


def measure_sound(footage: Footage) -> Findings:
    """All of `MEASURES`."""
    if not len(footage.energy):
        return dict.fromkeys(MEASURES, "the video has no sound")
    quiet, loud = (float(np.percentile(footage.energy, share)) for share in (_QUIET, _LOUD))
    heard = loud > float(footage.energy.min())
    return {"sound.noise_db": number(20 * (quiet - loud) if heard else math.nan, "the sound is silent")}
