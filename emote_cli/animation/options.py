"""The options of an animation, each declared once: how it is made, and how the model is run. No torch, no numpy."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from emote_cli.animation.declare import Options, check_options, option
from emote_cli.errors import SettingsError

Quality = Literal["paper", "balanced", "fast"]
"""How much time goes into each frame."""

FaceRegion = Literal["tight", "wide", "full"]
"""How far the head may move from where it is in the portrait (paper 4.5)."""

REGION_SCALES: dict[FaceRegion, float] = {"tight": 1.0, "wide": 1.6, "full": float("inf")}
"""Sides of the face region over those of the face's box."""

FrameKind = Literal["crop", "full"]
"""What is shown: the animated square, or the whole photo with the animated head in it."""

FaceChoice = Literal["largest"] | int | tuple[float, float, float, float]
"""The largest, the n-th largest (from 1), or the one in a box x0, y0, x1, y1 in pixels of the upright picture."""

Solver = Literal["ddim", "dpm"]

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
"""Where the network runs; `auto` takes the fastest that is there."""

DTypeName = Literal["auto", "float32", "bfloat16", "float16", "fp32", "bf16", "fp16"]
"""Number format of the network; `auto` takes what the device does best."""

_NTSC = {"23.976": Fraction(24000, 1001), "29.97": Fraction(30000, 1001), "59.94": Fraction(60000, 1001)}


def read_fps(text: str) -> Fraction:
    """Read a frame rate: `25`, `29.97` (meaning 30000/1001) or `30000/1001`.

    Raises:
        SettingsError: it is none.
    """
    try:
        return _NTSC.get(text.strip()) or Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise SettingsError(
            f"{text!r} is not a frame rate", hint="for example 25, 29.97 or 30000/1001"
        ) from error


def read_seconds(text: str) -> float:
    """Read a time: seconds (`90.5`), or `m:ss`, or `h:mm:ss`.

    Raises:
        SettingsError: it is none.
    """
    parts = text.split(":")
    try:
        seconds = 0.0
        for part in parts:
            seconds = seconds * 60 + float(part)
    except ValueError:
        seconds = -1.0
    if len(parts) > 3 or not 0 <= seconds < float("inf"):
        raise SettingsError(f"{text!r} is not a time", hint="for example 12.5, 1:30 or 1:02:03")
    return seconds


