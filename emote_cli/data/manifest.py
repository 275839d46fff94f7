"""What a prepared data set says of its clips: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from emote_cli.errors import DataError
from emote_cli.files import write_text

_LONGEST_ID = 150
_NOT_IN_IDS = frozenset('/\\:*?"<>|')


def check_id(text: object) -> str:
    """Check a clip's id, and give it back: it names files, and data sets come from anywhere.

    Raises:
        ValueError: it is a path, hidden, empty, too long, or no text.
    """
    if (
        not isinstance(text, str)
        or not 0 < len(text) <= _LONGEST_ID
        or text[0] == "."
        or not text.isprintable()
        or _NOT_IN_IDS & set(text)
    ):
        raise ValueError(f"id {str(text)[:60]!r} is not a name")
    return text


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """One clip, accepted or rejected.

    Attributes:
        id: name of its files in clips/, audio/ and tracks/; see `check_id`.
        source: path of the video that it was cut from, relative to the input folder.
        sha256: of that video; empty if it could not be read.
        start_s: where the clip begins in the video.
        end_s: where it ends.
        fps: frames per second of the clip.
        frames: number of frames.
        size: side of the square picture.
        has_audio: whether audio/<id>.flac is there.
        reason: why it was rejected, None if it was not.
        detail: the reason in words, with values.
        marks: reasons of a clip that was kept in spite of them (`--keep-all`).
        measured: what was measured, for the filters and for whoever wants to know, by name.
        crop_px: x0, y0, x1, y1 of the crop in the video's picture.
        settings_hash: of the settings that made it.
        licence: of the source, where known.
    """

    id: str
    source: str
    sha256: str
    start_s: float
    end_s: float
    fps: float
    frames: int
    size: int
    has_audio: bool
    reason: str | None = None
    detail: str = ""
    marks: list[str] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)
    crop_px: list[float] | None = None
    settings_hash: str = ""
    licence: str | None = None

    def __post_init__(self) -> None:
        check_id(self.id)

    @property
    def seconds(self) -> float:
        """Length of the clip in seconds."""
        return self.frames / self.fps if self.fps else 0.0


def to_line(record: ClipRecord) -> str:
    """Write one record as a line of JSON, keys in the order of the fields."""
    return json.dumps(asdict(record), ensure_ascii=False, allow_nan=False)


def from_dict(values: dict[str, Any]) -> ClipRecord:
    """Read the record that `to_line` wrote; keys of later versions are ignored.

    Raises:
        TypeError: a required key is missing.
    """
    known = {f.name for f in fields(ClipRecord)}
    lacking = [f.name for f in fields(ClipRecord) if f.default is MISSING and f.default_factory is MISSING]
    if lacking := [name for name in lacking if name not in values]:
        raise TypeError(f"it lacks {', '.join(lacking)}")
    check_id(values["id"])
    return ClipRecord(**{key: value for key, value in values.items() if key in known})


def write_records(path: Path, records: Iterable[ClipRecord]) -> None:
    """Write a JSONL file; it is never seen half-written, and left alone if it says the same already.

    Raises:
        OutputError: the folder is missing, full or not writable.
    """
    write_text(path, "".join(to_line(record) + "\n" for record in records))


def read_records(path: Path) -> list[ClipRecord]:
    """Read a JSONL file of records; a missing file is an empty list.

    Raises:
        DataError: a line is not a record.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a manifest: {error}", "prepare the data set again") from error
    records = []
    for number, line in enumerate(lines if lines != [""] else [], start=1):
        try:
            records.append(from_dict(json.loads(line)))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number}: not a clip record ({error})", hint="prepare the data set again"
            ) from error
    return records
