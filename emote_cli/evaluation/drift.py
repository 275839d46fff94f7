"""What should stay as it is over time: the background from frame to frame, face and colors from minute to minute."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from emote_cli.evaluation.findings import MISSING, Findings, Measure, median_known, number, split_windows
from emote_cli.evaluation.footage import Footage
from emote_cli.evaluation.identity import compare_with, median_per_stretch

MEASURES = {
    "flicker.background": Measure(
        "flicker of the background",
        "Median over frames of the mean change of gray values (0..255) beside the head and above the chin, in a picture of 256 pixels.", notable=0.5,
    ),
    "drift.identity": Measure(
        "the face changes", "Largest fall of the identity's median from the first stretch of 10 s to a later one (thirds of shorter videos).", better="zero", notable=0.05
    ),
    "drift.brightness": Measure(
        "brightness changes", "Largest change of the upper face's median L* (0..100) from the first stretch to another.", "L*", "zero", notable=2
    ),
    "drift.color": Measure("color changes", "The same in the plane of a* and b*.", "a*b*", "zero", notable=2),
    "drift.sharpness": Measure(
        "sharpness changes", "The same of the sharpness around the eyes, as a share of the first stretch's.", better="zero", notable=0.2
    ),
}  # fmt: skip


def measure_drift(footage: Footage, reference: Float[np.ndarray, " d"] | None = None) -> Findings:
    """All of `MEASURES`; see `measure_identity` for the reference."""
    series = follow_stretches(footage, compare_with(footage, reference))
    lab = np.stack([series[f"skin.{axis}"] for axis in ("L", "a", "b")], axis=1)
    eyes = series["sharpness.eyes"]
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
        medians = series["identity"]
        found["drift.identity"] = number(float((medians[0] - medians).max()), no_face)
    return found


def follow_stretches(
    footage: Footage, cosines: Float[np.ndarray, " looks"]
) -> dict[str, Float[np.ndarray, " stretches"]]:
    """Medians of each stretch of 10 s (thirds of shorter videos); NaN where nothing is known.

    Args:
        footage: the video.
        cosines: its identity (`compare_with`); empty where that was not measured.

    Returns:
        `start_s` of each stretch; `identity` (cosine), `skin.L`, `skin.a`, `skin.b` (CIELAB of the upper face),
        `sharpness.eyes` and `sharpness.mouth` (variance of the Laplacian).
    """
    parts = split_windows(footage.n_frames, footage.fps)
    curves = {f"skin.{axis}": footage.skin_lab[:, k] for k, axis in enumerate("Lab")}
    curves |= {"sharpness.eyes": footage.eyes_sharpness, "sharpness.mouth": footage.mouth_sharpness}
    series = {name: np.array([median_known(curve[part]) for part in parts]) for name, curve in curves.items()}
    start_s = np.array([part.start / footage.fps for part in parts])
    return {"start_s": start_s, "identity": median_per_stretch(footage, cosines), **series}
