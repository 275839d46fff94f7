"""Files that get their name only when they are complete: written beside it, then renamed."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from emote_cli.errors import OutputError

PART_PREFIX = ".part-"
"""Files that are being written start with this; one that stays behind belongs to a killed run."""


def make_folder(folder: Path, inside: Iterable[str] = ()) -> None:
    """Make a folder, and those of these names inside it, where they are not there.

    Raises:
        OutputError: one cannot be made.
    """
    try:
        for place in (folder, *(folder / name for name in inside)):
            place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make {folder}: {error.strerror}", hint="choose a folder that you may write to"
        ) from error


def part_name(path: Path) -> Path:
    """A fresh empty file beside `path`, to be written and then renamed to it.

    Raises:
        OutputError: the folder is missing or not writable.
    """
    try:
        handle, name = tempfile.mkstemp(
            prefix=f"{PART_PREFIX}{path.stem[:40]}-", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise OutputError(
            f"cannot write to {path.parent}: {error.strerror}", hint="make the folder, or choose another"
        ) from error
    os.close(handle)
    os.chmod(name, 0o666 & ~_umask())
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file at once; one that says the same already is left alone.

    Raises:
        OutputError: the folder is missing, full or not writable.
    """
    data = text.encode("utf-8")
    if not (path.is_file() and path.read_bytes() == data):
        write_file(path, lambda file: file.write(data))


def write_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a file that gets its name only when it is complete.

    Raises:
        OutputError: the folder is missing, full or not writable.
    """
    part = part_name(path)
    try:
        with part.open("wb") as file:
            write(file)
        os.replace(part, path)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}", hint="check free space and permissions"
        ) from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def only_writer(lock: Path, what: Path) -> Iterator[None]:
    """Let no other process write to the same place; the lock dies with the process.

    Where the file system has no locks, nothing is checked.

    Args:
        lock: a file for it.
        what: the place, for messages.

    Raises:
        OutputError: another one does.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"another run is writing to {what}", hint="wait for it to finish, or stop it"
            ) from error
        except OSError:
            pass
        os.register_at_fork(after_in_child=file.close)  # a child that outlives its parent would keep the lock
        yield
