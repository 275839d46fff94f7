"""Long videos: written as segments that are joined at the end, so that a killed render can go on.

The segments lie in a folder beside the output, under a name with a dot. Behind each segment lies what is needed to
go on after it: only with that a segment counts as finished.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from emote_cli import stopping
from emote_cli.errors import OutputError
from emote_cli.files import only_writer, working_name, write_file, write_text
from emote_cli.media.encoding import Encoding, encoding_of
from emote_cli.media.pngs import PngFolder, is_png_folder
from emote_cli.media.sink import Sink
from emote_cli.media.video import Soundtrack, audio_arguments, raw_input, tag_arguments, x264_quality
from emote_cli.types import Pixels

State = Mapping[str, np.ndarray]
_BYTES = 1 << 20
_IVF_HEAD = 32
_NEVER = "leave --resume out to start anew"


class Pictures(Protocol):
    """How the pictures of segments are stored and joined."""

    def begin(self, number: int, first_frame: int) -> None:
        """Start segment `number`, over whatever is left of an earlier try."""

    def write(self, frame: Pixels) -> None:
        """Append a frame to it."""

    def end(self) -> None:
        """Complete it."""

    def discard(self) -> None:
        """Give it up, if it is not complete."""

    def join(self, n_segments: int, n_frames: int, path: Path, *, whole: bool) -> None:
        """Make the output of the segments before `n_segments`, at once under its name.

        Args:
            n_segments: how many are whole.
            n_frames: frames in them.
            path: of the output.
            whole: whether the video is finished; if not, all stays as it is, so that the render can go on.
        """


def segments_folder(path: Path) -> Path:
    """Where the segments of an output lie until it is complete."""
    return working_name(path, ".segments")


class SegmentedWriter:
    """Writes a video segment by segment; use it as a context manager.

    The output appears under its name when the block ends without an exception. On an exception the segments are
    removed unless they are to be kept; a killed process leaves them.

    Args:
        path: where the video goes; its ending says what it becomes.
        fps: frames per second, exact.
        job: everything that the frames depend on, in JSON's types; only the same job can go on.
        resume: whether to go on after the segments that are there, instead of removing them.
        keep: whether finished segments outlive an exception.
        sound: the recording to mux.
        tags: what the file says of itself.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction,
        *,
        job: Mapping[str, Any],
        resume: bool = False,
        keep: bool = False,
        sound: Soundtrack | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.path, self._fps = path, fps
        self._job = json.loads(json.dumps(job))
        self._resume, self._keep = resume, keep
        self._folder = segments_folder(path)
        self._open = ExitStack()
        self._writing = False
        if is_png_folder(path):
            self._pictures: Pictures = PngFolder(self._folder / "frames", dict(tags or {}))
        else:
            self._pictures = _VideoSegments(self._folder, encoding_of(path), fps, sound, dict(tags or {}))
        self.n_segments = 0
        self.n_frames = self._first_frame = 0
        self.state: State | None = None
        """What was given with the last finished segment."""

    def __enter__(self) -> SegmentedWriter:
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write to {self.path.parent}: {error.strerror}",
                hint="make the folder, or choose another",
            ) from error
        self._open.enter_context(only_writer(self._folder / "lock", self.path))
        try:
            self._find_finished()
            self._remember()
        except BaseException:
            self._open.close()
            raise
        return self

    def _find_finished(self) -> None:
        about = self._folder / "job.json"
        if self._resume and about.is_file():
            self._compare(about)
            while (path := self._state_path(self.n_segments)).is_file():
                self.state = _load(path)
                self.n_frames = int(self.state["n_frames"])
                self.n_segments += 1
            self._first_frame = self.n_frames
            return
        for old in self._folder.iterdir():
            if old.name != "lock":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        write_text(about, json.dumps(self._job))

    def _compare(self, about: Path) -> None:
        """Refuse to go on with another job."""
        try:
            there = json.loads(about.read_text("utf-8"))
        except ValueError as error:
            raise OutputError(f"{about} is damaged: {error}", hint=_NEVER) from error
        for name, value in _flat(self._job).items():
            if (other := _flat(there).get(name)) != value:
                raise OutputError(
                    f"the unfinished render of {self.path} was begun with {name} {other}, now it is {value}",
                    hint=f"repeat the command as it was, or {_NEVER}",
                )

    def write(self, frame: Pixels) -> None:
        """Append a frame to the current segment.

        Raises:
            OutputError: it cannot be written (a full disk, say).
        """
        if not self._writing:
            self._pictures.begin(self.n_segments, self.n_frames)
            self._writing, self._first_frame = True, self.n_frames
        self._pictures.write(frame)
        self.n_frames += 1

    def end_segment(self, state: State) -> None:
        """Complete the current segment; `state` is what is needed to go on after it. Empty ones are not counted.

        Raises:
            OutputError: it cannot be written.
        """
        if not self._writing:
            return
        self._pictures.end()
        self._writing, self._first_frame = False, self.n_frames
        arrays: dict[str, Any] = {**state, "n_frames": np.array(self.n_frames)}
        write_file(self._state_path(self.n_segments), lambda file: np.savez(file, **arrays))
        self.n_segments += 1
        self.state = arrays
        self._remember()

    def _remember(self) -> None:
        """What must go if this process is ended; what outlives an exception outlives that, too."""
        (stopping.mark_finished if self._keep and self.n_segments else stopping.mark_unfinished)(self._folder)

    def join_partial(self, path: Path) -> bool:
        """Make a playable file of the frames that are there, if there are any; the segments stay.

        Raises:
            OutputError: it cannot be written.
        """
        begun = self.n_frames > self._first_frame
        if begun:
            self._pictures.end()
        if self.n_frames:
            self._pictures.join(self.n_segments + begun, self.n_frames, path, whole=False)
        return self.n_frames > 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        done = False
        try:
            if error is None:
                if not self.n_segments:
                    raise ValueError(f"no frame was written to {self.path}")
                self._pictures.join(self.n_segments, self.n_frames, self.path, whole=True)
                done = True
        finally:
            self._pictures.discard()
            self._open.close()
            if done or not (self._keep and self.n_segments):
                shutil.rmtree(self._folder, ignore_errors=True)
            stopping.mark_finished(self._folder)

    def _state_path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npz"


