"""Files: written beside their name and renamed when complete; locks; hashes.

Everything that this package writes goes through here, so that nothing is ever seen half-written.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from emote_cli import stopping
from emote_cli.errors import OutputError

PART_PREFIX = ".part-"
"""Files that are being written start with this; one that stays behind belongs to a killed run."""

_LEAST_FREE_BYTES = 1 << 20


def check_place(path: Path) -> None:
    """Make sure that a file or folder of this name can be written, as far as that can be seen beforehand.

    Raises:
        OutputError: its name is too long or a link, or its folder is missing, full or not writable.
    """
    folder = path.parent
    if (n_bytes := len(os.fsencode(path.name))) > (most := _name_bytes(folder)):
        raise OutputError(
            f"the name {path.name[:20]}... is too long: {n_bytes} bytes, the disk takes {most}",
            hint="choose a shorter name with -o",
        )
    try:
        is_folder = folder.is_dir()
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise OutputError(
            f"cannot write to {folder}: {what}", hint="choose another folder with -o"
        ) from error
    if path.is_symlink():
        raise OutputError(
            f"output {path} is a link to {os.readlink(path)}", hint="name that file, or remove the link"
        )
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OutputError(f"output {path} is a pipe or a device", hint="name a file with -o")
    if not is_folder:
        raise OutputError(f"output folder {folder} does not exist", hint="make it first, or choose another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"output folder {folder} is not writable", hint="choose another folder with -o")
    if shutil.disk_usage(folder).free < _LEAST_FREE_BYTES:
        raise no_space(folder)


def no_space(folder: Path) -> OutputError:
    """Make the error for a full disk; the folder of working files is told by the name of the one around it."""
    working = [place for place in (folder, *folder.parents) if PART_PREFIX in place.name]
    shown = working[-1].parent if working else folder
    return OutputError(
        f"no space left in {shown}", hint="free some space there, or choose another folder with -o"
    )


def _name_bytes(folder: Path) -> int:
    """How long a name may be."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):
        return 255


def beside(path: Path, ending: str) -> Path:
    """Name a file that accompanies `path`: its own name without the ending, cut where it would be too long."""
    stem = path.stem
    while len(os.fsencode(stem + ending)) > _name_bytes(path.parent):
        stem = stem[:-1]
    return path.with_name(stem + ending)


def working_name(path: Path, ending: str) -> Path:
    """Name what will become `path` while it is made: a short name beside it, the same each time."""
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]
    return path.with_name(f"{PART_PREFIX}{path.stem[:20]}-{digest}{ending}")


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file, as 64 lower-case hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path) -> str:
    """Compute the SHA-256 of a file; it is remembered while the file's size and time stay the same."""
    status = path.stat()
    return _sha256_once(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256_once(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_of(path)


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
    """Make a fresh empty file beside `path`, to be written and then renamed to it.

    Raises:
        OutputError: the folder is missing or not writable.
    """
    try:
        handle, name = tempfile.mkstemp(
            prefix=f"{PART_PREFIX}{path.stem[:20]}-", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(path.parent) from error
        raise OutputError(
            f"cannot write to {path.parent}: {error.strerror}", hint="make the folder, or choose another"
        ) from error
    os.close(handle)
    stopping.mark_unfinished(Path(name))
    os.chmod(name, 0o666 & ~_umask())
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file at once; one that says the same already is left alone.

    Names of files that are no UTF-8 are written as escapes, which JSON reads back.

    Raises:
        OutputError: the folder is missing, full or not writable.
    """
    data = text.encode("utf-8", errors="backslashreplace")
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
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(path.parent) from error
        raise OutputError(
            f"cannot write {path}: {error.strerror}", hint="check free space and permissions"
        ) from error
    finally:
        part.unlink(missing_ok=True)
        stopping.mark_finished(part)


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
