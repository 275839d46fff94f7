"""Heads held still: every frame of a clip is warped so that the middle of its face lies where it usually lies.

A network without a picture prior learns first what moves most, and in most clips that is the head; what the lips do
drowns in it. Training the mini on steadied clips leaves the lips as the main thing that differs between two frames.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float

from emote_cli.types import Pixels

ANCHORS = (33, 133, 362, 263, 168, 6, 197, 195, 98, 327, 2)
"""MediaPipe's landmarks that speech does not move: corners of the eyes, bridge, wings and base of the nose."""

Affines = Float[np.ndarray, "frames 2 3"]


def steadying(landmarks_px: Float[np.ndarray, "frames 478 _"], found: Bool[np.ndarray, " frames"]) -> Affines:
    """Per frame the affine map that brings the anchors to their mean place in the clip, by least squares.

    Frames without a face get the identity.
    """
    still = np.tile(np.eye(2, 3), (len(found), 1, 1))
    if not found.any():
        return still
    anchors = landmarks_px[:, ANCHORS, :2].astype(np.float64)
    home = anchors[found].mean(0)
    ones = np.ones((len(ANCHORS), 1))
    for frame in np.flatnonzero(found):
        solution, *_ = np.linalg.lstsq(np.hstack([anchors[frame], ones]), home, rcond=None)
        still[frame] = solution.T
    return still


def rescaled(affines: Affines, scale: float) -> Affines:
    """The same maps for pictures `scale` times as large."""
    return affines * np.array([1, 1, scale])


def followed_by(affines: Affines, last: Float[np.ndarray, "2 3"]) -> Affines:
    """The maps that do what each of `affines` does, and then what `last` does."""
    joined = last[:, :2] @ affines
    joined[:, :, 2] += last[:, 2]
    return joined


def warped(frame: Pixels, affine: Float[np.ndarray, "2 3"]) -> Pixels:
    """A frame moved by an affine map; what comes in from outside repeats the edge."""
    height, width = frame.shape[:2]
    moved = cv2.warpAffine(
        frame, affine, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)


def moved_boxes(boxes_px: Float[np.ndarray, "frames 4"], affines: Affines) -> Float[np.ndarray, "frames 4"]:
    """Boxes around what the maps make of the corners of boxes."""
    corners = boxes_px[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2)
    moved = np.einsum("fij,fkj->fki", affines[:, :, :2], corners) + affines[:, None, :, 2]
    return np.concatenate([moved.min(1), moved.max(1)], 1).astype(boxes_px.dtype)
