"""How the head moves and the eyes blink."""

from __future__ import annotations

import math

import numpy as np

from emote_cli.evaluation.findings import Curve, Findings, Measure, median_around, number
from emote_cli.evaluation.footage import Footage
from emote_cli.perception.tracking import rotation_speed_deg_s

BUCKET_CENTERS_DEG_S = tuple(np.linspace(0, 1.8, 10) * 30)
"""EMO's nine to ten head speeds as its network is told them: 0 to 1.8 degrees per frame at 30 fps."""

_SHUT, _OPEN = 0.8, 0.9
"""Shares of the usual opening: below the first a blink begins, above the second it has ended."""
_LONGEST_BLINK_S = 0.7
_USUAL_S = 4.0

MEASURES = {
    "head.speed_deg_s": Measure(
        "head speed", "Mean angle per second between smoothed head rotations (MediaPipe; Gaussian of 60 ms).", "deg/s", notable=3
    ),
    "head.speed_p95_deg_s": Measure("head speed, fast moments", "Its 95th percentile.", "deg/s", notable=6),
    "head.bucket": Measure("EMO's speed bucket", "Number of EMO's ten speeds (0 to 1.8 degrees per frame of 30 fps) that is nearest to the mean.", notable=1),
    "blinks.per_minute": Measure(
        "blinks", "Times per minute at which the opening between the lids (landmarks; over the eye's width) falls below 80 % of what is usual"
        " there (median of 4 s) and is above 90 % again within 0.7 s.", "1/min", notable=8
    ),
}  # fmt: skip


def measure_head(footage: Footage) -> Findings:
    """All of `MEASURES`."""
    speed = head_speed(footage)
    known = speed[np.isfinite(speed)]
    mean = float(known.mean()) if len(known) else math.nan
    bucket = float(np.abs(np.array(BUCKET_CENTERS_DEG_S) - mean).argmin()) if len(known) else math.nan
    minutes = footage.found.sum() / footage.fps / 60
    return {
        "head.speed_deg_s": number(mean, "no face in two frames that follow each other"),
        "head.speed_p95_deg_s": number(
            float(np.percentile(known, 95)) if len(known) else math.nan, "no face in two frames"
        ),
        "head.bucket": number(bucket, "no face in two frames that follow each other"),
        "blinks.per_minute": number(count_blinks(footage) / minutes if minutes else math.nan, "no face"),
    }


def head_speed(footage: Footage) -> Curve:
    """Degrees per second in each frame."""
    return rotation_speed_deg_s(footage.turn, footage.found, footage.fps)


def count_blinks(footage: Footage) -> int:
    """How often the eyes close and open again."""
    usual = median_around(footage.lids, round(_USUAL_S * footage.fps) // 2)
    longest = _LONGEST_BLINK_S * footage.fps
    count, began = 0, None
    for frame, share in enumerate(footage.lids / usual):
        if began is None and share < _SHUT:
            began = frame
        elif began is not None and share > _OPEN:
            count += frame - began <= longest
            began = None
    return count
