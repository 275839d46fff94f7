"""A render that was stopped goes on as if nothing had happened: the tiny model, through files."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from emote_cli.animation import render as rendering
from emote_cli.animation.job import Job
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.render import check, partial_name, render
from emote_cli.errors import OutputError
from emote_cli.media.image import read_image
from emote_cli.media.segments import segments_folder
from emote_cli.media.video import read_frames


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch):
    monkeypatch.setattr(rendering, "SEGMENT_S", 0.2)  # one chunk of tiny's


@pytest.fixture(scope="module")
def animator():
    from emote_cli.animation.animator import Animator

    return Animator.load("tiny", device="cpu")


def stopped(plan, animator, after: int) -> None:
    """Render, and press Ctrl-C after some frames."""
    left = [after]

    def on_frame(count: int) -> None:
        left[0] -= count
        if left[0] <= 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(plan, on_frame, animator)


def frames(path: Path) -> np.ndarray:
    if path.is_dir():
        return np.stack([read_image(file) for file in sorted(path.glob("*.png"))])
    return np.stack(list(read_frames(path)))


@pytest.mark.parametrize(("name", "fps"), [("a.mp4", None), ("a.mp4", 29.97), ("frames", None)])
def test_frames_are_those_of_an_uninterrupted_render(
    animator, portrait_path, tiny_speech, tmp_path, name, fps
):
    def job(output: str, **changes: object) -> Job:
        values = {
            "portrait": portrait_path,
            "audio": tiny_speech,
            "output": tmp_path / output,
            "options": AnimateOptions(fps=fps and Fraction(30000, 1001)),
        }
        return Job(**values, model="tiny", device="cpu", **changes)

    whole = frames(render(check(job(name)), animator=animator))
    for after in (8, 14):
        stopped(check(job(f"2{name}", resume=True)), animator, after)
    assert segments_folder(tmp_path / f"2{name}").is_dir()
    counted: list[int] = []
    path = render(check(job(f"2{name}", resume=True)), counted.append, animator)
    assert np.array_equal(frames(path), whole)
    assert (counted[0] >= 10, sum(counted)) == (True, len(whole))
    assert {p.name for p in tmp_path.iterdir()} == {name, f"2{name}", tiny_speech.name}


def test_ctrl_c_leaves_nothing_or_a_playable_part(animator, portrait_path, tiny_speech, tmp_path):
    values = {"portrait": portrait_path, "audio": tiny_speech, "output": tmp_path / "a.mp4", "model": "tiny"}
    stopped(check(Job(**values)), animator, 12)
    assert [p.name for p in tmp_path.iterdir()] == [tiny_speech.name]
    stopped(check(Job(**values, keep_partial=True)), animator, 12)
    assert len(frames(partial_name(tmp_path / "a.mp4"))) == 12
    with pytest.raises(OutputError, match=r"begun with settings\.seed 0, now it is 5"):
        render(check(Job(**values, resume=True, options=AnimateOptions(seed=5))), animator=animator)
    assert len(frames(render(check(Job(**values, resume=True)), animator=animator))) == 18
