"""The options of the page are those that the command declares; and the command line that repeats a choice of them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from emote_cli.animation.declare import option_of, read_value
from emote_cli.animation.job import OPTIONS
from emote_cli.settings import ModelSettings

IMPORTANT = (("quality", "motion_region"), ("head_speed",), ("articulation",), ("idle",))
"""Options that are always shown, row by row."""

FOLDED = (
    ("frame", "size"), ("fps", "seed"), ("start", "duration"), ("smoothing", "detail"), ("steps", "guidance"),
    ("device", "dtype"), ("separate_vocals", "low_memory"),
)  # fmt: skip
"""Options that are folded away, row by row."""

NAMES = tuple(name for row in IMPORTANT + FOLDED for name in row)

OF_MODEL = ("head_speed", "articulation", "smoothing", "idle", "detail")
"""Options whose usual value is the model's; see `defaults`."""

MOST_ON_A_SCALE = 10
"""Numbers up to this are shown on a scale, larger ones in a field."""


def defaults(settings: ModelSettings) -> dict[str, Any]:
    """What the options are where nobody sets them: the model's own; None where there is no number to show."""
    own = {
        "head_speed": settings.head_speed,
        "articulation": settings.aids.articulation,
        "smoothing": settings.aids.smoothing,
        "idle": settings.aids.idle_motion,
        "detail": settings.aids.detail_transfer,
    }
    return {name: own.get(name, OPTIONS[name].default) for name in NAMES}


def choices(name: str) -> tuple[str, ...]:
    """The words that an option may be; none where it is no choice between words."""
    kind = OPTIONS[name].type
    parts = get_args(kind) if NoneType in get_args(kind) else (kind,)
    return next((get_args(part) for part in parts if get_origin(part) is Literal), ())


def scale(name: str) -> tuple[float, float, float] | None:
    """Least, most and step of an option on a scale; None where it has no short one."""
    said, kind = option_of(OPTIONS[name]), OPTIONS[name].type
    if said.read is not None or said.least is None or said.most is None or said.most > MOST_ON_A_SCALE:
        return None
    return said.least, said.most, 1 if int in (kind, *get_args(kind)) else 0.1


def chosen(values: Mapping[str, Any], settings: ModelSettings) -> dict[str, Any]:
    """The options that differ from what they are anyway.

    Args:
        values: what the page's fields say, by name; numbers, times and rates as text.
        settings: the model's.

    Raises:
        SettingsError: a text stands for no value.
    """
    own, found = defaults(settings), {}
    for name in NAMES:
        value = values[name]
        if isinstance(value, str):
            value = value.strip()
            value = read_value(OPTIONS[name], value) if value else None
        if scale(name) and isinstance(value, float) and value.is_integer() and isinstance(own[name], int):
            value = int(value)
        if value is not None and value != own[name]:
            found[name] = value
    return found


def command_line(portrait: str, sound: str, options: Mapping[str, Any]) -> str:
    """The command that makes the same video.

    Args:
        portrait: name of the picture.
        sound: name of the recording.
        options: model and face included, those that are not as they are anyway.
    """
    words = ["emote", "animate", portrait, sound, "-o", f"{Path(portrait).stem}.mp4"]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-"))
        else:
            words += [flag, f"{float(value):g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)
