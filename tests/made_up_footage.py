"""A made-up clip, as numbers: what `emote evaluate` would see in ten seconds of a talking head."""

from pathlib import Path

import numpy as np

from emote_cli.evaluation.evaluate import Evaluation, measure
from emote_cli.evaluation.footage import Footage
from emote_cli.evaluation.identity import compare_with

FRAMES, FPS = 250, 25.0


def waves(seed: int) -> np.ndarray:
    """A smooth curve, 0..1, as lips make."""
    rng = np.random.default_rng(seed)
    curve = np.convolve(rng.random(FRAMES + 8), np.ones(5) / 5, "same")[4:-4]
    return (curve - curve.min()) / np.ptp(curve)


def footage(**changes: object) -> Footage:
    """A made-up clip in which nothing is wrong."""
    lips = waves(1)
    values: dict[str, object] = {
        "fps": FPS, "width": 256, "height": 256, "sound_s": FRAMES / FPS, "found": np.ones(FRAMES, bool),
        "boxes_px": np.tile(np.array([60.0, 60, 190, 210]), (FRAMES, 1)),
        "mouths_px": np.tile(np.array([105.0, 160, 145, 185]), (FRAMES, 1)), "turn": np.tile(np.eye(3), (FRAMES, 1, 1)),
        "expressions": np.tile(np.linspace(0, 1, 52), (FRAMES, 1)),
        "jaw": lips * 0.4, "gap": lips * 0.3, "width_of_mouth": 0.6 + 0.05 * waves(2), "lids": np.full(FRAMES, 0.3),
        "change": 1 + 0.1 * waves(3), "still_change": np.full(FRAMES, 0.2), "mouth_sharpness": np.full(FRAMES, 50.0),
        "eyes_sharpness": np.full(FRAMES, 80.0), "skin_lab": np.tile(np.array([60.0, 15, 20]), (FRAMES, 1)),
        "inside_lab": np.tile(np.array([30.0, 20, 8]), (FRAMES, 1)), "heard": lips,
        "energy": np.interp(np.arange(FRAMES * 4) / 4, np.arange(FRAMES), lips), "looked": np.arange(0, FRAMES, 5),
        "identity": np.tile(np.eye(1, 7), (FRAMES // 5, 1)),
    }  # fmt: skip
    return Footage(**{**values, **changes})  # type: ignore[arg-type]


def evaluation(video: Path, seen: Footage, truth: Evaluation | None = None) -> Evaluation:
    """What is measured of it, against a true one or alone."""
    found = measure(seen, truth.footage if truth else None, np.eye(1, 7)[0], chunk_frames=12)
    numbers = {name: value for name, value in found.items() if isinstance(value, float)}
    reasons = {name: value for name, value in found.items() if isinstance(value, str)}
    return Evaluation(video, numbers, reasons, seen, compare_with(seen, np.eye(1, 7)[0]), 12, truth)
