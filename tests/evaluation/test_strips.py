"""Frames side by side: at the moments that tell most, read again from the videos."""

import io
from pathlib import Path

import numpy as np
import pytest
from made_up_footage import FPS, FRAMES, evaluation, footage, waves
from PIL import Image

from emote_cli.evaluation.evaluate import Evaluation
from emote_cli.evaluation.footage import Footage
from emote_cli.evaluation.strips import SIDE, choose_moments, frames_to_read, make_strip
from emote_cli.media.video import VideoWriter


def quiet_lips(**frames: float) -> np.ndarray:
    gap = np.full(FRAMES, 0.1)
    for name, value in frames.items():
        gap[int(name[1:])] = value
    return gap


def test_moments_are_where_the_lips_differ_and_where_the_true_ones_close_and_open() -> None:
    true = footage(gap=quiet_lips(f30=0.0, f60=0.01, f100=0.3, f130=0.28))
    ours = footage(
        gap=quiet_lips(f30=0.0, f60=0.01, f100=0.3, f130=0.28, f10=0.9, f160=0.8, f200=0.7, f230=0.6)
    )
    found = [(round(moment.time_s * FPS), moment.why) for moment in choose_moments(ours, true)]
    differ, closed, wide = "lips differ most", "true lips closed", "true lips open widest"
    assert found == [
        (10, differ), (30, closed), (60, closed), (100, wide), (130, wide), (160, differ), (200, differ), (230, differ)
    ]  # fmt: skip


def test_moments_lie_apart_and_show_a_face() -> None:
    found = np.ones(FRAMES, bool)
    found[100:] = False
    gap = np.where(found, waves(1), np.nan)
    for truth in (None, footage(gap=waves(2))):
        moments = choose_moments(footage(found=found, gap=gap, jaw=gap), truth)
        frames = np.array([moment.time_s for moment in moments]) * FPS
        assert 4 <= len(frames) <= 8
        assert frames.max() < 100
        assert np.diff(frames).min() > 0.3 * FPS


def write(path: Path, seen: Footage, frames: int, color: tuple[int, int, int]) -> Evaluation:
    """A video of gray frames with the mouth in a color."""
    x0, y0, x1, y1 = seen.mouths_px[0].astype(int)
    frame = np.full((seen.height, seen.width, 3), 120, np.uint8)
    frame[y0:y1, x0:x1] = color
    with VideoWriter(path, FPS, preset="ultrafast") as writer:
        for _ in range(frames):
            writer.write(frame)
    return evaluation(path, seen)


def test_the_true_frames_are_above_and_the_mouths_enlarged(tmp_path: Path) -> None:
    true = write(tmp_path / "true.mp4", footage(gap=waves(3)), FRAMES, (0, 200, 0))
    ours = write(tmp_path / "ours.mp4", footage(), FRAMES, (200, 0, 0))
    clip = evaluation(ours.video, ours.footage, true)
    read: list[int] = []
    strip = make_strip(clip, read.append)
    assert strip.jpeg is not None
    picture = np.asarray(Image.open(io.BytesIO(strip.jpeg))).astype(int)
    assert picture.shape[1] == SIDE * len(strip.moments)
    mouths = picture[SIDE + SIDE // 2], picture[-SIDE // 2]
    middle = np.arange(len(strip.moments)) * SIDE + SIDE // 2
    assert (mouths[0][middle, 1] > mouths[0][middle, 0] + 100).all()
    assert (mouths[1][middle, 0] > mouths[1][middle, 1] + 100).all()
    is_red = picture[..., 0] > picture[..., 1] + 100
    red = [is_red[rows].mean() for rows in (slice(-2 * SIDE, -SIDE), slice(-SIDE, None))]
    assert red[1] > 2 * red[0] > 0
    assert sum(read) == frames_to_read(clip) <= 2 * FRAMES


@pytest.mark.parametrize("kept", ["nothing", "a text", "fewer frames"])
def test_a_video_that_is_gone_leaves_a_word(kept: str, tmp_path: Path) -> None:
    clip = evaluation(tmp_path / "gone.mp4", footage())
    if kept == "a text":
        clip.video.write_text("no video")
    elif kept == "fewer frames":
        write(clip.video, clip.footage, 5, (200, 0, 0))
    strip = make_strip(clip)
    assert strip.jpeg is None
    assert "gone.mp4" in strip.missing
    assert str(tmp_path) not in strip.missing
