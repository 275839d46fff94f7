"""Options that several commands share, written once."""

from __future__ import annotations

from contextvars import ContextVar
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

_NTSC = {"23.976": Fraction(24000, 1001), "29.97": Fraction(30000, 1001), "59.94": Fraction(60000, 1001)}


class Device(StrEnum):
    """Where the network runs; `auto` takes the fastest that is there."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class DType(StrEnum):
    """Number format of the network; `auto` takes what the device does best."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Quality(StrEnum):
    """How much time goes into each frame."""

    paper = "paper"
    balanced = "balanced"
    fast = "fast"


class MotionRegion(StrEnum):
    """How far the head may move from where it is in the portrait."""

    tight = "tight"
    wide = "wide"
    full = "full"


class Frame(StrEnum):
    """What is shown: the animated square, or the whole photo with the animated head in it."""

    crop = "crop"
    full = "full"


def parse_fps(text: str) -> Fraction:
    """Read a frame rate: `25`, `29.97` (meaning 30000/1001) or `30000/1001`."""
    try:
        fps = _NTSC.get(text) or Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(
            f"{text!r} is not a frame rate; for example 25, 29.97 or 30000/1001"
        ) from None
    if not 1 <= fps <= 240:
        raise typer.BadParameter(f"{text} is out of range: 1 to 240 frames per second")
    return fps


def parse_seconds(text: str | float) -> float:
    """Read a time: seconds (`90.5`), or `m:ss`, or `h:mm:ss`."""
    parts = str(text).split(":")  # a default arrives as a number
    try:
        seconds = 0.0
        for part in parts:
            seconds = seconds * 60 + float(part)
    except ValueError:
        seconds = -1.0
    if len(parts) > 3 or not 0 <= seconds < 1e6:
        raise typer.BadParameter(f"{text!r} is not a time; for example 12.5, 1:30 or 1:02:03")
    return seconds


def parse_face(text: str) -> Any:
    """Read which face is meant: `largest`, a number from 1 (the largest), or `x0,y0,x1,y1` in pixels."""
    from emote_cli.types import Box

    try:
        if text == "largest":
            return "largest"
        if "," not in text:
            if int(text) < 1:
                raise ValueError
            return int(text)
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
        if not (x0 < x1 and y0 < y1):
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a face; give largest, 1, 2, ... or x0,y0,x1,y1") from None
    return Box(x0, y0, x1, y1)


PortraitFile = Annotated[
    Path | None,
    typer.Argument(metavar="PORTRAIT", help="A picture with a face, in any format.", show_default=False),
]
AudioFile = Annotated[
    Path | None, typer.Argument(metavar="AUDIO", help="Speech: any sound or video file.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output.")]
ModelName = Annotated[
    str,
    typer.Option("--model", metavar="NAME|PATH", help="A known model, or the folder of one."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same video.")]
DeviceName = Annotated[Device, typer.Option("--device", help="Where to run.")]
DTypeName = Annotated[DType, typer.Option("--dtype", help="Number format of the network.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The video, or a folder of PNG files (default: the portrait's name + .mp4, here).",
    ),
]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, max=1000, help="Denoising steps (default: the model's).")
]
Guidance = Annotated[
    float | None,
    typer.Option("--guidance", min=0, help="Guidance scale; 1 is off (default: the model's)."),
]
HeadSpeed = Annotated[
    float | None,
    typer.Option("--head-speed", min=0, max=2, help="How fast the head turns: degrees per frame at 30 fps."),
]
FrameRate = Annotated[
    Fraction | None,
    typer.Option("--fps", parser=parse_fps, metavar="FPS", help="Frames per second (default: the model's)."),
]
Size = Annotated[
    int | None,
    typer.Option(
        "--size", min=32, max=4096, help="Side in pixels, even (default: the model's, or the photo's)."
    ),
]
Region = Annotated[MotionRegion, typer.Option("--motion-region", help="How far the head may move.")]
Detail = Annotated[
    bool | None,
    typer.Option("--detail/--no-detail", help="Give still places the portrait's own detail back."),
]
Articulation = Annotated[
    float | None,
    typer.Option(
        "--articulation",
        min=0.1,
        max=5,
        help="How far speech moves the lips: 1 is what the model says, more is livelier and rougher (mini).",
    ),
]
Smoothing = Annotated[
    int | None,
    typer.Option(
        "--smoothing",
        min=0,
        max=5,
        help="Frames on either side that each one is averaged with: steadier lips, softer closures.",
    ),
]
Idle = Annotated[
    bool | None,
    typer.Option("--idle/--no-idle", help="Let the head sway and the eyes blink (default: the model's)."),
]
Start = Annotated[
    float,
    typer.Option("--start", parser=parse_seconds, metavar="TIME", help="Where in the sound to begin."),
]
Duration = Annotated[
    float | None,
    typer.Option("--duration", parser=parse_seconds, metavar="TIME", help="How much of it to use."),
]
AudioStream = Annotated[
    int | None,
    typer.Option(
        "--audio-stream",
        min=1,
        metavar="N",
        help="Which sound stream (default: the one that players choose).",
    ),
]
WhichFrame = Annotated[
    Frame, typer.Option("--frame", help="Show the animated square, or the whole photo with it pasted in.")
]
WhichFace = Annotated[
    Any,
    typer.Option(
        "--face",
        parser=parse_face,
        metavar="WHICH",
        help="Which face: largest, 2 (the second largest), or x0,y0,x1,y1.",
    ),
]
Batch = Annotated[
    Path | None,
    typer.Option(
        "--batch",
        metavar="TABLE|FOLDER",
        help="Many jobs: a .csv or .jsonl table (portrait, audio, ...), or a folder of equally named "
        "pictures and sounds; -o then names the folder to write to.",
    ),
]
Like = Annotated[
    Path | None,
    typer.Option(
        "--like", metavar="VIDEO", help="Take the settings of a video that emote made; options override."
    ),
]
QualityName = Annotated[
    Quality | None,
    typer.Option(
        "--quality",
        help="Solver, steps and guidance together: paper is the model's own way, fast a quarter of its steps.",
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the network first: minutes, then faster frames.")
]
LowMemory = Annotated[
    bool,
    typer.Option("--low-memory", help="Keep one large part of the model at a time on the GPU. Slower."),
]
SeparateVocals = Annotated[
    bool,
    typer.Option(
        "--separate-vocals",
        help="Listen to the voice only: for sound with music (emote download hallo-vocals).",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and how long it would take.")
]


Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with what a killed render left; stopped again, leave what is finished."
    ),
]
KeepPartial = Annotated[
    bool,
    typer.Option("--keep-partial", help="Ctrl-C leaves a video of what is made so far, NAME.partial.mp4."),
]
Ray = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS|local", help="Spread the jobs of --batch over a Ray cluster."),
]
GIVEN: ContextVar[frozenset[str]] = ContextVar("given", default=frozenset())
"""The parameters of the running command that were given on the command line."""


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a command's parameters, choices as plain words."""
    return {name: value.value if isinstance(value, StrEnum) else value for name, value in values.items()}
