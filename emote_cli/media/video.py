"""Video files in and out, one RGB frame at a time, through pipes to ffmpeg."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from emote_cli.errors import InputError
from emote_cli.media.encoding import SCALE_FLAGS, Encoding, encoding_of
from emote_cli.media.ffmpeg import MediaInfo, ffmpeg_exe, inspect, last_line, url
from emote_cli.media.output import part_name
from emote_cli.media.sink import Sink
from emote_cli.types import Pixels, VideoInfo

_PREROLL_S = 2
"""Seeking lands this much early, so that the frames wanted never depend on where the seek landed."""


def probe(path: Path) -> VideoInfo:
    """Size, frame rate and length of a video, from its container.

    Raises:
        InputError: missing, unreadable, or without a picture stream.
    """
    return _video_info(path, inspect(path, "video"))


def _video_info(path: Path, info: MediaInfo) -> VideoInfo:
    if info.size is None or info.fps is None:
        raise InputError(f"{path} holds no video stream", hint="give a video, not a sound recording")
    seconds = info.duration_s or 0.0
    return VideoInfo(
        width=info.size[0],
        height=info.size[1],
        fps=info.fps,
        duration_s=seconds,
        n_frames=round(seconds * info.fps) if info.duration_s is not None else None,
        has_audio=info.has_audio,
    )


def read_frames(
    path: Path,
    *,
    fps: Fraction | float | None = None,
    size: tuple[int, int] | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Iterator[Pixels]:
    """Decode a video frame by frame, upright and with square pixels.

    Args:
        path: the video.
        fps: re-time to this constant rate (frames are repeated or dropped; also straightens variable frame
            rates), in step with `read_audio` of the same file; None gives the frames as they are stored.
        size: width and height to scale to; None keeps the displayed size.
        start_s: where to begin; rounded to a whole frame when `fps` is given.
        duration_s: how much to read; rounded to whole frames when `fps` is given.

    Yields:
        RGB pictures, uint8 [height, width, 3].

    Raises:
        InputError: missing, unreadable, without a picture stream, or no frame in the asked-for span.
    """
    info = probe(path)
    width, height = size or (info.width, info.height)
    command = [ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "error"]
    command += _span_and_filters(path, fps, (width, height), start_s, duration_s)
    command += ["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    count = 0
    for count, raw in enumerate(_pipe_out(command, width * height * 3, path), start=1):  # noqa: B007
        yield np.frombuffer(raw, np.uint8).reshape(height, width, 3)
    if count == 0:
        raise InputError(
            f"{path} has no frame from {start_s:g} s on (its length is {info.duration_s:g} s)",
            hint="check the file, or ask for an earlier part of it",
        )


def _span_and_filters(
    path: Path, fps: Fraction | float | None, size: tuple[int, int], start_s: float, duration_s: float | None
) -> list[str]:
    scale = f"scale={size[0]}:{size[1]}:{SCALE_FLAGS},setsar=1"
    if fps is None:
        span = ["-ss", f"{start_s:.6f}"] if start_s > 0 else []
        span += ["-t", f"{duration_s:.6f}"] if duration_s is not None else []
        return [*span, "-i", url(path), "-vf", scale]
    rate = Fraction(fps).limit_denominator(100_000)
    first = round(start_s * rate)
    skip = min(first, round(_PREROLL_S * rate))
    seek = ["-ss", f"{float((first - skip) / rate):.6f}"] if first > skip else []
    last = "" if duration_s is None else f":end_frame={skip + round(duration_s * rate)}"
    # start_time=0 repeats the first frame where the picture begins after the sound.
    timing = f"fps=fps={rate.numerator}/{rate.denominator}:start_time=0,trim=start_frame={skip}{last}"
    return [*seek, "-i", url(path), "-vf", f"{timing},{scale}"]


def _pipe_out(command: list[str], n_bytes: int, path: Path) -> Iterator[bytes]:
    """Run ffmpeg and cut its output into pieces of `n_bytes`; the process never outlives the iterator."""
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)
        assert process.stdout is not None
        try:
            while len(piece := process.stdout.read(n_bytes)) == n_bytes:
                yield piece
            if process.wait() != 0:
                raise InputError(
                    f"{path} could not be decoded: {_complaint(stderr)}",
                    hint="re-encode or copy the file again",
                )
        finally:
            process.stdout.close()
            if process.poll() is None:
                process.kill()
            process.wait()


def _complaint(stderr: IO[bytes]) -> str:
    stderr.seek(0)
    return last_line(stderr.read().decode("utf-8", errors="replace"))


class VideoWriter:
    """Streams RGB frames into a video file; use it as a context manager.

    The name's ending says what it becomes: H.264 and AAC in .mp4 and .mov, VP9 and Opus in .webm, or a
    silent .gif.

    The file appears under its name only when the block ends without an exception; until then it is written
    beside it, and on any exception (Ctrl-C too) it is removed. Odd sizes lose their last row or column.

    Args:
        path: where the video goes; its folder must exist.
        fps: frames per second, exact as a Fraction.
        audio: a recording to mux, from `audio_start_s`, at most `audio_duration_s` long.
        crf: x264 quality, 0 (lossless) to 51; other formats have their own.
        preset: x264 speed ("ultrafast" ... "veryslow").
        threads: encoder threads; 1 gives the same bytes on every machine; None lets x264 choose.
        tags: what the file says of itself (title, comment, ...).
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction | float,
        *,
        audio: Path | None = None,
        audio_start_s: float = 0.0,
        audio_duration_s: float | None = None,
        crf: int = 18,
        preset: str = "medium",
        threads: int | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self._tags = dict(tags or {})
        self.fps = Fraction(fps).limit_denominator(100_000)
        self.n_frames = 0
        self._encoding = encoding_of(self.path)
        span = (audio_start_s, audio_duration_s)
        self._audio, self._sound = audio_arguments(audio, *span, self._encoding)
        self._quality = x264_quality(crf, preset, threads)
        self._sink: Sink | None = None
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> VideoWriter:
        part_name(self.path).unlink()  # a folder that is not there is told at once
        return self

    def write(self, frame: Pixels) -> None:
        """Append one frame, uint8 [height, width, 3]; all frames must have the size of the first.

        Raises:
            OutputError: ffmpeg cannot write (a full disk, say).
        """
        if self._sink is None:
            self._shape = frame.shape
            self._sink = Sink(self.path, self._arguments((frame.shape[1], frame.shape[0])))
        elif frame.shape != self._shape:
            raise ValueError(f"frame {self.n_frames} has shape {frame.shape}, the first had {self._shape}")
        self._sink.write(np.ascontiguousarray(frame).data.cast("B"))
        self.n_frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self._sink is None:
                raise ValueError(f"no frame was written to {self.path}")
            if error is None and self._sink is not None:
                self._sink.finish(lambda part: self._encoding.finish(part, self._tags.get("comment", "")))
        finally:
            if self._sink is not None:
                self._sink.discard()

    def _arguments(self, size: tuple[int, int]) -> list[str]:
        command = [*raw_input(size, self.fps), *self._audio, "-map", "0:v"]
        command += [*self._encoding.video(size, self._quality), *self._sound]
        return [*command, *tag_arguments(self._tags), *self._encoding.container]


