"""The model's frame rate to any other: each frame shown is the nearest one in time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import ceil
from typing import TypeVar

T = TypeVar("T")


def count_frames(n_samples: int, sample_rate_hz: int, fps: Fraction) -> int:
    """Count the frames that belong to a sound: its length times the frame rate, rounded, without floating point.

    Args:
        n_samples: of the sound.
        sample_rate_hz: of the sound.
        fps: of the video.
    """
    return round(Fraction(n_samples, sample_rate_hz) * fps)


def nearest_frame(index: int, fps_in: Fraction, fps_out: Fraction) -> int:
    """Find the frame of the source that is on screen in the middle of a frame of the output.

    Args:
        index: of the output's frame, from 0 on.
        fps_in: frame rate of the source.
        fps_out: frame rate of the output.
    """
    return int((Fraction(2 * index + 1, 2) / fps_out) * fps_in)


def find_first_shown(source: int, fps_in: Fraction, fps_out: Fraction) -> int:
    """Find the first frame of the output that shows a frame of the source, or a later one.

    Args:
        source: number of the source's frame, from 0 on.
        fps_in: frame rate of the source.
        fps_out: frame rate of the output.
    """
    return max(ceil(source * fps_out / fps_in - Fraction(1, 2)), 0)


def retime(
    frames: Sequence[T], start: int, is_last: bool, fps_in: Fraction, fps_out: Fraction, n_out: int
) -> Iterator[T]:
    """Repeat or drop some of the source's frames so that they play at `fps_out` with the same timing.

    Args:
        frames: consecutive frames of the source, at least one.
        start: number of the first of them.
        is_last: whether the source ends with them; then the last one fills up what is left of the output.
        fps_in: rate of the source.
        fps_out: rate of the output.
        n_out: frames of the whole output.
    """
    stop = n_out if is_last else min(find_first_shown(start + len(frames), fps_in, fps_out), n_out)
    for index in range(find_first_shown(start, fps_in, fps_out), stop):
        yield frames[min(nearest_frame(index, fps_in, fps_out) - start, len(frames) - 1)]
