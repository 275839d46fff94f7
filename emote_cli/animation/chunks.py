"""Which frames are generated together, and what a chunk hands on to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from emote_cli.errors import SettingsError
from emote_cli.types import Chunk


@dataclass(frozen=True, slots=True)
class Carry:
    """What the frames so far hand on to those behind them: all that is needed to go on.

    Attributes:
        frame: the first frame that is not made yet.
        motion: the motion frames, in whatever form the model takes them; empty where it needs none.
    """

    frame: int
    motion: Float[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class MadeChunk:
    """Frames that were generated together.

    Attributes:
        start: number of the first frame.
        frames: RGB; or the face's landmarks in pixels, for a model of motion latents.
        carry: what the next chunk needs.
        is_last: whether no chunk follows.
    """

    start: int
    frames: UInt8[np.ndarray, "f h w 3"] | Float[np.ndarray, "f 478 2"]
    carry: Carry
    is_last: bool


def plan_chunks(n_frames: int, chunk_frames: int) -> list[Chunk]:
    """Cut a video into chunks of equal length that follow each other without gap or overlap.

    Every chunk has `chunk_frames` frames, because the network works on full chunks. The last one may reach
    past the end of the video; its `keep` says how many of its frames belong to it.

    Args:
        n_frames: frames of the whole video, 0 or more.
        chunk_frames: frames of one chunk (EMO's `f`), 1 or more.

    Raises:
        SettingsError: a number is out of range.
    """
    if n_frames < 0 or chunk_frames < 1:
        raise SettingsError(
            f"cannot cut {n_frames} frames into chunks of {chunk_frames}",
            hint="a video has 0 frames or more, a chunk at least 1",
        )
    starts = range(0, n_frames, chunk_frames)
    return [
        Chunk(start=start, stop=start + chunk_frames, keep=min(chunk_frames, n_frames - start))
        for start in starts
    ]
