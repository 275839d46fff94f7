"""Lengths, rates and offsets of picture and sound."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from emote_cli.evaluation.findings import Findings, Measure, correlate_shifted, find_peak, number
from emote_cli.evaluation.footage import Footage

_STEP_MS = 10
_REACH_STEPS = 100

MEASURES = {
    "face.found": Measure("frames with a face", "Share of frames in which MediaPipe finds a face.", better="one", notable=0.01),
    "timing.fps": Measure("frame rate", "As the container says.", "1/s", notable=None),
    "timing.seconds": Measure("length", "Number of frames over the frame rate.", "s", notable=None),
    "timing.sound_longer_ms": Measure(
        "sound longer than picture", "Length of the sound less that of the picture.", "ms", "zero", notable=40
    ),
    "timing.fps_ratio": Measure("frame rate over the true one", "timing.fps over the true video's.", better="one", notable=0.001),
    "timing.sound_late_ms": Measure(
        "sound late against the true video's", "Shift, up to 1 s, at which the energies of both sounds agree best.", "ms", "zero", notable=40
    ),
}  # fmt: skip


def measure_timing(footage: Footage, truth: Footage | None = None) -> Findings:
    """All of `MEASURES` that can be told."""
    no_sound = "the video has no sound"
    has_sound = len(footage.energy) > 0
    found: Findings = {
        "face.found": float(footage.found.mean()),
        "timing.fps": footage.fps,
        "timing.seconds": footage.seconds,
        "timing.sound_longer_ms": (footage.sound_s - footage.seconds) * 1000 if has_sound else no_sound,
    }
    if truth is not None:
        found["timing.fps_ratio"] = footage.fps / truth.fps
        both = has_sound and len(truth.energy) > 0
        late_ms = _sound_late_ms(footage.energy, truth.energy) if both else float("nan")
        found["timing.sound_late_ms"] = number(
            late_ms, "one of the sounds is missing, silent, or shorter than 2 s"
        )
    return found


def _sound_late_ms(ours: Float[np.ndarray, " steps"], theirs: Float[np.ndarray, " true_steps"]) -> float:
    return find_peak(correlate_shifted(ours, theirs, _REACH_STEPS))[0] * _STEP_MS
