"""Where in a frame the networks look."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8

from emote_cli.media.image import cut_window
from emote_cli.types import Box, Pixels

FPS = 25
"""Frames per second that moving pictures are looked at with."""

_MARGIN = 0.4
"""What SyncNet's crop adds to the face's box, as a share of half its side: once to the left and right, twice below."""
_SMOOTH = 13
_GRAY = 110


def frames_at_25(n_frames: int, fps: float) -> Int[np.ndarray, " shown"]:
    """Which frame is shown at each 25th of a second: the nearest."""
    shown = np.floor(np.arange(round(n_frames * FPS / fps)) * fps / FPS + 0.5).astype(int)
    return np.minimum(shown, n_frames - 1)


def lip_squares(boxes_px: Float[np.ndarray, "shown 4"]) -> list[Box]:
    """SyncNet's squares around faces: their boxes with room, most of it below, smoothed by medians over 13 frames.

    Frames without a face take what lies between those around them.

    Args:
        boxes_px: of the face in each shown frame; NaN without one. At least one is known.
    """
    known = np.flatnonzero(np.isfinite(boxes_px[:, 0]))
    columns = [np.interp(np.arange(len(boxes_px)), known, boxes_px[known, k]) for k in range(4)]
    x0, y0, x1, y1 = columns
    half = _median(np.maximum(x1 - x0, y1 - y0) / 2)
    x, y = _median((x0 + x1) / 2), _median((y0 + y1) / 2)
    side = 1 + _MARGIN
    rows = np.stack([x - side * half, y - half, x + side * half, y + half * (1 + 2 * _MARGIN)], 1)
    return [Box(*map(float, row)) for row in rows]


def cut_lips(frame: Pixels, square: Box, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """What SyncNet sees of a frame; gray outside of the picture, as it learned."""
    return cut_window(frame, square, side, _GRAY)


def _median(values: Float[np.ndarray, " shown"]) -> Float[np.ndarray, " shown"]:
    around = np.pad(values, _SMOOTH // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(around, _SMOOTH), axis=1)
