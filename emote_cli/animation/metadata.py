"""What a video says of its own making: tool, model, settings, inputs; in its comment tag."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emote_cli import __version__
from emote_cli.errors import InputError
from emote_cli.media.ffmpeg import read_tags
from emote_cli.media.pngs import NOTE_NAME
from emote_cli.weights import read_lock, sha256_of

NOTE = "AI-generated video"
"""The first words of the comment, for people and for programs that look for them."""

REPEATABLE = (
    "model", "steps", "guidance", "seed", "head_speed", "motion_region", "detail",
    "articulation", "smoothing", "idle",
    "start", "duration", "audio_stream", "fps", "frame", "size", "dtype", "quality", "separate_vocals",
)  # fmt: skip
"""The settings that `--like` takes over."""

_ONLY_WHERE_SET = ("audio_stream",)
"""Settings that earlier versions did not have: they are named only where they are set."""


def weights_hash(model: Path | str) -> str:
    """A sha256 over all weights of a model folder; of a model without files, its name."""
    if isinstance(model, str):
        return f"random weights of {model}"
    lock = read_lock(model)
    total = hashlib.sha256()
    for file in sorted(model.rglob("*.safetensors")):
        name = file.relative_to(model).as_posix()
        total.update(f"{name} {lock[name].sha256 if name in lock else sha256_of(file)}\n".encode())
    return total.hexdigest()


def making_of(
    settings: Mapping[str, Any], model: Path | str, portrait: Path, audio: Path, **more: Any
) -> dict[str, Any]:
    """Everything that is needed to make the same video again, but for the two files themselves.

    Args:
        settings: values of `REPEATABLE`; others are left out.
        model: folder of the model, or the name of one without files.
        portrait: the picture; its name and sha256 are kept, not its folder.
        audio: the recording, likewise.
        more: further facts.
    """
    return {
        "made_by": f"emote {__version__}",
        "note": NOTE,
        "weights_sha256": weights_hash(model),
        **inputs_and_settings(settings, portrait, audio),
        **more,
    }


def inputs_and_settings(settings: Mapping[str, Any], portrait: Path, audio: Path) -> dict[str, Any]:
    """The part of the making that is known before anything is loaded; see `making_of`."""
    return {
        "settings": {
            key: _plain(settings[key])
            for key in REPEATABLE
            if settings[key] is not None or key not in _ONLY_WHERE_SET
        },
        "portrait": {"name": portrait.name, "sha256": sha256_of(portrait)},
        "audio": {"name": audio.name, "sha256": sha256_of(audio)},
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | None) else str(value)


def to_tags(making: Mapping[str, Any]) -> dict[str, str]:
    """The container's tags that carry it."""
    return {"comment": f"{NOTE}: {json.dumps(making, separators=(',', ':'))}"}


def read_making(path: Path) -> dict[str, Any]:
    """What a video that emote made says of its making.

    Raises:
        InputError: the file cannot be read, or says nothing.
    """
    note = path / NOTE_NAME
    comment = note.read_text("utf-8") if note.is_file() else read_tags(path).get("comment", "")
    start = comment.find("{")
    try:
        making = json.loads(comment[start:]) if start >= 0 else None
    except ValueError:
        making = None
    if not isinstance(making, dict) or not str(making.get("made_by", "")).startswith("emote "):
        raise InputError(f"{path} does not say how it was made", hint="name a video that emote animate wrote")
    return making


def settings_of(path: Path) -> dict[str, Any]:
    """The settings of a video that emote made, those of `REPEATABLE` only; see `read_making`."""
    settings = read_making(path).get("settings")
    known = settings if isinstance(settings, dict) else {}
    return {key: known[key] for key in REPEATABLE if key in known}
