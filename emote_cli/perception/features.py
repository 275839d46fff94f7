"""What all kinds of speech features share: sample rate, level, and blocks computed as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

from emote_cli.errors import InputError
from emote_cli.types import Sound, window_index

SAMPLE_RATE_HZ = 16_000
SPEECH_RMS = 0.08
"""Level that speech is brought to before analysis (the output's sound is untouched)."""
QUIETEST_RMS = 1e-3
"""Recordings below this level (-60 dBFS) count as silence and are not amplified."""
FRAME = 400
"""Samples over which a level is measured: 25 ms."""
_PIECE = FRAME * 4000

ComputeBlock = Callable[[int, int], Float[np.ndarray, "frames layers embed"]]


def count_frames(sound: Sound, fps: float) -> int:
    """Count the video frames that the recording lasts: round(seconds x fps).

    Raises:
        InputError: if it is shorter than one frame.
    """
    frames = round(sound.duration_s * fps)
    if frames < 1:
        raise InputError(
            f"the recording lasts {sound.duration_s:.3f} s, less than one video frame ({1 / fps:.3f} s)",
            "use a longer recording",
        )
    return frames


def pieces(sound: Sound) -> Iterator[Float[np.ndarray, " samples"]]:
    """Read the whole sound, piece after piece."""
    for start in range(0, sound.n_samples, _PIECE):
        yield sound.read(start, start + _PIECE)


def speech_gain(sound: Sound) -> float:
    """Compute the factor that brings the louder half of the recording to SPEECH_RMS; silence stays silence."""
    power = np.concatenate(
        [
            (piece[: len(piece) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float32) ** 2).mean(1)
            for piece in pieces(sound)
        ]
    )
    if not len(power):
        return 1.0
    power.sort()
    loud = float(np.sqrt(power[len(power) // 2 :].mean()))
    return 1.0 if loud < QUIETEST_RMS else SPEECH_RMS / loud


class BlockFeatures:
    """Speech features that are computed as they are asked for, in blocks that always begin at the same frames.

    Only the two blocks used last are kept, so that memory does not grow with the recording.

    Args:
        n_frames: of the whole video.
        block_frames: frames of a block.
        compute: first frame and one past the last -> their features.
    """

    def __init__(self, n_frames: int, block_frames: int, compute: ComputeBlock) -> None:
        self.n_frames, self._size, self._compute = n_frames, block_frames, compute
        self._kept: dict[int, Float[np.ndarray, "frames layers embed"]] = {}

    def windows(self, start: int, count: int, margin: int) -> Float[np.ndarray, "count window layers embed"]:
        """Cut one window per video frame; see `AudioFeatures.windows`."""
        index = window_index(self.n_frames, start, count, margin)
        first, last = int(index.min()), int(index.max())
        blocks = range(first // self._size, last // self._size + 1)
        heard = np.concatenate([self._block(number) for number in blocks])
        return heard[index - blocks.start * self._size]

    def whole(self) -> Float[np.ndarray, "frames layers embed"]:
        """Compute the features of all frames."""
        return np.concatenate([self._block(n) for n in range(-(-self.n_frames // self._size))])

    def _block(self, number: int) -> Float[np.ndarray, "frames layers embed"]:
        if number not in self._kept:
            start = number * self._size
            fresh = self._compute(start, min(start + self._size, self.n_frames))
            self._kept = {**dict(list(self._kept.items())[-1:]), number: fresh}
        return self._kept[number]
