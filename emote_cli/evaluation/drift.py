"""What should stay as it is over time: the background from frame to frame, face and colors from minute to minute."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from emote_cli.evaluation.findings import Findings, Measure, median_known, number, split_windows
from emote_cli.evaluation.footage import Footage
from emote_cli.evaluation.identity import MISSING, compare_with

MEASURES = {
    "flicker.background": Measure(
        "flicker of the background",
        "Median over frames of the mean change of gray values (0..255) beside the head and above the chin, in a picture of 256 pixels.",
    ),
    "drift.identity": Measure(
        "the face changes", "Largest fall of the identity's median from the first stretch of 10 s to a later one (thirds of shorter videos).", better="zero"
    ),
    "drift.brightness": Measure(
        "brightness changes", "Largest change of the upper face's median L* (0..100) from the first stretch to another.", "L*", "zero"
    ),
    "drift.color": Measure("color changes", "The same in the plane of a* and b*.", "a*b*", "zero"),
    "drift.sharpness": Measure(
        "sharpness changes", "The same of the sharpness around the eyes, as a share of the first stretch's.", better="zero"
    ),
}  # fmt: skip


def measure_drift(footage: Footage, reference: Float[np.ndarray, " d"] | None = None) -> Findings:
    """All of `MEASURES`; see `measure_identity` for the reference."""
    windows = split_windows(footage.n_frames, footage.fps)
    lab = np.array([[median_known(footage.skin_lab[part, k]) for k in range(3)] for part in windows])
    eyes = np.array([median_known(footage.eyes_sharpness[part]) for part in windows])
    no_face = "a stretch of the video shows no face"
    found: Findings = {
        "flicker.background": number(
            median_known(footage.still_change), "there is no room beside the head, or no face"
        ),
        "drift.brightness": number(float(np.abs(lab[:, 0] - lab[0, 0]).max()), no_face),
        "drift.color": number(float(np.linalg.norm(lab[:, 1:] - lab[0, 1:], axis=1).max()), no_face),
        "drift.sharpness": number(float(np.abs(eyes / max(eyes[0], 1e-6) - 1).max()), no_face),
        "drift.identity": MISSING,
    }
    if footage.identity.size:
        cosines, looked = compare_with(footage, reference), footage.looked
        medians = np.array(
            [median_known(cosines[(looked >= part.start) & (looked < part.stop)]) for part in windows]
        )
        found["drift.identity"] = number(float((medians[0] - medians).max()), no_face)
    return found
