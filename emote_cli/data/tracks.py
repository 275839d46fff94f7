"""What is known of the face in every frame of a prepared clip: `tracks/<id>.npz`."""

from __future__ import annotations

import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from emote_cli.data.layout import track_path
from emote_cli.data.manifest import ClipRecord
from emote_cli.errors import DataError
from emote_cli.files import write_file
from emote_cli.perception.geometry import mouth_box
from emote_cli.perception.tracking import head_speed_deg_s, mouth_open
from emote_cli.types import FaceTrack


def write_track(path: Path, track: FaceTrack) -> None:
    """Write a face track as npz: everything in pixels of the clip, NaN where there is no face.

    Raises:
        OutputError: the folder is missing, full or not writable.
    """
    mouths = np.full((track.n_frames, 4), np.nan, np.float32)
    for i in np.flatnonzero(track.found):
        box = mouth_box(track.landmarks_px[i])
        mouths[i] = box.x0, box.y0, box.x1, box.y1
    write_file(
        path,
        lambda file: np.savez(
            file,
            box_px=track.boxes_px,
            landmarks_px=track.landmarks_px,
            pose_4x4=track.pose_4x4,
            head_speed_deg_s=head_speed_deg_s(track),
            jaw_open=track.jaw_open,
            mouth_open=mouth_open(track),
            blink=track.blink,
            found=track.found,
            mouth_box_px=mouths,
            fps=np.float64(track.fps),
        ),
    )


def read_tracks(folder: Path, record: ClipRecord) -> dict[str, np.ndarray]:
    """Read all arrays of a clip's track, by name.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = track_path(folder, record.id)
    try:
        with np.load(path) as tracks:
            return dict(tracks)
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged: {error}"
        raise DataError(f"{path} {reason}", "prepare the data set again") from error
