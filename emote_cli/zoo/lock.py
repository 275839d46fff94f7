"""The lock file of a downloaded model: where each file came from, and what its sha256 is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emote_cli.errors import WeightsError
from emote_cli.files import sha256_of, write_text

LOCK_NAME = "emote-lock.json"


@dataclass(frozen=True, slots=True)
class Locked:
    """What the lock file remembers of one installed file.

    Attributes:
        repo: hub repository id.
        path: path inside the repository.
        commit: the revision it came from, 40 hex digits.
        source_hash: the hub's own hash: sha256 of a large file (LFS), git blob id of a small one.
        sha256: of the file as it lies here (after conversion).
        size: bytes, as it lies here.
        mtime_ns: modification time when it was last verified.
    """

    repo: str
    path: str
    commit: str
    source_hash: str
    sha256: str
    size: int
    mtime_ns: int


def read_lock(folder: Path) -> dict[str, Locked]:
    """Read the lock file of a downloaded model, by path inside the folder; empty where there is none.

    Raises:
        WeightsError: if it is damaged.
    """
    rows = _read_lock(folder).get("files", {})
    try:
        return {to: Locked(**row) for to, row in rows.items()}
    except (TypeError, AttributeError) as error:
        raise _lock_damaged(folder) from error


def model_of(folder: Path) -> str:
    """Find the name of the public model that a folder was downloaded for; empty if it was not."""
    return str(_read_lock(folder).get("model", ""))


def write_lock(folder: Path, model: str, files: dict[str, Locked]) -> None:
    """Write the lock file, at once or not at all.

    Args:
        folder: of the model.
        model: its name.
        files: path in the folder -> what is known of the file.

    Raises:
        OutputError: the folder is missing, full or not writable.
    """
    rows = {to: asdict(locked) for to, locked in sorted(files.items())}
    write_text(folder / LOCK_NAME, json.dumps({"model": model, "files": rows}, indent=1) + "\n")


def _read_lock(folder: Path) -> dict[str, Any]:
    path = folder / LOCK_NAME
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _lock_damaged(folder) from error
    if not isinstance(content, dict):
        raise _lock_damaged(folder)
    return content


def _lock_damaged(folder: Path) -> WeightsError:
    return WeightsError(f"{folder / LOCK_NAME} is damaged", hint="delete that file, then download again")


def fault(path: Path, locked: Locked | None, full: bool = False) -> str:
    """Say in one or two words what is wrong with an installed file; empty if nothing is.

    Size and time stand in for the sha256, which is computed where they differ, or always if `full`.

    Args:
        path: of the file.
        locked: what the lock file says of it; None if nothing.
        full: whether to compute the sha256 in any case.
    """
    if locked is None or not path.is_file():
        return "missing"
    stat = path.stat()
    if stat.st_size != locked.size:
        return f"damaged ({stat.st_size} bytes, expected {locked.size})"
    if (full or stat.st_mtime_ns != locked.mtime_ns) and sha256_of(path) != locked.sha256:
        return "damaged (wrong sha256)"
    return ""
