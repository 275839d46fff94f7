"""A strip of small pictures of each clip, accepted or not, for the report."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from emote_cli.errors import OutputError
from emote_cli.files import write_file
from emote_cli.media.image import crop_and_resize, resize
from emote_cli.types import Box, Pixels

THUMB_FRAMES = 6
THUMB_PX = 96
_THUMB_SOURCE_WIDTH = 640


class ThumbStrip:
    """Collects a few frames of a segment as they go by, for a strip of small pictures.

    Args:
        n_frames: length of the segment.
    """

    def __init__(self, n_frames: int) -> None:
        self._wanted = {(2 * i + 1) * n_frames // (2 * THUMB_FRAMES) for i in range(THUMB_FRAMES)}
        self._frames: list[Pixels] = []
        self._scale = 1.0

    def add(self, index: int, frame: Pixels) -> None:
        """Take in frame `index` of the segment."""
        if index in self._wanted:
            height, width = frame.shape[:2]
            self._scale = min(1.0, _THUMB_SOURCE_WIDTH / width)
            size = (max(1, round(width * self._scale)), max(1, round(height * self._scale)))
            self._frames.append(resize(frame, size))

    def write(self, path: Path, crop_px: Box | None) -> None:
        """Write the strip as JPEG: the crop of each frame, or all of it where there is none.

        Raises:
            OutputError: the folder is missing, full or not writable.
        """
        if not self._frames:
            return
        strip = np.hstack([self._small(frame, crop_px) for frame in self._frames])
        good, data = cv2.imencode(".jpg", strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
        if not good:
            raise OutputError(f"cannot encode {path}", hint="please report this")
        write_file(path, lambda file: file.write(data.tobytes()))

    def _small(self, frame: Pixels, crop_px: Box | None) -> UInt8[np.ndarray, "rows columns 3"]:
        if crop_px is None:
            return resize(frame, (max(1, round(THUMB_PX * frame.shape[1] / frame.shape[0])), THUMB_PX))
        k = self._scale
        x0, y0, side = round(crop_px.x0 * k), round(crop_px.y0 * k), max(1, round(crop_px.width * k))
        return crop_and_resize(frame, Box(x0, y0, x0 + side, y0 + side), THUMB_PX)