def read_face(text: str) -> FaceChoice:
    """Read which face is meant: `largest`, a number from 1 (the largest), or `x0,y0,x1,y1` in pixels.

    Raises:
        SettingsError: it is none.
    """
    try:
        if text == "largest":
            return "largest"
        if "," not in text:
            return int(text)
        x0, y0, x1, y1 = (float(part) for part in text.strip("()[] ").split(","))
        if x0 < x1 and y0 < y1:
            return x0, y0, x1, y1
    except ValueError:
        pass
    raise SettingsError(f"{text!r} is not a face", hint="give largest, 1, 2, ... or x0,y0,x1,y1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimateOptions(Options):
    """How a video is made of a portrait and speech. None means: as the model was made for.

    Each field says what it does, and its range.

    Raises:
        SettingsError: a value has the wrong type or is out of range.
    """

    seed: int = option(
        0,
        "The same seed gives the same video.",
        "Motion",
        least=0,
        most=2**63 - 1,
        metavar="NUMBER",
        repeatable=True,
    )
    head_speed: float | None = option(
        None,
        "How fast the head turns: degrees per frame at 30 fps (default: the model's).",
        "Motion",
        least=0,
        most=2,
        repeatable=True,
    )
    motion_region: FaceRegion = option("wide", "How far the head may move.", "Motion", repeatable=True)
    articulation: float | None = option(
        None,
        "How far speech moves the lips: 1 is what the network predicts, more is livelier and rougher "
        "(default: the model's).",
        "Motion",
        least=0.1,
        most=5,
        repeatable=True,
    )
    smoothing: int | None = option(
        None,
        "Average each frame with so many on either side: lips are steadier, but close less (default: the model's).",
        "Motion",
        least=0,
        most=5,
        repeatable=True,
    )
    idle: bool | None = option(
        None,
        "Let the head sway and the eyes blink (default: the model's).",
        "Motion",
        flags=("--idle/--no-idle",),
        repeatable=True,
    )
    face: FaceChoice | None = option(
        None,
        "Which face: largest, 2 (the second largest), or x0,y0,x1,y1.",
        "Motion",
        least=1,
        metavar="WHICH",
        read=read_face,
    )

    start: float = option(
        0.0,
        "Where in the sound to begin.",
        "Sound",
        least=0,
        most=1e6,
        metavar="TIME",
        read=read_seconds,
        repeatable=True,
    )
    duration: float | None = option(
        None,
        "How much of it to use (default: all from there on).",
        "Sound",
        above=0,
        most=1e6,
        metavar="TIME",
        read=read_seconds,
        repeatable=True,
    )
    audio_stream: int | None = option(
        None,
        "Which sound stream (default: the one that players choose).",
        "Sound",
        least=1,
        metavar="N",
        repeatable=True,
        later=True,
    )
    separate_vocals: bool = option(
        False,
        "Listen to the voice only: for sound with music (needs emote download hallo-vocals).",
        "Sound",
        flags=("--separate-vocals",),
        repeatable=True,
    )

    frame: FrameKind = option(
        "crop", "Show the animated square, or the whole photo with it pasted in.", "Output", repeatable=True
    )
    size: int | None = option(
        None,
        "Side in pixels, even (default: the model's, or the photo's).",
        "Output",
        least=32,
        most=4096,
        even=True,
        repeatable=True,
    )
    fps: Fraction | None = option(
        None,
        "Frames per second (default: the model's).",
        "Output",
        least=1,
        most=240,
        metavar="FPS",
        read=read_fps,
        repeatable=True,
    )
    detail: bool | None = option(
        None,
        "Restore the portrait's own detail where the picture stands still (default: the model's).",
        "Output",
        flags=("--detail/--no-detail",),
        repeatable=True,
    )

    quality: Quality | None = option(
        None,
        "Solver, steps and guidance together: paper is as the model was published, balanced takes half of its steps, "
        "fast a quarter (default: the model's).",
        "Model",
        repeatable=True,
    )
    steps: int | None = option(
        None, "Denoising steps (default: the model's).", "Model", least=1, most=1000, repeatable=True
    )
    guidance: float | None = option(
        None,
        "Guidance scale; 1 is off (default: the model's).",
        "Model",
        least=0,
        most=100,
        repeatable=True,
    )
    solver: Solver | None = option(None, "ddim or dpm (default: the quality's).")


def _say_nothing(line: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning(Options):
    """How a model is loaded and run; results stay the same but for rounding.

    Attributes:
        variant: a preset to use instead of the folder's settings: of another set of weights in it.
        tell: is told what the model needs, and when memory runs short.

    Raises:
        SettingsError: a value has the wrong type, or two cannot be used together.
    """

    compile: bool = option(
        False,
        "Compile the blocks of the network first: about a minute, then faster frames.",
        "Model",
        flags=("--compile",),
    )
    low_memory: bool = option(
        False,
        "Keep one large part of the model at a time on the GPU. Slower.",
        "Model",
        flags=("--low-memory",),
    )
    cuda_graphs: bool = option(
        False,
        "Record a denoising step on the GPU and replay it: less work for the CPU, but more memory; experimental.",
        "Model",
        flags=("--cuda-graphs",),
    )
    variant: str | None = None
    tell: Callable[[str], object] = _say_nothing

    def __post_init__(self) -> None:
        check_options(self)
        asked = {
            "--compile": self.compile,
            "--low-memory": self.low_memory,
            "--cuda-graphs": self.cuda_graphs,
        }
        both = [name for name, wanted in asked.items() if wanted]
        if len(both) > 1:
            raise SettingsError(
                f"{both[0]} and {both[1]} cannot be used together", hint="leave one of them out"
            )
