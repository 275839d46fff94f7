"""Tables of jobs as people and programs write them: CSV of any kind, JSON lines, or a folder of pairs.

A row that cannot be read is told with its line, and does not stop the others.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emote_cli.animation.declare import list_options, read_value
from emote_cli.animation.job import OPTIONS
from emote_cli.animation.options import AnimateOptions
from emote_cli.errors import EmoteError, InputError
from emote_cli.media.ffmpeg import require_file

FILES = ("portrait", "audio", "output")
COLUMNS = (*FILES, *list_options(AnimateOptions))
"""What a row may say; portrait and audio it must."""

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic")
SOUNDS = (".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".aac", ".mp4", ".mov", ".webm")

_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_LARGEST = 64 << 20


@dataclass(frozen=True, slots=True)
class Row:
    """One job of a table.

    Attributes:
        place: where it stands, for messages.
        values: portrait, audio and output, and the options that it sets; paths are meant from the table's folder.
        error: why it cannot be read.
    """

    place: str
    values: Mapping[str, Any] = field(default_factory=dict)
    error: EmoteError | None = None


def read_rows(path: Path) -> list[Row]:
    """Read a table with a head or without one, JSON lines, or a folder of equally named pictures and sounds.

    An output is named after picture and sound where none is given.

    Raises:
        InputError: nothing is there, or it is no table of jobs.
    """
    if path.is_dir():
        rows = [_row(pair, path, f"{path}, {pair['portrait']}") for pair in _pairs(path)]
    else:
        require_file(path, "batch")
        text = _text(path)
        is_json = path.suffix.lower() in (".jsonl", ".ndjson", ".json") or text.lstrip()[:1] in ("{", "[")
        rows = list(_json_rows(text, path) if is_json else _table_rows(text, path))
    if not rows:
        raise InputError(f"batch {path} holds no job", hint="a row names a portrait and an audio file")
    return rows


def resolve_paths(row: Row) -> Row:
    """Copy a row's values with paths that are right in any folder of any machine that sees the same files."""
    files = {name: row.values[name].resolve() for name in ("portrait", "audio") if name in row.values}
    return replace(row, values={**row.values, **files})


def _pairs(folder: Path) -> Iterator[dict[str, str]]:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    sounds = {file.stem: file.name for file in reversed(files) if file.suffix.lower() in SOUNDS}
    for file in files:
        if file.suffix.lower() in PICTURES and file.stem in sounds:
            yield {"portrait": file.name, "audio": sounds[file.stem]}


