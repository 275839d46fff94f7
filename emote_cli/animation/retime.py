"""The model's frame rate to any other: each frame shown is the nearest one in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from emote_cli.errors import SettingsError
from emote_cli.types import Pixels


def count_frames(n_samples: int, sample_rate_hz: int, fps: Fraction) -> int:
    """How many frames belong to a sound: its length times the frame rate, rounded, without floating point."""
    return round(Fraction(n_samples, sample_rate_hz) * fps)


def nearest_frame(index: int, fps_in: Fraction, fps_out: Fraction) -> int:
    """Which frame of the source is on screen in the middle of frame `index` of the output."""
    return int((Fraction(2 * index + 1, 2) / fps_out) * fps_in)


def retime(frames: Iterable[Pixels], fps_in: Fraction, fps_out: Fraction, n_out: int) -> Iterator[Pixels]:
    """Repeat or drop frames so that they play at `fps_out` with the same timing.

    Args:
        frames: the source, in order, at `fps_in`.
        fps_in: rate of the source.
        fps_out: rate of the output.
        n_out: how many frames to yield; past the end of the source its last frame is repeated.

    Raises:
        SettingsError: the source has no frames but some are asked for.
    """
    source = iter(frames)
    current: Pixels | None = None
    at = -1
    for index in range(n_out):
        wanted = nearest_frame(index, fps_in, fps_out)
        while at < wanted:
            following = next(source, None)
            if following is None:
                break
            current, at = following, at + 1
        if current is None:
            raise SettingsError(
                f"no frame to show at frame {index}", hint="the speech is too short for the model"
            )
        yield current
