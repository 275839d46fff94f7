"""A video to prepare, or a stretch of one, or a still portrait; and the names of its clips."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emote_cli.types import Box

Layout = Literal["auto", "folder", "celebv-hq", "hdtf"]

STILL_SUFFIXES = frozenset(".avif .bmp .heic .heif .jpeg .jpg .png .tif .tiff .webp".split())
"""Files with these endings are taken for still portraits."""


@dataclass(frozen=True, slots=True)
class Source:
    """One video, or the stretch of one that an annotation names; or one still portrait.

    Attributes:
        id: name of its clips; unique in the data set.
        path: the file.
        name: the file's path relative to the input folder, for the manifest.
        start_s: where to begin.
        end_s: where to end, None for the video's end.
        face_hint: where the person is, as shares of width and height; None takes the largest face.
        cut: whether to cut it into segments; False for clips that were cut by others.
        crop: whether to crop around the face; False for clips that were cropped by others.
    """

    id: str
    path: Path
    name: str
    start_s: float = 0.0
    end_s: float | None = None
    face_hint: Box | None = None
    cut: bool = True
    crop: bool = True

    @property
    def is_still(self) -> bool:
        """Whether it is one picture."""
        return self.path.suffix.lower() in STILL_SUFFIXES


def take_whole_videos(folder: Path, videos: list[Path]) -> list[Source]:
    """Take every video or picture for itself; it is cut and cropped later.

    Ids are the file names without their endings; where two files share one, their paths' hash is added.
    """
    names = {path: path.relative_to(folder).as_posix() for path in videos}
    stems = {path: safe_id(path.stem) for path in videos}
    # Case is ignored: two ids that differ in case alone are one file on some disks.
    taken = Counter(stem.lower() for stem in stems.values())
    return [
        Source(stem if taken[stem.lower()] == 1 else f"{stem}-{_digest(names[path])}", path, names[path])
        for path, stem in stems.items()
    ]


def safe_id(text: str) -> str:
    """Make a name that every file system and command line takes: letters, digits, `_`, `.` and `-`."""
    clean = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:80]
    return clean or _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:6]
