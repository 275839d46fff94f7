"""The videos that tabs asked for: a line of them, one made at a time, in a thread beside the server."""

from __future__ import annotations

import ctypes
import logging
import secrets
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2

from emote_cli.animation.batch import load_once
from emote_cli.animation.dry_run import describe
from emote_cli.animation.provenance import read_making
from emote_cli.animation.render import Plan, render, tuning_of
from emote_cli.errors import EmoteError
from emote_cli.media.image import resize
from emote_cli.types import Pixels
from emote_cli.web import texts
from emote_cli.web.visits import Visits, close_job

SWEEP_S = 30.0
"""Seconds between two looks for files that nobody needs."""

PICTURE_S, PICTURE_PX = 0.5, 200
"""Seconds between two pictures of a render that is being made, and their longest side."""

MOST_WAITING = 20
"""Videos that may wait in all."""

State = Literal["waiting", "starting", "making", "done", "failed", "stopped"]

log = logging.getLogger(__name__)


class Stopped(Exception):
    """Ends a render that its visitor stopped; never leaves this module."""


@dataclass(slots=True, eq=False)
class Render:
    """One video that was asked for, or one forecast.

    Attributes:
        visit_id: whose it is.
        folder: of its files.
        plan: what is to be made; None when that is over.
        command: the command line that makes the same.
        forecast: whether only the time is measured.
        n_frames: frames of the video.
        id: part of the addresses of its files.
        state: how far it is.
        n_done: frames that are written.
        begin: of the work, in `time.monotonic` seconds; when the model was ready; and of the newest frame.
        took_s: seconds of work.
        notes: warnings, and what the model says of memory.
        seconds: of video.
        picture: the newest frame as a small JPEG, and when it was taken.
        output: the video.
        lines: of the forecast, or of the making.
        error: what went wrong.
    """

    visit_id: str
    folder: Path
    plan: Plan | None
    command: str = ""
    forecast: bool = False
    n_frames: int = 0
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: State = "waiting"
    n_done: int = 0
    begin: float = 0.0
    ready: float = 0.0
    newest: float = 0.0
    took_s: float = 0.0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    picture: bytes = b""
    pictured: float = 0.0
    output: Path | None = None
    lines: dict[str, Any] = field(default_factory=dict)
    error: EmoteError | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.state in ("done", "failed", "stopped")

    @property
    def rate(self) -> float:
        """Frames per second since the model was loaded, up to the newest frame; 0 before the first one.

        Frames come in bursts, chunk by chunk: the time before a burst counts, that since the last one does not.
        """
        spent = self.newest - self.ready
        return self.n_done / spent if self.n_done and spent > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until the last frame; None before that can be told."""
        if not self.rate:
            return None
        since = time.monotonic() - self.newest
        return max((self.n_frames - self.n_done) / self.rate - since, 0.0)


class Renders:
    """The line, and the thread that works it off.

    Args:
        visits: the files of the tabs.
    """

    def __init__(self, visits: Visits) -> None:
        self.visits = visits
        self._all: list[Render] = []
        self._change = threading.Condition()
        self._closing = False
        self._worker = threading.Thread(target=self._work, name="renders", daemon=True)
        self._worker.start()

    def add(self, render: Render) -> None:
        """Put it at the end of the line.

        Raises:
            EmoteError: this tab has one that is not over, or the line is full.
        """
        with self._change:
            unfinished = [each for each in self._all if not each.is_over]
            if any(each.visit_id == render.visit_id for each in unfinished):
                raise EmoteError(*texts.BUSY)
            if len(unfinished) >= MOST_WAITING:
                message, hint = texts.FULL
                raise EmoteError(message.format(count=len(unfinished)), hint)
            self._all.append(render)
            self._change.notify()

    def of(self, visit_id: str) -> list[Render]:
        """Those of a visit, oldest first."""
        with self._change:
            return [each for each in self._all if each.visit_id == visit_id]

    def before(self, render: Render) -> int:
        """How many are to be made before it."""
        with self._change:
            unfinished = [each for each in self._all if not each.is_over]
            return unfinished.index(render) if render in unfinished else 0

    def stop(self, visit_id: str) -> None:
        """Stop what a visit waits for; one that is being made ends with its next frame."""
        with self._change:
            for each in self._all:
                if each.visit_id == visit_id and not each.is_over:
                    each.stop.set()
                    if each.state == "waiting":
                        self._end(each, "stopped")

    def find_video(self, folder: str, render_id: str) -> Path | None:
        """The video at an address of the page."""
        with self._change:
            for each in self._all:
                if secrets.compare_digest(each.id, render_id) and each.folder.parent.name == folder:
                    return each.output
        return None

    def pace(self, like: Plan) -> float | None:
        """Seconds of work per frame that the last video with the same model took; None: there was none."""
        with self._change:
            for each in reversed(self._all):
                if each.output is not None and each.lines.get("settings", {}).get("model") == like.job.model:
                    return each.took_s / each.n_frames
        return None

    def close(self, patience_s: float = 2.0) -> None:
        """Stop everything; wait a moment for the render that is being made to let go of its files."""
        with self._change:
            self._closing = True
            for each in self._all:
                each.stop.set()
            self._change.notify()
        self._worker.join(patience_s)

    def _work(self) -> None:
        while (render := self._next()) is not None:
            self._carry_out(render)

    def _next(self) -> Render | None:
        """Wait for the next in line, and sweep meanwhile; None when the server closes."""
        with self._change:
            while not self._closing:
                for each in self._all:
                    if each.state == "waiting":
                        each.state, each.begin = "starting", time.monotonic()
                        return each
                self._sweep()
                self._change.wait(SWEEP_S)
        return None

    def _sweep(self) -> None:
        over = self.visits.sweep({each.visit_id for each in self._all if not each.is_over})
        self._all = [each for each in self._all if each.visit_id not in over]

    def _carry_out(self, render: Render) -> None:
        state: State = "failed"
        try:
            _make(render)
            state = "stopped" if render.stop.is_set() and render.output is None else "done"
        except Stopped:
            state = "stopped"
        except EmoteError as error:
            render.error = error
        except Exception as error:
            log.exception("a render failed")
            message, hint = texts.BUG
            render.error = EmoteError(message.format(error=f"{type(error).__name__}: {error}"), hint)
        with self._change:
            self._end(render, state)
        _give_memory_back()

    def _end(self, render: Render, state: State) -> None:
        render.took_s = time.monotonic() - render.begin if render.begin else 0.0
        render.plan, render.picture = None, b""
        close_job(render.folder, render.output)
        render.state = state


def _make(asked: Render) -> None:
    """Make the video, or the forecast."""
    plan = asked.plan
    assert plan is not None

    def on_frame(count: int) -> None:
        if asked.stop.is_set():
            raise Stopped
        if count:
            asked.state, asked.newest = "making", time.monotonic()
            asked.n_done += count

    def show(frame: Pixels) -> None:
        if (now := time.monotonic()) - asked.pictured >= PICTURE_S:
            asked.picture, asked.pictured = _thumbnail(frame), now

    on_frame(0)
    animator = load_once(plan.model, plan.job.device, plan.job.dtype, tuning_of(plan))
    on_frame(0)
    asked.ready = time.monotonic()
    if asked.forecast:
        asked.lines = dict(describe(plan, animator))
        return
    path = render(plan, on_frame, animator, asked.notes.append, show)
    asked.lines = read_making(path)
    asked.output = path


def _give_memory_back() -> None:
    """Let the system have what this process freed; glibc keeps it for each thread, and a server runs for long."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # other C libraries have no such function
            ctypes.CDLL(None).malloc_trim(0)


def _thumbnail(frame: Pixels) -> bytes:
    """A frame as a small JPEG."""
    scale = min(1.0, PICTURE_PX / max(frame.shape[:2]))
    size = (max(round(frame.shape[1] * scale), 1), max(round(frame.shape[0] * scale), 1))
    done, data = cv2.imencode(".jpg", cv2.cvtColor(resize(frame, size), cv2.COLOR_RGB2BGR))
    return data.tobytes() if done else b""
