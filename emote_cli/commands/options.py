"""Options that several commands share, written once."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated

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


class MotionRegion(StrEnum):
    """How far the head may move from where it is in the portrait."""

    tight = "tight"
    wide = "wide"
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


PortraitFile = Annotated[
    Path,
    typer.Argument(metavar="PORTRAIT", help="A picture with a face, in any format.", show_default=False),
]
AudioFile = Annotated[
    Path, typer.Argument(metavar="AUDIO", help="Speech: any sound or video file.", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the output.")]
ModelName = Annotated[
    str,
    typer.Option("--model", metavar="NAME|PATH", help="A known model, or the folder of one."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same video.")]
DeviceName = Annotated[Device, typer.Option("--device", help="Where to run.")]
DTypeName = Annotated[DType, typer.Option("--dtype", help="Number format of the network.")]
