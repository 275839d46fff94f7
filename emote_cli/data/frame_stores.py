"""Frames and features of a clip that stay on the disk and are read where they are looked at."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from emote_cli.data.manifest import ClipRecord
from emote_cli.errors import DataError
from emote_cli.media.video import read_frames
from emote_cli.model.autoencoder import to_tensor


class StoredLatents:
    """Latents on the disk, read frame by frame; safe to copy into worker processes.

    Args:
        path: of the cache entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, "pt") as file:
            self.shape = tuple(file.get_slice("latents").get_shape())

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> Tensor:
        rows = np.asarray(index)
        first, last = int(rows.min()), int(rows.max())
        with safe_open(self.path, "pt") as file:
            stored = file.get_slice("latents")
            if rows.ndim == 0:
                one: Tensor = stored[first : first + 1]
                return one[0]
            if last - first < 2 * rows.size:
                window: Tensor = stored[first : last + 1]
                return window[torch.from_numpy(rows - first)]
            each = [stored[int(row) : int(row) + 1][0] for row in rows.reshape(-1)]
        return torch.stack(each)


class VideoFrames:
    """Pictures of a clip in [-1, 1]; only the asked-for frames are decoded, and two seconds before them.

    Args:
        path: of the clip's video.
        record: of the clip.
        size: side in pixels to which frames are scaled.
    """

    def __init__(self, path: Path, record: ClipRecord, size: int) -> None:
        self.path, self.fps, self.count, self.size = path, record.fps, record.frames, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Tensor:
        rows = np.asarray(index)
        if rows.ndim == 0:
            return self._span(int(rows), int(rows))[0]
        first, last = int(rows.min()), int(rows.max())
        if last - first < 4 * rows.size:
            return self._span(first, last)[torch.from_numpy(rows - first)]
        return torch.stack([self._span(int(row), int(row))[0] for row in rows])

    def _span(self, first: int, last: int) -> Float[Tensor, "f 3 h w"]:
        frames = read_frames(
            self.path,
            fps=self.fps,
            size=(self.size, self.size),
            start_s=first / self.fps,
            duration_s=(last - first + 1) / self.fps,
        )
        pixels = to_tensor(np.stack(list(frames)))
        if len(pixels) != last - first + 1:
            raise DataError(f"{self.path} ends before frame {last}", "prepare the data set again")
        return pixels


def map_tensor(path: Path, name: str) -> Float[np.ndarray, "frames layers embed"]:
    """Map one fp16 tensor of a safetensors file: an array that reads the disk only where it is looked at."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))[name]
    return np.memmap(path, np.float16, "r", 8 + length + entry["data_offsets"][0], tuple(entry["shape"]))
