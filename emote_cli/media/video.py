"""Video files in and out, one RGB frame at a time, through pipes to ffmpeg."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np

from emote_cli.errors import InputError
from emote_cli.files import part_name
from emote_cli.media.banner import MediaInfo, PictureKind
from emote_cli.media.encoding import SCALE_FLAGS, Encoding, encoding_of
from emote_cli.media.ffmpeg import inspect, read_through, run_ffmpeg, source
from emote_cli.media.sink import Sink
from emote_cli.types import Pixels, VideoInfo

_PREROLL_S = 2
"""Seeking lands this much early, so that the frames wanted never depend on where the seek landed."""

_LOOKED_AT_S = 4.0
_JUDGED = 10
"""Interlacing is looked for in this much of a video, and believed if so many frames tell."""

_REFERENCE_WHITE_NITS = 203
"""The brightness of white paper in HDR video (ITU-R BT.2408), which becomes white here."""

_WIDE = ("bt2020", "smpte431", "smpte432")
"""Primaries of larger color spaces than that of usual video."""


def probe(path: Path) -> VideoInfo:
    """Read size, frame rate and length of a video, from its container.

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


def picture_kind(path: Path, start_s: float = 0.0) -> PictureKind:
    """Find how a video's pictures are stored; whether they are interlaced is also looked for in the pictures.

    Args:
        path: the video.
        start_s: where to look.

    Raises:
        InputError: missing, or unreadable.
    """
    kind = inspect(path, "video").kind
    if kind.fields:
        return kind
    span = ["-ss", f"{start_s:.3f}", "-t", f"{_LOOKED_AT_S:g}"]
    done = run_ffmpeg([*span, *source(path), "-map", "0:v:0", "-vf", "idet", "-f", "null", "-"], path)
    told = re.findall(rb"Multi frame detection: TFF: *(\d+) BFF: *(\d+) Progressive: *(\d+)", done.stderr)
    top, bottom, whole = (int(number) for number in told[-1]) if told else (0, 0, 0)
    if max(top, bottom) < _JUDGED or top + bottom <= whole:
        return kind
    return replace(kind, fields="tff" if top >= bottom else "bff")