def _text(path: Path) -> str:
    """The text of a file in the encodings that spreadsheets write."""
    if path.stat().st_size > _LARGEST:
        raise InputError(f"batch {path} is too large for a table", hint="give CSV or JSON lines")
    data = path.read_bytes()
    if data[:2] == b"PK" or (b"\0" in data[:4096] and data[:2] not in (b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"batch {path} is no text", hint="save the table as CSV")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


# --------------------------------------------------------------------------------------------------- CSV


def _table_rows(text: str, path: Path) -> Iterator[Row]:
    separator, text, offset = _separator(text)
    lines = _cells(text, separator, path, offset)
    if not lines:
        return
    first, head = lines[0][0], [_column(cell) for cell in lines[0][1]]
    said = f"{path}, line {first} (separator: {_SEPARATORS[separator]})"
    if {"portrait", "audio"} & set(head):
        lines = lines[1:]
        _check_head(head, said)
    elif _is_job(lines[0][1]):
        head = list(FILES[: max(len(cells) for _, cells in lines)])
    else:
        raise InputError(
            f"{said}: neither column names (portrait, audio, ...) nor a job: {' '.join(lines[0][1])[:60]}",
            hint="begin with a row portrait,audio[,output,...], or with a picture and a sound file",
        )
    for number, cells in lines:
        place = f"{path}, line {number}"
        more = [cell for cell in cells[len(head) :] if cell]
        if more:
            error = InputError(f"{more[0][:60]!r} belongs to no column", hint=f"columns: {', '.join(head)}")
            yield Row(place, error=error)
            continue
        given = {name: cell for name, cell in zip(head, cells, strict=False) if name and cell}
        if separator != ",":
            given = {name: cell if name in FILES else _decimal(cell) for name, cell in given.items()}
        yield _row(given, path.parent, place)


def _separator(text: str) -> tuple[str, str, int]:
    """What stands between cells: Excel's own word for it, else what makes a head or the most cells of the first row.

    Returns:
        The separator, the table, and how many lines stand before it.
    """
    named = re.match(r'"?sep=(.)"?\r?\n', text)
    if named and named.group(1) in _SEPARATORS:
        return named.group(1), text[named.end() :], 1
    first = next((line for line in text.splitlines() if line.strip(" ,;|\t")), "")
    counts = {}
    for separator in _SEPARATORS:
        cells = next(csv.reader([first], delimiter=separator, skipinitialspace=True), [])
        names = {_column(cell) for cell in cells}
        counts[separator] = (len(names & set(COLUMNS)) if {"portrait", "audio"} & names else 0, len(cells))
    return max(counts, key=lambda separator: counts[separator]), text, 0


def _cells(text: str, separator: str, path: Path, offset: int) -> list[tuple[int, list[str]]]:
    """Rows that hold something, with their line numbers; cells without blanks around them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    rows, number = [], 1
    try:
        for cells in reader:
            stripped = [cell.strip().strip("\ufeff\u00a0").strip() for cell in cells]
            if any(stripped):
                rows.append((number + offset, stripped))
            number = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {number + offset}: {error}", hint="give CSV or JSON lines") from error
    return rows


def _column(cell: str) -> str:
    return re.sub(r"[\s-]+", "_", cell.strip("\ufeff\u00a0 \t\"'").lower())


def _check_head(head: list[str], said: str) -> None:
    named = [name for name in head if name]
    foreign = next((name for name in named if name not in COLUMNS), None)
    if foreign is not None:
        near = difflib.get_close_matches(foreign, COLUMNS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(COLUMNS)}"
        raise InputError(f"{said}: column {foreign[:60]!r} is unknown", hint=hint)
    lacking = [name for name in ("portrait", "audio") if name not in named]
    double = next((name for name in named if named.count(name) > 1), None)
    if lacking or double:
        what = f"column {lacking[0]} is missing" if lacking else f"column {double} is there twice"
        raise InputError(f"{said}: {what}", hint=f"known: {', '.join(COLUMNS)}")


def _is_job(cells: list[str]) -> bool:
    """Whether a first row names a picture, a sound and perhaps an output, as a table without a head does."""
    given = [cell for cell in cells if cell]
    return 2 <= len(given) <= len(FILES) and all(Path(cell).suffix for cell in given[:2])


def _decimal(cell: str) -> str:
    return cell.replace(",", ".") if re.fullmatch(r"-?\d+,\d+", cell) else cell


# -------------------------------------------------------------------------------------------------- JSON


def _json_rows(text: str, path: Path) -> Iterator[Row]:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if text.lstrip().startswith("["):
        try:
            jobs = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"batch {path}: {_in_a_line(error)}",
                hint="write one JSON object on each line, or one list of them",
            ) from error
        yield from (_json_row(job, path, f"{path}, job {number}") for number, job in enumerate(jobs, 1))
        return
    for number, line in lines:
        place = f"{path}, line {number}"
        try:
            job = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Row(
                place,
                error=InputError(_in_a_line(error), hint='write {"portrait": "a.png", "audio": "a.wav"}'),
            )
            continue
        yield _json_row(job, path, place)


def _json_row(job: Any, path: Path, place: str) -> Row:
    if not isinstance(job, dict):
        return Row(
            place,
            error=InputError("this is no JSON object", hint='write {"portrait": "a.png", "audio": "a.wav"}'),
        )
    plain = {str(key): value for key, value in job.items() if value is not None and value != ""}
    nested = next(
        (key for key, value in plain.items() if isinstance(value, dict | list) and key != "face"), None
    )
    if nested is not None:
        return Row(
            place, error=InputError(f"{nested[:60]} is not a single value", hint="give a text or a number")
        )
    return _row({key: _as_text(value) for key, value in plain.items()}, path.parent, place)


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(str(part)[:60] for part in value) if isinstance(value, list) else str(value)


def _in_a_line(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


# -------------------------------------------------------------------------------------------------- rows


def _row(given: Mapping[str, str], folder: Path, place: str) -> Row:
    """A job from texts by column."""
    try:
        return Row(place, _values(given, folder))
    except EmoteError as error:
        output = {"output": given["output"]} if "output" in given else {}
        return Row(place, output, error)


def _values(given: Mapping[str, str], folder: Path) -> dict[str, Any]:
    foreign = next((key for key in given if key not in COLUMNS), None)
    lacking = [key for key in ("portrait", "audio") if key not in given]
    if foreign or lacking:
        what = f"{foreign[:60]} is unknown" if foreign else f"{lacking[0]} is missing"
        raise InputError(what, hint=f"known: {', '.join(COLUMNS)}")
    values = {key: read_value(OPTIONS[key], value) for key, value in given.items() if key in OPTIONS}
    portrait, audio = folder / given["portrait"], folder / given["audio"]
    name = given.get("output") or f"{portrait.stem}.{audio.stem}.mp4"
    return {**values, "portrait": portrait, "audio": audio, "output": name}
