"""What a video says of its own making: tool, model, settings, inputs; in its comment tag."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from emote_cli import __version__
from emote_cli.animation.declare import check_value, option_of
from emote_cli.animation.job import OPTIONS, REPEATABLE, Job
from emote_cli.errors import InputError, SettingsError
from emote_cli.files import sha256_of
from emote_cli.media.ffmpeg import read_tags
from emote_cli.media.pngs import NOTE_NAME
from emote_cli.zoo.lock import read_lock

MADE_BY = f"emote {__version__}"

NOTE = "AI-generated video"
"""The first words of the comment, for people and for programs that look for them."""


def weights_hash(model: Path | str) -> str:
    """Compute a sha256 over all weights of a model folder; of a model without files, take its name."""
    if isinstance(model, str):
        return f"random weights of {model}"
    lock = read_lock(model)
    total = hashlib.sha256()
    for file in sorted(model.rglob("*.safetensors")):
        name = file.relative_to(model).as_posix()
        total.update(f"{name} {lock[name].sha256 if name in lock else sha256_of(file)}\n".encode())
    return total.hexdigest()


def describe_making(job: Job, model: Path | str, **more: Any) -> dict[str, Any]:
    """Describe everything that is needed to make the same video again, but for the two files themselves.

    Args:
        job: what was asked for.
        model: folder of the model, or the name of one without files.
        more: further facts.
    """
    return {
        "made_by": MADE_BY,
        "note": NOTE,
        "weights_sha256": weights_hash(model),
        **inputs_and_settings(job),
        **more,
    }


def inputs_and_settings(job: Job) -> dict[str, Any]:
    """Describe the part of the making that is known before anything is loaded; of files, only their names."""
    return {
        "settings": {name: _plain(value) for name, value in job.repeatable().items()},
        "portrait": {"name": job.portrait.name, "sha256": sha256_of(job.portrait)},
        "audio": {"name": job.audio.name, "sha256": sha256_of(job.audio)},
    }


def is_same_making(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a video was made as wanted; files and models count by what they are, not by where they lay.

    Args:
        made: from `read_making`.
        wanted: the part of a making that counts, of `inputs_and_settings` at least; names of models alone do not
            tell their weights apart.
    """
    there = _without_folders(made)
    return all(there.get(key) == value for key, value in _without_folders(wanted).items())


def _without_folders(making: Mapping[str, Any]) -> dict[str, Any]:
    told, settings = dict(making), making.get("settings")
    if isinstance(settings, Mapping):
        told["settings"] = {**settings, "model": Path(str(settings.get("model"))).name}
    for name in ("portrait", "audio"):
        if isinstance(file := making.get(name), Mapping):
            told[name] = file.get("sha256")
    return told


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | None) else str(value)


def to_tags(making: Mapping[str, Any]) -> dict[str, str]:
    """Make the container's tags that carry the making."""
    return {"comment": f"{NOTE}: {json.dumps(making, separators=(',', ':'))}"}


def read_making(path: Path) -> dict[str, Any]:
    """Read what a video that emote made says of its making.

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


def unset_text(name: str) -> str:
    """What it means in words that a setting of the making is not set: its option's `(default: ...)`.

    Args:
        name: of the setting, as `settings.head_speed`.
    """
    declaration = OPTIONS.get(name.rpartition(".")[2])
    meant = re.search(r"\(default: (.+?)\)", option_of(declaration).help) if declaration else None
    return f"not set ({meant[1]})" if meant else "not set"


def settings_of(path: Path) -> dict[str, Any]:
    """Read the repeatable settings of a video that emote made, and check them; see `read_making`.

    Raises:
        InputError: the file cannot be read, says nothing, or says what no option can be.
    """
    settings = read_making(path).get("settings")
    known = settings if isinstance(settings, dict) else {}
    try:
        return {name: check_value(OPTIONS[name], known[name]) for name in REPEATABLE if name in known}
    except SettingsError as error:
        raise InputError(
            f"{path} holds damaged settings: {error.message}", hint="name another video"
        ) from error


def job_like(like: Path | None, asked: Mapping[str, Any], named: Collection[str] = ()) -> Job:
    """Make a job as it was asked for; settings that were not named come from the video `like`.

    Args:
        like: a video that emote made.
        asked: values by name; a missing output is named after the portrait.
        named: which of them the user named.

    Raises:
        InputError: `like` says nothing of its making.
        SettingsError: a value has the wrong type or is out of range.
    """
    repeated = {} if like is None else settings_of(like)
    values = {**asked, **{name: value for name, value in repeated.items() if name not in named}}
    return Job.of({**values, "output": values.get("output") or Path(f"{values['portrait'].stem}.mp4")})