def read_frames(
    path: Path,
    *,
    fps: Fraction | float | None = None,
    size: tuple[int, int] | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
    kind: PictureKind | None = None,
) -> Iterator[Pixels]:
    """Decode a video frame by frame, upright, with square pixels, whole pictures and the usual colors.

    Args:
        path: the video.
        fps: re-time to this constant rate (frames are repeated or dropped; also straightens variable frame
            rates), in step with `read_audio` of the same file; None gives the frames as they are stored.
        size: width and height to scale to; None keeps the displayed size.
        start_s: where to begin; rounded to a whole frame when `fps` is given.
        duration_s: how much to read; rounded to whole frames when `fps` is given.
        kind: how its pictures are stored, if more is known than the file says.

    Yields:
        RGB pictures, uint8 [height, width, 3].

    Raises:
        InputError: missing, unreadable, without a picture stream, or no frame in the asked-for span.
    """
    media = inspect(path, "video")
    info = _video_info(path, media)
    width, height = size or (info.width, info.height)
    filters = _stored_to_shown(kind or media.kind, (width, height))
    arguments = _span_and_filters(path, fps, filters, start_s, duration_s)
    arguments += ["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    n_bytes, count = width * height * 3, 0
    with read_through(arguments, path, "re-encode or copy the file again") as read:
        while len(raw := read(n_bytes)) == n_bytes:
            count += 1
            yield np.frombuffer(raw, np.uint8).reshape(height, width, 3)
    if count == 0:
        raise InputError(
            f"{path} has no frame from {start_s:g} s on (its length is {info.duration_s:g} s)",
            hint="check the file, or ask for an earlier part of it",
        )


def _stored_to_shown(kind: PictureKind, size: tuple[int, int]) -> tuple[str, str]:
    """Filters before and after frames are chosen: whole pictures first, then their size and colors."""
    whole = f"bwdif=mode=send_frame:parity={kind.fields}:deint=all," if kind.fields else ""
    scale = f"scale={size[0]}:{size[1]}:{SCALE_FLAGS},setsar=1"
    return whole, scale + _to_usual_colors(kind)


def _to_usual_colors(kind: PictureKind) -> str:
    """HDR is mapped to the brightness and colors of usual video, highlights rolled off; wide colors are converted."""
    if not kind.is_hdr and kind.primaries not in _WIDE:
        return ""
    primaries = kind.primaries or "bt2020"
    named = f"setparams=color_primaries={primaries}"
    named += f":colorspace=bt2020nc:color_trc={kind.transfer}" if kind.is_hdr else ":color_trc=bt709"
    linear = f"zscale=t=linear:npl={_REFERENCE_WHITE_NITS},format=gbrpf32le,zscale=p=bt709"
    rolled = ",tonemap=mobius:param=0.7:desat=0" if kind.is_hdr else ""
    return f",{named},{linear}{rolled},zscale=t=bt709:m=bt709:r=tv:d=none,format=yuv444p"


def _span_and_filters(
    path: Path,
    fps: Fraction | float | None,
    filters: tuple[str, str],
    start_s: float,
    duration_s: float | None,
) -> list[str]:
    whole, shown = filters
    if fps is None:
        span = ["-ss", f"{start_s:.6f}"] if start_s > 0 else []
        span += ["-t", f"{duration_s:.6f}"] if duration_s is not None else []
        return [*span, *source(path), "-vf", whole + shown]
    rate = Fraction(fps).limit_denominator(100_000)
    first = round(start_s * rate)
    skip = min(first, round(_PREROLL_S * rate))
    seek = ["-ss", f"{float((first - skip) / rate):.6f}"] if first > skip else []
    last = "" if duration_s is None else f":end_frame={skip + round(duration_s * rate)}"
    # start_time=0 repeats the first frame where the picture begins after the sound.
    timing = f"fps=fps={rate.numerator}/{rate.denominator}:start_time=0,trim=start_frame={skip}{last}"
    return [*seek, *source(path), "-vf", f"{whole}{timing},{shown}"]


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
        audio_stream: which of its sound streams, from 1; None is the one that players would choose.
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
        audio_stream: int | None = None,
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
        sound = None if audio is None else Soundtrack(audio, audio_start_s, audio_duration_s, audio_stream)
        self._audio, self._sound = audio_arguments(sound, self._encoding)
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
    """Make x264's arguments; see `VideoWriter`."""
    return ["-preset", preset, "-crf", str(crf), *([] if threads is None else ["-threads", str(threads)])]


def raw_input(size: tuple[int, int], fps: Fraction) -> list[str]:
    """Make ffmpeg's arguments for reading RGB frames of (width, height) from the pipe."""
    rate = f"{fps.numerator}/{fps.denominator}"
    shape = ["-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-framerate", rate]
    return ["-f", "rawvideo", *shape, "-i", "-"]


def tag_arguments(tags: Mapping[str, str]) -> list[str]:
    """Make ffmpeg's arguments for tags, and for none but these."""
    given = [part for name, text in tags.items() for part in ("-metadata", f"{name}={text}")]
    return ["-map_metadata", "-1", *given]


@dataclass(frozen=True, slots=True)
class Soundtrack:
    """The part of a recording that a video gets.

    Attributes:
        path: the recording.
        start_s: where in it to begin.
        duration_s: how much of it to use at most; None is all.
        stream: which of its sound streams, from 1; None is the one that players would choose.
    """

    path: Path
    start_s: float = 0.0
    duration_s: float | None = None
    stream: int | None = None


def audio_arguments(sound: Soundtrack | None, encoding: Encoding) -> tuple[list[str], list[str]]:
    """Make ffmpeg's arguments for reading the sound, and for writing it: copied where it is whole and fits."""
    if sound is None or not encoding.sound:
        return [], []
    info = inspect(sound.path, "recording")
    index = info.choose_sound(sound.stream, sound.path)
    span = ["-ss", f"{sound.start_s:.6f}"] if sound.start_s > 0 else []
    span += ["-t", f"{sound.duration_s:.6f}"] if sound.duration_s is not None else []
    whole = not span and info.size is None and sound.path.suffix.lower() in encoding.copied_from
    codec = ["copy"] if whole and info.sounds[index].codec in encoding.copies else encoding.sound
    # Silence goes before sound that begins later than the file.
    start = [] if codec == ["copy"] else ["-af", "aresample=async=1:first_pts=0"]
    return [*span, *source(sound.path)], ["-map", f"1:a:{index}", *start, "-c:a", *codec]


def add_sound(path: Path, picture: Path, sound: Soundtrack) -> None:
    """Write a video with the picture of one file, just as it is stored there, and the sound of another.

    Args:
        path: of the new file; its ending says the format.
        picture: the file with the picture.
        sound: which part of which file's sound.

    Raises:
        InputError: a file is missing, or holds no sound.
        OutputError: ffmpeg cannot write.
    """
    encoding = encoding_of(path)
    audio, how = audio_arguments(sound, encoding)
    sink = Sink(path, [*source(picture), *audio, "-map", "0:v:0", "-c:v", "copy", *how, *encoding.container])
    try:
        sink.finish()
    finally:
        sink.discard()


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