def x264_quality(crf: int = 18, preset: str = "medium", threads: int | None = None) -> list[str]:
    """x264's arguments; see `VideoWriter`."""
    return ["-preset", preset, "-crf", str(crf), *([] if threads is None else ["-threads", str(threads)])]


def raw_input(size: tuple[int, int], fps: Fraction) -> list[str]:
    """Arguments for reading RGB frames of (width, height) from the pipe."""
    rate = f"{fps.numerator}/{fps.denominator}"
    shape = ["-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-framerate", rate]
    return ["-f", "rawvideo", *shape, "-i", "-"]


def tag_arguments(tags: Mapping[str, str]) -> list[str]:
    """Arguments for tags, and for none but these."""
    given = [part for name, text in tags.items() for part in ("-metadata", f"{name}={text}")]
    return ["-map_metadata", "-1", *given]


def audio_arguments(
    audio: Path | None, start_s: float, duration_s: float | None, encoding: Encoding
) -> tuple[list[str], list[str]]:
    """Arguments for reading the sound, and for writing it: copied where it is whole and fits."""
    if audio is None or not encoding.sound:
        return [], []
    info = inspect(audio, "recording")
    if not info.has_audio:
        raise InputError(f"{audio} holds no audio stream", hint="give a recording, or write without sound")
    span = ["-ss", f"{start_s:.6f}"] if start_s > 0 else []
    span += ["-t", f"{duration_s:.6f}"] if duration_s is not None else []
    whole = not span and info.size is None and audio.suffix.lower() in encoding.copied_from
    codec = ["copy"] if whole and info.audio_codec in encoding.copies else encoding.sound
    # Silence goes before sound that begins later than the file.
    start = [] if codec == ["copy"] else ["-af", "aresample=async=1:first_pts=0"]
    return [*span, "-i", url(audio)], ["-map", "1:a:0", *start, "-c:a", *codec]


def write_video(
    path: Path,
    frames: Iterable[Pixels],
    fps: Fraction | float,
    *,
    audio: Path | None = None,
    crf: int = 18,
    preset: str = "medium",
    threads: int | None = None,
) -> int:
    """Write all frames to an H.264 file and return how many there were; see `VideoWriter`."""
    with VideoWriter(path, fps, audio=audio, crf=crf, preset=preset, threads=threads) as writer:
        for frame in frames:
            writer.write(frame)
    return writer.n_frames
