"""The frames of one video, or of a stretch of it, at the clips' frame rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from emote_cli.data.prepare.scenes import SCENE_WIDTH
from emote_cli.media.image import resize
from emote_cli.media.video import picture_kind, probe, read_frames
from emote_cli.types import Pixels, VideoInfo

KEEP_BYTES = 700 * 2**20
"""Frames are kept in memory up to this size, and decoded a second time beyond it."""


class Footage:
    """Decodes as little as possible: short videos once, long ones segment by segment.

    Args:
        path: the video.
        fps: constant frame rate of what comes out.
        start_s: where to begin in the video; rounded to a whole frame.
        end_s: where to end; None for the video's end.
        keep_bytes: how much to hold in memory.

    Raises:
        InputError: the video is missing, unreadable or has no picture.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        start_s: float = 0.0,
        end_s: float | None = None,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self.path, self.fps = path, fps
        self.info: VideoInfo = probe(path)
        self.kind = picture_kind(path, start_s)
        self.first = round(start_s * fps)
        self._last = None if end_s is None else max(round(end_s * fps), self.first + 1)
        self._keep_bytes = keep_bytes
        self._kept: list[Pixels] | None = None
        self._kept_span = (0, 0)

    @property
    def start_s(self) -> float:
        """Where frame 0 lies in the video, in seconds."""
        return self.first / self.fps

    @property
    def span_s(self) -> float | None:
        """Length of the asked-for stretch in seconds, None if it goes to the video's end."""
        return None if self._last is None else (self._last - self.first) / self.fps

    @property
    def stated_s(self) -> float:
        """Length by the container's word, in seconds."""
        end = self.info.duration_s if self._last is None else min(self.info.duration_s, self._last / self.fps)
        return max(end - self.start_s, 0.0)

    def small_frames(self) -> Iterator[Pixels]:
        """All frames, shrunk for looking for cuts; to be gone through once, to the end."""
        height = max(1, round(self.info.height * SCENE_WIDTH / self.info.width))
        small = (SCENE_WIDTH, height)
        if not self._fits(round(self.stated_s * self.fps) + 1):
            yield from self._read(0, None, small)
            return
        kept = []
        for frame in self._read(0, None):
            kept.append(frame)
            yield resize(frame, small)
        self._kept, self._kept_span = kept, (0, len(kept))

    def frames(self, start: int, stop: int) -> Iterable[Pixels]:
        """Frames `start` to `stop` (not included) at full size; may be gone through several times."""
        first, last = self._kept_span
        if self._kept is not None and first <= start and stop <= last:
            return self._kept[start - first : stop - first]
        self._kept = None
        if self._fits(stop - start):
            self._kept, self._kept_span = list(self._read(start, stop)), (start, stop)
            return self._kept
        return _Again(self, start, stop)

    def _fits(self, n_frames: int) -> bool:
        return n_frames * self.info.width * self.info.height * 3 <= self._keep_bytes

    def _read(self, start: int, stop: int | None, size: tuple[int, int] | None = None) -> Iterator[Pixels]:
        first = self.first + start
        last = self._last if stop is None else self.first + stop
        return read_frames(
            self.path,
            fps=self.fps,
            size=size,
            start_s=first / self.fps,
            duration_s=None if last is None else (last - first) / self.fps,
            kind=self.kind,
        )


class _Again:
    """Frames that are decoded anew each time they are gone through."""

    def __init__(self, footage: Footage, start: int, stop: int) -> None:
        self._footage, self._start, self._stop = footage, start, stop

    def __iter__(self) -> Iterator[Pixels]:
        return self._footage._read(self._start, self._stop)
