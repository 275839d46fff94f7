"""How sharp mouth and eyes are, and what color the inside of the mouth has."""

from __future__ import annotations

import math

import numpy as np

from emote_cli.evaluation.findings import Findings, Measure, median_known, number
from emote_cli.evaluation.footage import Footage

_FEWEST = 5
"""Frames with an open mouth below which its inside is not judged."""

MEASURES = {
    "sharpness.mouth": Measure(
        "sharpness of the mouth",
        "Median variance of the Laplacian of gray values around the lips, the face scaled as in a 256-pixel picture.", notable=None,
    ),
    "sharpness.eyes": Measure("sharpness of the eyes", "The same around eyes and brows.", notable=None),
    "sharpness.mouth_ratio": Measure("sharpness of the mouth over the true one's", "sharpness.mouth over the true video's.", better="one", notable=0.2),
    "sharpness.eyes_ratio": Measure("sharpness of the eyes over the true one's", "sharpness.eyes over the true video's.", better="one", notable=0.2),
    "mouth.inside_b": Measure(
        "color inside the mouth", "Median b* (CIELAB, blue to yellow) inside the lips where they are open (gap above 0.06).", notable=None
    ),
    "mouth.inside_b_difference": Measure("color inside the mouth less the true one", "mouth.inside_b less the true video's.", better="zero", notable=3),
}  # fmt: skip


def measure_sharpness(footage: Footage, truth: Footage | None = None) -> Findings:
    """All of `MEASURES` that can be told."""
    ours, open_reason = _values(footage), f"the mouth is open in fewer than {_FEWEST} frames"
    found: Findings = {
        "sharpness.mouth": number(ours["mouth"], "no face"),
        "sharpness.eyes": number(ours["eyes"], "no face"),
        "mouth.inside_b": number(ours["inside_b"], open_reason),
    }
    if truth is not None:
        theirs = _values(truth)
        for name in ("mouth", "eyes"):
            ratio = ours[name] / theirs[name] if theirs[name] > 0 else math.nan
            found[f"sharpness.{name}_ratio"] = number(ratio, "no face")
        found["mouth.inside_b_difference"] = number(ours["inside_b"] - theirs["inside_b"], open_reason)
    return found


def _values(footage: Footage) -> dict[str, float]:
    inside = footage.inside_lab[:, 2]
    return {
        "mouth": median_known(footage.mouth_sharpness),
        "eyes": median_known(footage.eyes_sharpness),
        "inside_b": median_known(inside) if np.isfinite(inside).sum() >= _FEWEST else math.nan,
    }
