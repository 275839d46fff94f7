"""What was made of a video is kept as numbers, so that an interrupted run goes on."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np

from emote_cli.files import make_folder, write_file

Kept = TypeVar("Kept")


def make_or_load(
    kind: Callable[..., Kept], make: Callable[[], Kept], video: Path, recipe: str, folder: Path | None
) -> Kept:
    """What was kept of a video by the same recipe, or else what `make` makes now, which is then kept.

    Args:
        kind: a dataclass of arrays and plain numbers.
        make: makes one.
        video: of which; another size or time of the file counts as another video.
        recipe: how, in a word or two.
        folder: where it is kept; None keeps nothing.

    Raises:
        OutputError: the folder cannot be written.
    """
    if folder is None:
        return make()
    stat = video.stat()
    told = f"{recipe} {video.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    key = hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()  # names no folder
    path = folder / f"{video.stem[:60]}-{key[:12]}.npz"
    found = load(kind, path, key)
    if found is None:
        found = make()
        make_folder(folder)
        save(found, path, key)
    return found


def save(kept: Any, path: Path, key: str) -> None:
    """Write a dataclass of arrays and plain numbers, under a key that says of what it is, and how it was made."""
    values = {each.name: getattr(kept, each.name) for each in fields(kept)}
    write_file(path, lambda file: np.savez_compressed(file, key=np.array(key), **values))


def load(kind: Callable[..., Kept], path: Path, key: str) -> Kept | None:
    """What `save` kept; None where there is nothing, or it is of another key or kind."""
    try:
        with np.load(path) as kept:
            if str(kept["key"]) != key:
                return None
            values = {each.name: kept[each.name] for each in fields(kind)}  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None
    return kind(**{name: value.item() if value.ndim == 0 else value for name, value in values.items()})
