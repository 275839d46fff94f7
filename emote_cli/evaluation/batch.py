"""Many videos, measured: one after the other, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emote_cli.errors import EmoteError
from emote_cli.evaluation.evaluate import Evaluation, evaluate, find_truth
from emote_cli.evaluation.learned.networks import any_fetched
from emote_cli.files import check_place, make_folder
from emote_cli.jobs.spread import spread
from emote_cli.media.ffmpeg import require_file
from emote_cli.media.video import probe

CACHE = "cache"
"""Folder inside the output folder: watched videos, as numbers."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure, and how: the arguments of `evaluate`, which picklable jobs carry to other processes.

    Attributes:
        video: a finished video.
        truth: the video that it should be like.
        portrait: the picture that it was made from.
        chunk_frames: frames from seam to seam; None looks for them.
        sface: SFace's ONNX file; None takes the one that was fetched, if it is there.
        keep: folder in which watched videos are kept, to go on after an interruption.
    """

    video: Path
    truth: Path | None = None
    portrait: Path | None = None
    chunk_frames: int | None = None
    sface: Path | None = None
    keep: Path | None = None

    @property
    def files(self) -> list[Path]:
        """The files that are read."""
        return [path for path in (self.video, self.truth, self.portrait, self.sface) if path is not None]

    def count_frames(self) -> int:
        """Frames that will be watched, the true video's among them, as far as the containers tell.

        Each counts twice where fetched networks look at them, too.

        Raises:
            InputError: a video is missing, or unreadable.
            WeightsError: a fetched network is damaged.
        """
        frames = sum(probe(path).n_frames or 0 for path in (self.video, self.truth) if path is not None)
        return frames * (2 if any_fetched() else 1)

    def on_any_machine(self) -> Request:
        """The same with paths that are right in any folder of any machine that sees the same files."""
        names = ("video", "truth", "portrait", "sface", "keep")
        paths = {name: path.resolve() for name in names if (path := getattr(self, name)) is not None}
        return replace(self, **paths)


def requests_for(videos: Sequence[Path], truth: Path | None = None, **how: Any) -> list[Request]:
    """What to measure for finished videos; all files are there.

    Args:
        videos: the finished videos.
        truth: the true video, or a folder of equally named ones.
        how: the other attributes of each `Request`.

    Raises:
        InputError: a file is missing, or the folder lacks a true video.
    """
    requests = [Request(video, find_truth(video, truth), **how) for video in videos]
    for path in dict.fromkeys(path for request in requests for path in request.files):
        require_file(path, "file")
    return requests


def make_place(folder: Path, *inside: str) -> None:
    """Make the output folder, with the one of `CACHE` and others in it, and check that it can be written.

    Raises:
        OutputError: it cannot.
    """
    make_folder(folder, (CACHE, *inside))
    check_place(folder / "metrics.json")


@dataclass(frozen=True, slots=True)
class _Measure:
    """What a worker does with one request."""

    on_frame: Callable[[int], object] = field(default=int)

    def __call__(self, request: Request) -> Evaluation:
        return evaluate(
            request.video,
            request.truth,
            request.portrait,
            chunk_frames=request.chunk_frames,
            sface=request.sface,
            keep=request.keep,
            on_frame=self.on_frame,
        )


def evaluate_all(
    requests: Sequence[Request],
    workers: int | None = None,
    ray: str | None = None,
    on_frame: Callable[[int], object] = int,
) -> Iterator[tuple[Request, Evaluation | EmoteError]]:
    """Measure every video; one that fails does not stop the others.

    Args:
        requests: what to measure.
        workers: how many processes; None: this one.
        ray: address of a Ray cluster, or `local`.
        on_frame: called with the number of frames just seen; without processes and cluster only.

    Yields:
        The request with what was measured, or with the error; in the order in which they are done.

    Raises:
        EmoteError: Ray is not installed, or there is no cluster at the address.
    """
    here = workers is None and ray is None
    measure_one = _Measure(on_frame) if here else _Measure()
    asked: dict[Request, list[Request]] = {}  # one file under two names is measured once
    for request in dict.fromkeys(requests):
        asked.setdefault(request.on_any_machine(), []).append(request)
    with contextlib.closing(spread(measure_one, list(asked), workers, ray)) as answers:
        for job, answer in answers:
            for request in asked[job]:
                yield request, _named(answer, request) if isinstance(answer, Evaluation) else as_error(answer)


def _named(answer: Evaluation, request: Request) -> Evaluation:
    """The same with the files' names as they were given."""
    true = answer.truth
    if true is not None and request.truth is not None:
        true = replace(true, video=request.truth)
    return replace(answer, video=request.video, truth=true)


def as_error(answer: BaseException) -> EmoteError:
    """What went wrong with a job, as one line."""
    if isinstance(answer, EmoteError):
        return answer
    error = EmoteError(f"{type(answer).__name__}: {str(answer)[:200]}", hint="please report this")
    error.__cause__ = answer
    return error