def _load(path: Path) -> State:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise OutputError(f"{path} is damaged: {error}", hint=_NEVER) from error


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


class _VideoSegments:
    """Pictures as closed groups of a raw stream, joined without encoding them again."""

    def __init__(
        self,
        folder: Path,
        encoding: Encoding,
        fps: Fraction,
        sound: Soundtrack | None,
        tags: dict[str, str],
    ) -> None:
        self._folder, self._encoding, self._fps = folder, encoding, fps
        self._sound, self._tags = sound, tags
        self._sink: Sink | None = None
        self._number = 0

    def begin(self, number: int, first_frame: int) -> None:
        self._number = number

    def write(self, frame: Pixels) -> None:
        if self._sink is None:
            size = (frame.shape[1], frame.shape[0])
            arguments = [*raw_input(size, self._fps), *self._encoding.segment(size, x264_quality())]
            self._sink = Sink(self._path(self._number), arguments)
        self._sink.write(np.ascontiguousarray(frame).data.cast("B"))

    def end(self) -> None:
        if self._sink is not None:
            self._sink.finish(_to_disk)
        self.discard()

    def discard(self) -> None:
        if self._sink is not None:
            self._sink.discard()
        self._sink = None

    def join(self, n_segments: int, n_frames: int, path: Path, *, whole: bool) -> None:
        seconds = float(n_frames / self._fps)
        heard = self._sound
        if heard is not None and not whole:
            heard = replace(heard, duration_s=min(seconds, heard.duration_s or seconds))
        audio, sound = audio_arguments(heard, self._encoding)
        source, picture = self._encoding.join_arguments(self._fps)
        command = [*source, *audio, *picture, *sound, *tag_arguments(self._tags), *self._encoding.container]
        sink = Sink(path, command, self._folder)
        try:
            for data in self._stream(n_segments):
                sink.write(data)
            sink.finish(lambda part: self._encoding.finish(part, self._tags.get("comment", "")))
        finally:
            sink.discard()

    def _stream(self, n_segments: int) -> Iterator[bytes]:
        paths = [self._path(number) for number in range(n_segments)]
        if self._encoding.stream == "ivf":
            yield from _join_ivf(paths)
            return
        for path in paths:
            with path.open("rb") as file:
                while data := file.read(_BYTES):
                    yield data

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.{self._encoding.stream}"


def _join_ivf(paths: list[Path]) -> Iterator[bytes]:
    """One IVF stream of several: the first one's head, and all frames, numbered through."""
    number = 0
    for path in paths:
        with path.open("rb") as file:
            head = file.read(_IVF_HEAD)
            if number == 0:
                yield head
            while frame := file.read(12):
                size = int.from_bytes(frame[:4], "little")
                yield frame[:4] + number.to_bytes(8, "little") + file.read(size)
                number += 1


def _to_disk(path: Path) -> None:
    """Make sure that the file outlives a power failure before what stands behind it says that it is there."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
