"""The one place that talks to the ffmpeg binary: where it is, what it says of a file, why it failed."""

from __future__ import annotations

import functools
import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from emote_cli.errors import EmoteError, InputError

_VIDEO_LINE = re.compile(r"Stream #\d+:\d+.*?: Video: (.*)")
_AUDIO_LINE = re.compile(r"Stream #\d+:\d+.*?: Audio: (\w*)")
_SIZE = re.compile(r"(?:^|[ ,])(\d{1,6})x(\d{1,6})(?:[ ,]|$)")
_ASPECT = re.compile(r"\bSAR (\d+):(\d+)")
_RATE = re.compile(r"([\d.]+)(k?) fps")
_TIME_BASE_RATE = re.compile(r"([\d.]+)(k?) tbr")
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_ROTATION = re.compile(r"rotation of (-?[\d.]+) degrees|rotate\s*: (-?\d+)")
_NTSC_RATES = {"23.98": Fraction(24000, 1001), "29.97": Fraction(30000, 1001), "59.94": Fraction(60000, 1001)}


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What ffmpeg says of a file before decoding it; sizes with rotation and pixel aspect applied.

    Attributes:
        duration_s: None where the container does not tell.
        size: width and height in square pixels, None without a picture stream.
        fps: average frame rate, None without a picture stream.
        has_audio: whether there is a sound stream.
        audio_codec: of the first sound stream; empty without one.
    """

    duration_s: float | None
    size: tuple[int, int] | None
    fps: Fraction | None
    has_audio: bool
    audio_codec: str = ""


@functools.cache
def ffmpeg_exe() -> str:
    """The path of the ffmpeg binary that imageio-ffmpeg ships.

    Raises:
        EmoteError: no binary is there.
    """
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EmoteError(
            f"no ffmpeg binary was found ({error})",
            hint="reinstall imageio-ffmpeg, or point IMAGEIO_FFMPEG_EXE at an ffmpeg",
        ) from error


def url(path: Path) -> str:
    """The path as ffmpeg takes it literally, whatever colons, dashes or percent signs it holds."""
    return f"file:{path}"


def require_file(path: Path, kind: str) -> None:
    """Check that `path` is a file with something in it.

    Raises:
        InputError: it is missing, a folder, or empty.
    """
    if not path.exists():
        raise InputError(f"{kind} {path} does not exist", hint="check the path")
    if path.is_dir():
        raise InputError(f"{kind} {path} is a folder", hint="name a file")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{kind} {path} is empty (0 bytes)", hint="copy or record it again")


def last_line(stderr: str) -> str:
    """The last line of ffmpeg's complaints that says something of its own."""
    dull = ("Conversion failed!", "At least one output file must be specified")
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and line.strip() not in dull]
    return lines[-1] if lines else "ffmpeg said nothing"


def inspect(path: Path, kind: str = "file") -> MediaInfo:
    """Ask ffmpeg what streams a file holds, without decoding them.

    Args:
        path: any media file.
        kind: what to call it in messages ("video", "recording").

    Raises:
        InputError: the file is missing, empty, or nothing that ffmpeg reads.
    """
    require_file(path, kind)
    result = subprocess.run(
        [ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", url(path)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    text = result.stderr.decode("utf-8", errors="replace")
    if "Input #0" not in text:
        raise InputError(
            f"{kind} {path} is not readable: {last_line(text)}",
            hint="give a video or audio file that ffmpeg can play",
        )
    return parse_banner(text)


def parse_banner(text: str) -> MediaInfo:
    """Read the stream table that `ffmpeg -i` prints."""
    duration = _DURATION.search(text)
    sound = _AUDIO_LINE.search(text)
    video = next((m.group(1) for m in _VIDEO_LINE.finditer(text) if "(attached pic)" not in m.group(0)), None)
    return MediaInfo(
        duration_s=_seconds(duration) if duration else None,
        size=_display_size(video, text) if video else None,
        fps=_frame_rate(video) if video else None,
        has_audio=sound is not None,
        audio_codec=sound.group(1) if sound else "",
    )


def _seconds(match: re.Match[str]) -> float:
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _display_size(line: str, text: str) -> tuple[int, int] | None:
    found = _SIZE.search(line)
    if found is None:
        return None
    width, height = int(found.group(1)), int(found.group(2))
    aspect = _ASPECT.search(line)
    if aspect and int(aspect.group(1)) > 0 and int(aspect.group(2)) > 0:
        width = max(1, round(width * int(aspect.group(1)) / int(aspect.group(2))))
    rotation = _ROTATION.search(text)
    turned = rotation is not None and round(float(rotation.group(1) or rotation.group(2))) % 180 == 90
    return (height, width) if turned else (width, height)


def _frame_rate(line: str) -> Fraction | None:
    found = _RATE.search(line) or _TIME_BASE_RATE.search(line)
    if found is None:
        return None
    number, kilo = found.groups()
    if not kilo and number in _NTSC_RATES:
        return _NTSC_RATES[number]
    rate = Fraction(number).limit_denominator(1000) * (1000 if kilo else 1)
    return rate if rate > 0 else None


def read_tags(path: Path) -> dict[str, str]:
    """The tags (title, comment, ...) of a media file, lower-case names.

    Raises:
        InputError: the file is missing, or nothing that ffmpeg reads.
    """
    require_file(path, "file")
    command = [ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "error", "-i", url(path)]
    done = subprocess.run(
        [*command, "-f", "ffmetadata", "-"], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode != 0:
        complaint = last_line(done.stderr.decode("utf-8", errors="replace"))
        raise InputError(f"{path} is not readable: {complaint}", hint="give a video or audio file")
    text = done.stdout.decode("utf-8", errors="replace").replace("\\\n", "\0")
    head = re.split(r"^\[", text, maxsplit=1, flags=re.MULTILINE)[0]
    pairs = [line.partition("=") for line in head.splitlines() if line and line[0] not in ";#"]
    return {name.lower(): re.sub(r"\\(.)", r"\1", value).replace("\0", "\n") for name, _, value in pairs}
