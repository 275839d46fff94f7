"""Where a video cuts from one shot to the next, and how shots become segments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from emote_cli.data.prepare.settings import PrepareSettings
from emote_cli.types import Pixels

SCENE_WIDTH = 320
"""Pictures are shrunk to this width before cuts are looked for."""

_SHORTEST_SCENE = 8
"""Frames; closer cuts count as one."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one video at the clips' frame rate.

    Attributes:
        id: of the clip that it becomes.
        start: first frame.
        stop: one past the last frame.
    """

    id: str
    start: int
    stop: int

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.stop - self.start


def find_cuts(frames: Iterable[Pixels], fps: float, threshold: float = 3.0) -> tuple[list[int], int]:
    """Find the frames at which a new shot begins (PySceneDetect), and how many frames there are in all.

    Args:
        frames: small RGB pictures in order.
        fps: their rate.
        threshold: how much a frame must differ from its surroundings; less finds more cuts.
    """
    from scenedetect import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    detector = AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=_SHORTEST_SCENE)
    found: list[FrameTimecode] = []
    count, fps = 0, float(fps)
    for frame in frames:
        found += detector.process_frame(
            FrameTimecode(count, fps=fps), np.ascontiguousarray(frame[:, :, ::-1])
        )
        count += 1
    found += detector.post_process(FrameTimecode(max(count - 1, 0), fps=fps))
    return sorted({int(cut.frame_num) for cut in found} - {0}), count


def plan_segments(name: str, n_frames: int, cuts: list[int], settings: PrepareSettings) -> list[Segment]:
    """Cut a video at its scene cuts, leaving a margin there, and long shots into equal pieces.

    Shots that are too short are planned too: the filter for them says so in the report.

    Args:
        name: id of the video; the only segment of a video gets it as it is.
        n_frames: length of the video in frames at `settings.fps`.
        cuts: first frames of new shots, ascending.
        settings: for frame rate, lengths and margin.
    """
    edges = [0, *cuts, n_frames]
    spans: list[tuple[int, int]] = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        first = start + (settings.cut_margin if number > 0 else 0)
        last = stop - (settings.cut_margin if number < len(cuts) else 0)
        if last > first:
            spans += _equal_pieces(first, last, max(1, int(settings.max_s * settings.fps)))
    if len(spans) == 1:
        return [Segment(name, *spans[0])]
    return [Segment(f"{name}-{number:03d}", *span) for number, span in enumerate(spans)]


def _equal_pieces(start: int, stop: int, longest: int) -> list[tuple[int, int]]:
    pieces = -(-(stop - start) // longest)
    marks = [start + (stop - start) * i // pieces for i in range(pieces + 1)]
    return list(pairwise(marks))
