"""Whether the face stays the person's: SFace's cosines with a reference face."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from emote_cli.evaluation.findings import MISSING, Findings, Measure, median_known, number, split_windows
from emote_cli.evaluation.footage import Footage

MEASURES = {
    "identity.median": Measure(
        "same person",
        "Median cosine of SFace's vectors of every fifth frame with that of the portrait (without a portrait: the true"
        " video's first frame with a face; without either: the video's own).",
        better="higher",
        notable=0.05,
    ),
    "identity.p5": Measure("same person, worst frames", "The 5th percentile of these cosines.", better="higher", notable=0.05),
    "identity.worst_10s": Measure(
        "same person, worst stretch", "The lowest median of a stretch of 10 s (a third of shorter videos).", better="higher", notable=0.05
    ),
}  # fmt: skip


def measure_identity(footage: Footage, reference: Float[np.ndarray, " d"] | None) -> Findings:
    """All of `MEASURES`.

    Args:
        footage: the video.
        reference: SFace's vector of the person; None takes the video's first.
    """
    if not footage.identity.size:
        return dict.fromkeys(MEASURES, MISSING)
    cosines = compare_with(footage, reference)
    medians = median_per_stretch(footage, cosines)
    return {
        "identity.median": float(np.median(cosines)),
        "identity.p5": float(np.percentile(cosines, 5)),
        "identity.worst_10s": number(
            min((float(m) for m in medians if math.isfinite(m)), default=math.nan), "no face"
        ),
    }


def compare_with(footage: Footage, reference: Float[np.ndarray, " d"] | None) -> Float[np.ndarray, " looks"]:
    """Cosine of each look with the reference, or with the first look; empty without any look."""
    if not footage.identity.size:
        return np.zeros(0)
    return footage.identity @ (footage.identity[0] if reference is None else reference)


def median_per_stretch(
    footage: Footage, cosines: Float[np.ndarray, " looks"]
) -> Float[np.ndarray, " stretches"]:
    """The median of each stretch of 10 s (`split_windows`); NaN where no frame was looked at."""
    parts = split_windows(footage.n_frames, footage.fps)
    looks = [(footage.looked >= part.start) & (footage.looked < part.stop) for part in parts]
    return np.array([median_known(cosines[look]) for look in looks])
