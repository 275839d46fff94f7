"""What the lips of a clip do, as three numbers per frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from emote_cli.perception.geometry import measure_gap

LEFT_CORNER, RIGHT_CORNER = 61, 291
USUAL_DEVIATION = np.array([0.11, 0.027, 0.019])
"""Of jaw opening, lip gap and mouth width in speech; it only sets their unit."""
N_LIPS = 3
KNOWN = "lips"
"""Name of the array in which a track may say what the lips do, for data sets that know it better than MediaPipe, which
sees little of it behind a beard."""


def lip_values(tracks: Mapping[str, Any]) -> Float[np.ndarray, "frames 3"]:
    """Compute jaw opening (MediaPipe), lip gap and mouth width (over the face's height), less the clip's medians.

    Args:
        tracks: the arrays of a prepared clip's `tracks/<id>.npz`; one of the name `lips` [frames 3] counts as it is.

    Returns:
        In units of their usual deviation; NaN where no face was found.

    Raises:
        ValueError: the track's own `lips` are not three numbers for each of its frames.
    """
    if KNOWN in tracks:
        known = np.asarray(tracks[KNOWN], np.float32)
        if known.shape != (len(tracks["found"]), N_LIPS):
            raise ValueError(f"lips have the shape {known.shape}, not ({len(tracks['found'])}, {N_LIPS})")
        return known
    points, boxes = tracks["landmarks_px"][..., :2], tracks["box_px"]
    height = boxes[:, 3] - boxes[:, 1]
    gap = measure_gap(points) / height
    corners = np.linalg.norm(points[:, LEFT_CORNER] - points[:, RIGHT_CORNER], axis=1) / height
    lips = np.stack([tracks["jaw_open"], gap, corners], 1)
    seen = np.isfinite(lips).all(1)
    lips[~seen] = np.nan
    if seen.any():
        lips = (lips - np.median(lips[seen], 0)) / USUAL_DEVIATION
    return lips.astype(np.float32)
