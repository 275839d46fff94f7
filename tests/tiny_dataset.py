"""A prepared data set, made in code: three tiny clips of a face-like blob with sound."""

from pathlib import Path

import numpy as np
import soundfile

from emote_cli.data.manifest import ClipRecord, write_records
from emote_cli.media.video import write_video

SIZE, FPS = 32, 25


def blob(frames: int, seed: int) -> np.ndarray:
    """A light disk on a dark ground whose lower half opens and closes."""
    y, x = np.mgrid[:SIZE, :SIZE]
    rng = np.random.default_rng(seed)
    ground, skin = rng.integers(20, 90, 3), rng.integers(120, 220, 3)
    pictures = np.empty((frames, SIZE, SIZE, 3), np.uint8)
    for index in range(frames):
        pictures[index] = ground
        pictures[index][(x - 16) ** 2 + (y - 16) ** 2 < 100] = skin
        opening = 1 + 2 * abs(np.sin(index / 3 + seed))
        pictures[index][(abs(x - 16) < 4) & (abs(y - 21) < opening)] = 10
    return pictures


def write_clip(folder: Path, name: str, frames: int, seed: int, *, source: str | None = None) -> ClipRecord:
    """All files of one clip, and its line of the manifest."""
    for place in ("clips", "audio", "tracks"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    write_video(folder / "clips" / f"{name}.mp4", blob(frames, seed), FPS, preset="ultrafast")
    rng = np.random.default_rng(seed)
    sound = rng.normal(size=frames * 16_000 // FPS) * 0.05
    soundfile.write(folder / "audio" / f"{name}.flac", sound.astype(np.float32), 16_000)
    pose = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    np.savez(
        folder / "tracks" / f"{name}.npz",
        box_px=np.tile(np.array([6, 6, 26, 26], np.float32), (frames, 1)),
        mouth_box_px=np.tile(np.array([12, 18, 20, 24], np.float32), (frames, 1)),
        landmarks_px=np.zeros((frames, 478, 3), np.float32),
        pose_4x4=pose,
        head_speed_deg_s=rng.random(frames).astype(np.float32) * 30,
        jaw_open=rng.random(frames).astype(np.float32),
        blink=np.zeros(frames, np.float32),
        found=np.ones(frames, bool),
        fps=np.float64(FPS),
    )
    return ClipRecord(
        id=name, source=source or f"{name}.mp4", sha256="", start_s=0.0, end_s=frames / FPS, fps=float(FPS),
        frames=frames, size=SIZE, has_audio=True,
    )  # fmt: skip


def make_dataset(folder: Path, names=("one", "two", "three"), frames: int = 17) -> Path:
    records = [write_clip(folder, name, frames + 2 * index, index) for index, name in enumerate(names)]
    write_records(folder / "manifest.jsonl", records)
    return folder
