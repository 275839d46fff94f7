"""How the head moves and the eyes blink."""

from __future__ import annotations

import math

import numpy as np

from emote_cli.evaluation.findings import Curve, Findings, Measure, number
from emote_cli.evaluation.footage import Footage
from emote_cli.perception.tracking import rotation_speed_deg_s

BUCKET_CENTERS_DEG_S = tuple(np.linspace(0, 1.8, 10) * 30)
"""EMO's nine to ten head speeds as its network is told them: 0 to 1.8 degrees per frame at 30 fps."""

_CLOSING, _OPENING = 0.25, 0.15
"""Above the video's usual blink value: here a blink begins, and here it has ended."""
_LONGEST_BLINK_S = 0.7

MEASURES = {
    "head.speed_deg_s": Measure(
        "head speed", "Mean angle per second between smoothed head rotations (MediaPipe; Gaussian of 60 ms).", "deg/s", notable=3
    ),
    "head.speed_p95_deg_s": Measure("head speed, fast moments", "Its 95th percentile.", "deg/s", notable=6),
    "head.bucket": Measure("EMO's speed bucket", "Number of EMO's ten speeds (0 to 1.8 degrees per frame of 30 fps) that is nearest to the mean.", notable=1),
    "blinks.per_minute": Measure(
        "blinks", "Times per minute at which MediaPipe's eyeBlink rises by 0.25 above its median and falls again within 0.7 s.", "1/min", notable=8
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
    blink = footage.blink
    if not np.isfinite(blink).any():
        return 0
    usual, longest = float(np.nanmedian(blink)), _LONGEST_BLINK_S * footage.fps
    count, began = 0, None
    for frame, value in enumerate(blink):
        if began is None and value > usual + _CLOSING:
            began = frame
        elif began is not None and value < usual + _OPENING:
            count += frame - began <= longest
            began = None
    return count
