"""A prepared data set in parts of a size that travels: to another machine, a mail server, a store with a limit.

Each part is a tar file that is a data set by itself: clips with their pictures, sound and tracks, and a manifest. Clips
are spread over the parts by chance, always the same way, so every part is a sample of the whole: training can begin
with the first one that arrives.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from emote_cli.data import layout
from emote_cli.data.manifest import ClipRecord, from_dict, read_records, to_line, write_records
from emote_cli.data.tracks import read_tracks
from emote_cli.errors import DataError
from emote_cli.files import write_file

MEGABYTE = 1_000_000
PATTERN = "part-*.tar"
BLOCK = 512
"""Bytes that a tar file is made of."""
ENDING = 20 * BLOCK
"""Bytes that a tar file is padded to at most."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One file of a part: its name in the data set, and its bytes."""

    name: str
    content: bytes

    @property
    def size(self) -> int:
        """What it takes in a tar file."""
        long = 3 * BLOCK if len(self.name) >= 100 or not self.name.isascii() else 0
        return BLOCK + long + -(-len(self.content) // BLOCK) * BLOCK


def pack(folder: Path, records: list[ClipRecord], most_bytes: int) -> list[Path]:
    """Write the parts of a data set into its folder `parts`, in place of earlier ones.

    Args:
        folder: the data set.
        records: the clips that go in.
        most_bytes: of a part; one that a single clip exceeds holds that clip alone.

    Raises:
        DataError: a file of a clip is missing.
        OutputError: the parts cannot be written.
    """
    place = folder / layout.PARTS
    place.mkdir(exist_ok=True)
    for old in place.glob(PATTERN):
        old.unlink()
    paths = []
    for number, (chosen, files) in enumerate(_divide(folder, records, most_bytes)):
        paths.append(place / f"part-{number:03d}.tar")
        _write_part(paths[-1], chosen, files)
    return paths


def _divide(
    folder: Path, records: list[ClipRecord], most_bytes: int
) -> Iterator[tuple[list[ClipRecord], list[Packed]]]:
    chosen, files, size = list[ClipRecord](), list[Packed](), ENDING
    for record in sorted(records, key=lambda each: hashlib.sha256(each.id.encode()).digest()):
        clip = _files_of(folder, record)
        more = (
            sum(file.size for file in clip)
            + BLOCK
            + len(to_line(record).encode(errors="backslashreplace"))
            + 1
        )
        if chosen and size + more > most_bytes:
            yield chosen, files
            chosen, files, size = [], [], ENDING
        chosen, files, size = [*chosen, record], [*files, *clip], size + more
    if chosen:
        yield chosen, files


def _files_of(folder: Path, record: ClipRecord) -> list[Packed]:
    """A clip's files; its track is compressed, to the bit."""
    squeezed = io.BytesIO()
    np.savez_compressed(squeezed, allow_pickle=False, **read_tracks(folder, record))
    paths = [layout.clip_path(folder, record.id)]
    paths += [layout.audio_path(folder, record.id)] if record.has_audio else []
    try:
        files = [Packed(path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths]
    except OSError as error:
        raise DataError(f"{error.filename} is missing", "prepare the data set again") from error
    track = layout.track_path(folder, record.id).relative_to(folder).as_posix()
    return [*files, Packed(track, squeezed.getvalue())]


def _write_part(path: Path, records: list[ClipRecord], files: list[Packed]) -> None:
    manifest = "".join(to_line(record) + "\n" for record in records).encode(errors="backslashreplace")

    def write(file: IO[bytes]) -> None:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for each in (Packed(layout.MANIFEST, manifest), *files):
                member = tarfile.TarInfo(each.name)
                member.size, member.mode = len(each.content), 0o644
                tar.addfile(member, io.BytesIO(each.content))

    write_file(path, write)


def unpack(folder: Path) -> bool:
    """Make a data set of the parts that lie in a folder, there; parts that come later are added by another call.

    Returns:
        Whether there were parts that are not unpacked yet.

    Raises:
        DataError: a part is damaged, or holds what no part should.
        OutputError: the folder cannot be written.
    """
    known = {record.id: record for record in read_records(folder / layout.MANIFEST)}
    fresh = False
    for path in sorted(folder.glob(PATTERN)):
        try:
            with tarfile.open(path) as tar:
                records = _records_of(tar)
                if all(record.id in known for record in records):
                    continue
                layout.make_folders(folder)
                for record in records:
                    _extract(tar, folder, record)
        except (OSError, tarfile.TarError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is no part of a data set: {error}", "fetch that part again") from error
        known |= {record.id: record for record in records}
        fresh = True
    if fresh:
        write_records(folder / layout.MANIFEST, (known[name] for name in sorted(known)))
    return fresh


def _records_of(tar: tarfile.TarFile) -> list[ClipRecord]:
    lines = _read(tar, layout.MANIFEST).decode().removesuffix("\n").split("\n")
    return [from_dict(json.loads(line)) for line in lines]


def _extract(tar: tarfile.TarFile, folder: Path, record: ClipRecord) -> None:
    """Write a clip's files under the names that its id gives them, whatever else the archive holds."""
    paths = [layout.clip_path(folder, record.id), layout.track_path(folder, record.id)]
    paths += [layout.audio_path(folder, record.id)] if record.has_audio else []
    for path in paths:
        content = _read(tar, path.relative_to(folder).as_posix())
        write_file(path, lambda file, content=content: file.write(content))  # type: ignore[misc]


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    with file:
        return file.read()


def sizes_mb(paths: list[Path]) -> list[float]:
    """Megabytes of each file."""
    return [os.path.getsize(path) / MEGABYTE for path in paths]
