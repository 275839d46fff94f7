"""What ffmpeg says of a file before it decodes it: streams, sizes, rates, colors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from emote_cli.errors import InputError

_VIDEO_LINE = re.compile(r"Stream #\d+:\d+.*?: Video: (.*)")
_AUDIO_LINE = re.compile(r"Stream #\d+:\d+(?:\[\w+\])?(?:\((\w+)\))?: Audio: (\w*)(.*)")
_SIZE = re.compile(r"(?:^|[ ,])(\d{1,6})x(\d{1,6})(?:[ ,]|$)")
_ASPECT = re.compile(r"\bSAR (\d+):(\d+)")
_RATE = re.compile(r"([\d.]+)(k?) fps")
_TIME_BASE_RATE = re.compile(r"([\d.]+)(k?) tbr")
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_ROTATION = re.compile(r"rotation of (-?[\d.]+) degrees|rotate\s*: (-?\d+)")
_COLORS = re.compile(r"\((?:tv|pc)?[, ]*([\w-]+)/([\w-]+)/([\w-]+)")
_FIELDS = {"top first": "tff", "bottom first": "bff", "top coded first": "tff", "bottom coded first": "bff"}
_NTSC_RATES = {"23.98": Fraction(24000, 1001), "29.97": Fraction(30000, 1001), "59.94": Fraction(60000, 1001)}


@dataclass(frozen=True, slots=True)
class SoundStream:
    """One of a file's sound streams.

    Attributes:
        codec: ffmpeg's name of it.
        layout: "mono", "stereo", "5.1(side)", "3 channels", ...
        is_default: whether the file says that players should choose it.
        language: three letters, where the file tells.
    """

    codec: str
    layout: str = ""
    is_default: bool = False
    language: str = ""


@dataclass(frozen=True, slots=True)
class PictureKind:
    """How a video's pictures are stored, where that is not how they are shown.

    Attributes:
        primaries: of its colors ("bt709", "bt2020", ...); empty where the file does not tell.
        transfer: its curve ("bt709"; "smpte2084" is PQ, "arib-std-b67" HLG); empty where the file does not tell.
        fields: "tff" or "bff" for interlaced pictures, whose top or bottom field is first; empty for whole ones.
        rotation_deg: by how much it is turned before it is shown.
        pixel_aspect: width of a pixel over its height.
    """

    primaries: str = ""
    transfer: str = ""
    fields: str = ""
    rotation_deg: int = 0
    pixel_aspect: Fraction = Fraction(1)

    @property
    def is_hdr(self) -> bool:
        """Whether it is PQ or HLG."""
        return self.transfer in ("smpte2084", "arib-std-b67")


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What ffmpeg says of a file before decoding it; sizes with rotation and pixel aspect applied.

    Attributes:
        duration_s: None where the container does not tell.
        size: width and height in square pixels, None without a picture stream.
        fps: average frame rate, None without a picture stream.
        sounds: the sound streams.
        kind: how its pictures are stored.
        guessed: whether the length is no more than a guess from the size of the file.
    """

    duration_s: float | None
    size: tuple[int, int] | None
    fps: Fraction | None
    sounds: tuple[SoundStream, ...] = ()
    kind: PictureKind = PictureKind()
    guessed: bool = False

    @property
    def has_audio(self) -> bool:
        """Whether there is a sound stream."""
        return bool(self.sounds)

    def choose_sound(self, number: int | None, path: Path) -> int:
        """Index of a sound stream: the one asked for (from 1), or the first that players should choose, or the first.

        Raises:
            InputError: there is none, or not that many.
        """
        if not self.sounds:
            raise InputError(f"{path} holds no audio stream", hint="give a recording, or a video with sound")
        if number is None:
            return next((i for i, sound in enumerate(self.sounds) if sound.is_default), 0)
        if not 1 <= number <= len(self.sounds):
            raise InputError(
                f"{path} has no sound stream {number}: it has {len(self.sounds)}",
                hint=f"--audio-stream 1 to {len(self.sounds)}",
            )
        return number - 1


def parse_banner(text: str) -> MediaInfo:
    """Read the stream table that `ffmpeg -i` prints."""
    duration = _DURATION.search(text)
    video = next((m.group(1) for m in _VIDEO_LINE.finditer(text) if "(attached pic)" not in m.group(0)), None)
    return MediaInfo(
        duration_s=_seconds(duration) if duration else None,
        size=_display_size(video, text) if video else None,
        fps=_frame_rate(video) if video else None,
        sounds=tuple(_sound(match) for match in _AUDIO_LINE.finditer(text)),
        kind=_picture_kind(video, text) if video else PictureKind(),
        guessed="Estimating duration from bitrate" in text,
    )


def _sound(match: re.Match[str]) -> SoundStream:
    language, codec, rest = match.groups()
    parts = [part.strip() for part in rest.split(",")]
    after_rate = next((i + 1 for i, part in enumerate(parts) if part.endswith(" Hz")), len(parts))
    layout = parts[after_rate] if after_rate < len(parts) else ""
    return SoundStream(codec, layout, "(default)" in rest, language if language not in (None, "und") else "")


def _picture_kind(line: str, text: str) -> PictureKind:
    known = ("" if name in ("unknown", "reserved") else name for name in _color_names(line))
    _, primaries, transfer = known
    fields = next((order for words, order in _FIELDS.items() if words in line), "")
    return PictureKind(primaries, transfer, fields, _rotation_deg(text), _pixel_aspect(line))


def _color_names(line: str) -> tuple[str, str, str]:
    """Matrix, primaries and transfer; ffmpeg says one word where they are the same."""
    found = _COLORS.search(line)
    if found:
        return found.group(1), found.group(2), found.group(3)
    return ("bt709",) * 3 if re.search(r"\([^)]*\bbt709\b", line) else ("", "", "")


def _rotation_deg(text: str) -> int:
    found = _ROTATION.search(text)
    return round(float(found.group(1) or found.group(2))) % 360 if found else 0


def _pixel_aspect(line: str) -> Fraction:
    found = _ASPECT.search(line)
    width, height = (int(part) for part in found.groups()) if found else (1, 1)
    return Fraction(width, height) if width > 0 and height > 0 else Fraction(1)


def _seconds(match: re.Match[str]) -> float:
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _display_size(line: str, text: str) -> tuple[int, int] | None:
    found = _SIZE.search(line)
    if found is None:
        return None
    width, height = int(found.group(1)), int(found.group(2))
    width = max(1, round(width * _pixel_aspect(line)))
    return (height, width) if _rotation_deg(text) % 180 == 90 else (width, height)


def _frame_rate(line: str) -> Fraction | None:
    found = _RATE.search(line) or _TIME_BASE_RATE.search(line)
    if found is None:
        return None
    number, kilo = found.groups()
    if not kilo and number in _NTSC_RATES:
        return _NTSC_RATES[number]
    rate = Fraction(number).limit_denominator(1000) * (1000 if kilo else 1)
    return rate if rate > 0 else None
