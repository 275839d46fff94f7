"""Which codecs and container a video's name asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from emote_cli.errors import OutputError

SCALE_FLAGS = "flags=bicubic+accurate_rnd+full_chroma_int"

_BT709 = ["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv"]
_GIF_BLOCK = 255
_PALETTES = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=bayer"
_FINE_TIME = 10_000
"""Ticks per second that a track has at least; a whole number of them is a frame."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """ffmpeg's arguments for one kind of file.

    Attributes:
        codec: of the picture; empty for GIF, whose colors are chosen frame by frame.
        container: format and its flags.
        sound: codec of the sound; empty where there is none.
        copies: codecs of sound that this container takes as they are.
        copied_from: endings of files whose timing survives a copy.
        stream: format of a segment, which is the picture alone and can be joined to others ("h264" or "ivf").
    """

    codec: list[str]
    container: list[str]
    sound: list[str] = field(default_factory=list)
    copies: tuple[str, ...] = ()
    copied_from: tuple[str, ...] = ()
    stream: str = "h264"

    def video(self, size: tuple[int, int], quality: list[str]) -> list[str]:
        """Filters and codec for frames of (width, height); `quality` is x264's."""
        if not self.codec:
            return ["-filter_complex", f"[0:v]{_PALETTES}[v]", "-map", "-0:v", "-map", "[v]"]
        width, height = (side // 2 * 2 for side in size)
        fit = f"crop={width}:{height}:0:0,scale=out_color_matrix=bt709:out_range=tv:{SCALE_FLAGS}"
        chosen = quality if "libx264" in self.codec else []
        return ["-vf", fit, "-c:v", *self.codec, *chosen, "-pix_fmt", "yuv420p", *_BT709]

    def segment(self, size: tuple[int, int], quality: list[str]) -> list[str]:
        """Filters, codec and format of a closed group of pictures; what becomes a GIF is lossless till then."""
        if not self.codec:
            return ["-c:v", "libx264rgb", "-qp", "0", "-preset", "ultrafast", "-bf", "0", "-f", self.stream]
        # Without B-frames pictures are stored in the order in which they are shown, so that segments can follow
        # each other and be timed by counting.
        order = ["-bf", "0", "-flags", "+cgop"] if self.stream == "h264" else []
        return [*self.video(size, quality), *order, "-f", self.stream]

    def join_arguments(self, fps: Fraction) -> tuple[list[str], list[str]]:
        """Arguments for reading segments that follow each other in the pipe, and for writing their picture."""
        rate = f"{fps.numerator}/{fps.denominator}"
        if self.stream == "ivf":
            return ["-f", "ivf", "-i", "-"], ["-map", "0:v", "-c:v", "copy"]
        source = ["-f", self.stream, "-framerate", rate, "-i", "-"]
        seconds = f"{fps.denominator}/{fps.numerator}"
        if not self.codec:
            chain = f"[0:v]setpts=N*{seconds}/TB,{_PALETTES}[v]"
            return source, ["-filter_complex", chain, "-map", "[v]"]
        scale = fps.numerator
        while scale < _FINE_TIME:
            scale *= 2
        times = ["-bsf:v", f"setts=ts=N*{seconds}/TB:duration={seconds}/TB"]
        return source, ["-map", "0:v", "-c:v", "copy", *times, "-video_track_timescale", str(scale)]

    def finish(self, path: Path, comment: str) -> None:
        """Add what ffmpeg cannot: a GIF's comment, right behind its head."""
        if self.codec or not comment:
            return
        data = path.read_bytes()
        head = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
        text = comment.encode()
        blocks = [text[i : i + _GIF_BLOCK] for i in range(0, len(text), _GIF_BLOCK)]
        extension = b"!\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
        path.write_bytes(data[:head] + extension + data[head:])


_AAC = ["aac", "-b:a", "160k"]
_VP9 = ["libvpx-vp9", "-crf", "24", "-b:v", "0", "-row-mt", "1", "-cpu-used", "4"]
_ENCODINGS = {
    ".mp4": Encoding(["libx264"], ["-movflags", "+faststart", "-f", "mp4"], _AAC, ("aac",), (".m4a", ".mp4")),
    ".mov": Encoding(["libx264"], ["-movflags", "+faststart", "-f", "mov"], _AAC, ("aac",), (".m4a", ".mp4")),
    ".webm": Encoding(_VP9, ["-f", "webm"], ["libopus", "-b:a", "128k"], ("opus",), (".webm",), "ivf"),
    ".gif": Encoding([], ["-loop", "0", "-f", "gif"]),
}
VIDEO_SUFFIXES = tuple(_ENCODINGS)
"""Endings of video files that can be written."""


def encoding_of(path: Path) -> Encoding:
    """Find the encoding that a file's name asks for.

    Raises:
        OutputError: its ending is unknown.
    """
    encoding = _ENCODINGS.get(path.suffix.lower())
    if path.name == "-":
        raise OutputError(
            "a video is written to a file, not to the terminal", hint="for example -o video.mp4"
        )
    if encoding is None:
        raise OutputError(
            f"cannot write {path.name}: the name must end in {', '.join(VIDEO_SUFFIXES)}",
            hint="for example -o video.mp4; a name without an ending makes a folder of PNG files",
        )
    return encoding
