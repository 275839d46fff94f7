"""What is known of the face in every frame of a prepared clip: `tracks/<id>.npz`."""

from __future__ import annotations

import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from emote_cli.data.manifest import ClipRecord
from emote_cli.errors import DataError


def read_tracks(folder: Path, record: ClipRecord) -> dict[str, np.ndarray]:
    """All arrays of a clip's track, by name (data/run.py writes them).

    Raises:
        DataError: the file is missing or damaged.
    """
    path = folder / "tracks" / f"{record.id}.npz"
    try:
        with np.load(path) as tracks:
            return dict(tracks)
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged: {error}"
        raise DataError(f"{path} {reason}", "prepare the data set again") from error
