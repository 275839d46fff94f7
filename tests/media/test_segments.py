"""Segments: joined without a seam, continued without a difference, never left where they are not wanted."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from emote_cli.errors import OutputError
from emote_cli.media.image import read_image
from emote_cli.media.segments import SegmentedWriter, segments_folder
from emote_cli.media.video import Soundtrack, probe, read_frames

JOB = {"seed": 3, "portrait": {"sha256": "a"}}
FPS = Fraction(24000, 1001)
N = 23
PER_SEGMENT = 7


class Stop(BaseException):
    """As Ctrl-C, but the test runner's own."""


def frame(index: int) -> np.ndarray:
    picture = np.full((32, 48, 3), 40 + 7 * index, np.uint8)
    picture[:, : index + 3] = 20
    return picture


def fill(writer: SegmentedWriter, stop_at: int = N) -> None:
    """Go on from the state, and break off before frame `stop_at`."""
    first = 0 if writer.state is None else int(writer.state["next"])
    assert first == writer.n_frames
    for index in range(first, N):
        if index == stop_at:
            raise Stop
        writer.write(frame(index))
        if index + 1 == N or (index + 1) % PER_SEGMENT == 0:
            writer.end_segment({"next": np.array(index + 1)})


def make(path: Path, stop_at: int = N, job: dict = JOB, **options: object) -> None:
    with SegmentedWriter(path, FPS, job=job, **options) as writer:
        fill(writer, stop_at)


def content(path: Path) -> np.ndarray:
    if path.is_dir():
        return np.stack([read_image(file) for file in sorted(path.glob("*.png"))])
    return np.stack(list(read_frames(path)))


@pytest.mark.parametrize("name", ["a.mp4", "a b.webm", "a.mov", "frames"])
def test_joined_and_continued(tmp_path, name, tiny_speech):
    whole, broken = tmp_path / name, tmp_path / f"2{name}"
    make(whole, sound=Soundtrack(tiny_speech), tags={"comment": "how"})
    expected = content(whole)
    assert len(expected) == N
    assert np.abs(expected.astype(int) - [frame(index) for index in range(N)]).mean() < 4
    for stop_at in (9, 9, 20):
        with pytest.raises(Stop):
            make(broken, stop_at, resume=True, keep=True)
        assert not broken.exists()
        assert segments_folder(broken).is_dir()
    make(broken, resume=True, sound=Soundtrack(tiny_speech), tags={"comment": "how"})
    assert np.array_equal(content(broken), expected)
    assert {path.name for path in tmp_path.iterdir()} == {name, f"2{name}", tiny_speech.name}
    if name != "frames":
        assert probe(whole).fps == FPS
        assert probe(whole).has_audio


def test_a_gif_is_made_of_segments_too(tmp_path):
    make(tmp_path / "a.gif")
    assert len(content(tmp_path / "a.gif")) == N


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_nothing_is_left_and_a_new_run_begins_anew(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(Stop):
        make(path, 9)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Stop):
        make(path, 9, keep=True)
    with SegmentedWriter(path, FPS, job=JOB) as writer:
        assert (writer.n_segments, writer.state) == (0, None)
        fill(writer)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_another_job_is_refused_and_keeps_what_is_there(tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(Stop):
        make(path, 9, keep=True)
    other = {"seed": 3, "portrait": {"sha256": "b"}}
    with pytest.raises(OutputError, match=r"begun with portrait\.sha256 a, now it is b"):
        make(path, job=other, resume=True)
    make(path, resume=True)
    assert len(content(path)) == N


def make_part(path: Path, part: Path, audio: Path) -> None:
    with SegmentedWriter(path, FPS, job=JOB, keep=True, sound=Soundtrack(audio)) as writer:
        try:
            fill(writer, 9)
        except Stop:
            assert writer.join_partial(part)
            raise


@pytest.mark.parametrize("name", ["a.mp4", "frames"])
def test_a_part_is_playable_and_the_rest_can_follow(tmp_path, name, tiny_speech):
    path, part = tmp_path / name, tmp_path / f"part.{name}"
    with pytest.raises(Stop):
        make_part(path, part, tiny_speech)
    assert len(content(part)) == 9
    make(path, resume=True)
    assert len(content(path)) == N


def test_two_runs_do_not_meet(tmp_path):
    path = tmp_path / "a.mp4"
    with SegmentedWriter(path, FPS, job=JOB) as writer:
        with pytest.raises(OutputError, match="another run"):
            make(path)
        fill(writer)
    assert len(content(path)) == N


def test_a_damaged_state_is_told(tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(Stop):
        make(path, 9, keep=True)
    (segments_folder(path) / "000000.npz").write_bytes(b"nothing")
    with pytest.raises(OutputError, match="damaged"):
        make(path, resume=True)
