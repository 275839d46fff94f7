"""Where everything lies in a prepared data set.

    manifest.jsonl, rejected.jsonl      a line per clip (manifest.py)
    report.html                         what was rejected and why
    clips/<id>.mp4                      the picture: H.264, square
    audio/<id>.flac                     the sound: 16 kHz mono, exactly as long as the picture
    tracks/<id>.npz                     what is known of the face in every frame (tracks.py)
    thumbs/<id>.jpg                     a strip of small pictures, of rejected clips, too
    state/<source>.json                 which videos are done, for the next run
    parts/part-<nnn>.tar                all of this in parts of a size that travels (parts.py)
    cache/<key>/<id>.safetensors        what training would compute again (cache.py)

Ids are names: `ClipRecord` refuses those that would lead out of these folders.
"""

from __future__ import annotations

from pathlib import Path

from emote_cli.files import PART_PREFIX, make_folder, part_name

MANIFEST = "manifest.jsonl"
REJECTED = "rejected.jsonl"
PARTS = "parts"
REPORT = "report.html"
FOLDERS = ("clips", "audio", "tracks", "thumbs", "state")


def clip_path(dataset_dir: Path, clip_id: str) -> Path:
    """The clip's picture."""
    return dataset_dir / "clips" / f"{clip_id}.mp4"


def audio_path(dataset_dir: Path, clip_id: str) -> Path:
    """The clip's sound."""
    return dataset_dir / "audio" / f"{clip_id}.flac"


def track_path(dataset_dir: Path, clip_id: str) -> Path:
    """The clip's face track."""
    return dataset_dir / "tracks" / f"{clip_id}.npz"


def thumb_path(dataset_dir: Path, clip_id: str) -> Path:
    """The clip's strip of small pictures."""
    return dataset_dir / "thumbs" / f"{clip_id}.jpg"


def state_path(dataset_dir: Path, source_id: str) -> Path:
    """What is remembered of a video that is done."""
    return dataset_dir / "state" / f"{source_id}.json"


def lock_path(dataset_dir: Path) -> Path:
    """Held by the run that writes the data set."""
    return dataset_dir / "state" / ".lock"


def cache_folder(dataset_dir: Path, key: str) -> Path:
    """The cache for one model (cache.py makes the key)."""
    return dataset_dir / "cache" / key


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
