"""The files of a prepared data set: where they lie, and how they are written (none is ever half there)."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from emote_cli.errors import OutputError
from emote_cli.media.image import crop_and_resize, resize
from emote_cli.media.output import PART_PREFIX, make_folder, part_name, write_file
from emote_cli.perception.geometry import mouth_box
from emote_cli.perception.tracking import head_speed_deg_s, mouth_open
from emote_cli.types import Box, FaceTrack, Pixels

FOLDERS = ("clips", "audio", "tracks", "thumbs", "state")

THUMB_FRAMES = 6
THUMB_PX = 96
_THUMB_SOURCE_WIDTH = 640


def clip_path(dataset_dir: Path, clip_id: str) -> Path:
    """The clip's picture: H.264, square."""
    return dataset_dir / "clips" / f"{clip_id}.mp4"


def audio_path(dataset_dir: Path, clip_id: str) -> Path:
    """The clip's sound: 16 kHz mono, exactly as long as the picture."""
    return dataset_dir / "audio" / f"{clip_id}.flac"


def track_path(dataset_dir: Path, clip_id: str) -> Path:
    """The clip's face track."""
    return dataset_dir / "tracks" / f"{clip_id}.npz"


def thumb_path(dataset_dir: Path, clip_id: str) -> Path:
    """A strip of small pictures of the clip, accepted or not."""
    return dataset_dir / "thumbs" / f"{clip_id}.jpg"


def make_folders(dataset_dir: Path) -> None:
    """Make the data set's folder and those in it.

    Raises:
        OutputError: they cannot be made, or not be written to.
    """
    make_folder(dataset_dir, FOLDERS)
    part_name(dataset_dir / "probe").unlink()


def remove_parts(dataset_dir: Path) -> None:
    """Remove what a killed run left half-written."""
    for folder in (dataset_dir, *(dataset_dir / name for name in FOLDERS)):
        for path in folder.glob(f"{PART_PREFIX}*"):
            path.unlink(missing_ok=True)


def remove_clip(dataset_dir: Path, clip_id: str) -> None:
    """Remove all files of a clip."""
    for path in (clip_path, audio_path, track_path, thumb_path):
        path(dataset_dir, clip_id).unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file; remembered while its size and time stay the same."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


class ThumbStrip:
    """Collects a few frames of a segment as they go by, for a strip of small pictures.

    Args:
        n_frames: length of the segment.
    """

    def __init__(self, n_frames: int) -> None:
        self._wanted = {(2 * i + 1) * n_frames // (2 * THUMB_FRAMES) for i in range(THUMB_FRAMES)}
        self._frames: list[Pixels] = []
        self._scale = 1.0

    def add(self, index: int, frame: Pixels) -> None:
        """Take in frame `index` of the segment."""
        if index in self._wanted:
            height, width = frame.shape[:2]
            self._scale = min(1.0, _THUMB_SOURCE_WIDTH / width)
            size = (max(1, round(width * self._scale)), max(1, round(height * self._scale)))
            self._frames.append(resize(frame, size))

    def write(self, path: Path, crop_px: Box | None) -> None:
        """Write the strip as JPEG: the crop of each frame, or all of it where there is none.

        Raises:
            OutputError: the folder is missing, full or not writable.
        """
        if not self._frames:
            return
        strip = np.hstack([self._small(frame, crop_px) for frame in self._frames])
        good, data = cv2.imencode(".jpg", strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
        if not good:
            raise OutputError(f"cannot encode {path}", hint="please report this")
        write_file(path, lambda file: file.write(data.tobytes()))

    def _small(self, frame: Pixels, crop_px: Box | None) -> UInt8[np.ndarray, "rows columns 3"]:
        if crop_px is None:
            return resize(frame, (max(1, round(THUMB_PX * frame.shape[1] / frame.shape[0])), THUMB_PX))
        k = self._scale
        x0, y0, side = round(crop_px.x0 * k), round(crop_px.y0 * k), max(1, round(crop_px.width * k))
        return crop_and_resize(frame, Box(x0, y0, x0 + side, y0 + side), THUMB_PX)
