"""Faults planted in a real video: each moves its own number and leaves the others. Needs a clip of EMOTE_SHARED."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest

from emote_cli.evaluation.evaluate import evaluate
from emote_cli.media.video import probe, read_frames

MEDIA = Path(os.environ.get("EMOTE_SHARED", "none")) / "media"
CLIP, STRANGER = MEDIA / "clips/WDA_BobMenendez_000.mp4", MEDIA / "clips/RD_Radio34_000.mp4"
SFACE = MEDIA.parent / "models/face_recognition_sface_2021dec.onnx"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CLIP.is_file(), reason="EMOTE_SHARED holds no clips"),
]

WATCHED = {
    "sync.lag_ms": 20.0, "lips.correlation": 0.1, "lips.gap.amplitude": 0.15, "identity.median": 0.1,
    "drift.brightness": 2.0, "sharpness.eyes_ratio": 0.15, "flicker.background": 0.4, "seams": 0.15,
    "timing.fps": 0.02,
}  # fmt: skip
"""What is looked at, and how far each may move without a fault of its own."""


def ffmpeg(*arguments: object) -> None:
    exe = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([exe, "-v", "error", "-y", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def shift_sound(out: Path, later_ms: float) -> None:
    """The same picture, the sound moved later (or, below 0, earlier)."""
    move = (
        f"adelay={later_ms}:all=1" if later_ms > 0 else f"atrim=start={-later_ms / 1000},asetpts=PTS-STARTPTS"
    )
    ffmpeg("-i", CLIP, "-af", move, "-c:v", "copy", "-shortest", out)


def redraw(out: Path, draw: Callable[[int, np.ndarray], np.ndarray]) -> None:
    """Every frame drawn anew, the sound kept."""
    info = probe(CLIP)
    silent = out.with_suffix(".silent.mp4")
    writer = imageio_ffmpeg.write_frames(
        str(silent), (info.width, info.height), fps=float(info.fps), quality=9, macro_block_size=1
    )
    writer.send(None)
    for number, frame in enumerate(read_frames(CLIP, fps=info.fps)):
        writer.send(np.ascontiguousarray(draw(number, frame)))
    writer.close()
    ffmpeg("-i", silent, "-i", CLIP, "-map", "0:v", "-map", "1:a", "-c", "copy", out)


def brighten(number: int, frame: np.ndarray) -> np.ndarray:
    return np.clip(frame + number * 0.15, 0, 255).astype(np.uint8)


def blur(_: int, frame: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(frame, (0, 0), frame.shape[0] / 200)


def jump(number: int, frame: np.ndarray) -> np.ndarray:
    """Two percent of the width to the side, back and forth, every 12 frames."""
    return np.roll(frame, frame.shape[1] // 50 * (number // 12 % 2), axis=1)


@pytest.fixture(scope="module")
def sound_clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The numbers of the clip, encoded again without a fault."""
    out = tmp_path_factory.mktemp("sound") / "same.mp4"
    redraw(out, lambda _, frame: frame)
    return measured(out)


def measured(video: Path) -> dict[str, float]:
    return evaluate(video, CLIP, chunk_frames=12, sface=SFACE if SFACE.is_file() else None).numbers


def moved(found: dict[str, float], before: dict[str, float]) -> set[str]:
    """The watched numbers that differ, or could no longer be told."""
    return {
        name
        for name, most in WATCHED.items()
        if name in before and (name not in found or abs(found[name] - before[name]) > most)
    }


@pytest.mark.parametrize("later_ms", [-120, 40, 200])
def test_the_lag_of_a_moved_sound_is_found_within_a_frame(
    later_ms: int, sound_clip: dict[str, float], tmp_path: Path
) -> None:
    shift_sound(tmp_path / "moved.mp4", later_ms)
    found = measured(tmp_path / "moved.mp4")
    frame_ms = 1000 / found["timing.fps"]
    assert abs(sound_clip["sync.lag_ms"] - found["sync.lag_ms"] - later_ms) <= frame_ms
    assert moved(found, sound_clip) <= {"sync.lag_ms"}


@pytest.mark.parametrize(
    ("draw", "own"), [(brighten, "drift.brightness"), (blur, "sharpness.eyes_ratio"), (jump, "seams")]
)
def test_a_drawn_fault_moves_its_own_number(
    draw: Callable[[int, np.ndarray], np.ndarray],
    own: str,
    sound_clip: dict[str, float],
    tmp_path: Path,
) -> None:
    redraw(tmp_path / "fault.mp4", draw)
    assert own in moved(measured(tmp_path / "fault.mp4"), sound_clip)


def test_another_persons_face_is_seen_by_the_identity(sound_clip: dict[str, float]) -> None:
    if "identity.median" not in sound_clip:
        pytest.skip("SFace is not there")
    assert measured(STRANGER)["identity.median"] < 0.4 < sound_clip["identity.median"]
