"""The line of renders: one at a time, stopped without a trace, and errors that stay errors."""

import threading
import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from emote_cli.animation.job import Job
from emote_cli.animation.render import check
from emote_cli.errors import EmoteError, InputError
from emote_cli.web import renders as module
from emote_cli.web import show
from emote_cli.web.renders import Render, Renders
from emote_cli.web.visits import Visits


@dataclass
class Work:
    """Stands for the making of videos: waits until it is let go on, frame by frame."""

    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    at_once: int = 0
    most_at_once: int = 0
    error: Exception | None = None

    def render(self, plan, on_frame, animator=None, tell=None, show=None):
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            for _ in range(3):
                assert self.go.acquire(timeout=10)
                if self.error is not None:
                    error, self.error = self.error, None
                    raise error
                show(np.zeros((40, 60, 3), np.uint8))
                on_frame(1)
            plan.job.output.write_bytes(b"video")
            return plan.job.output
        finally:
            self.at_once -= 1


@pytest.fixture
def work(monkeypatch):
    work = Work()
    monkeypatch.setattr(module, "render", work.render)
    monkeypatch.setattr(module, "load_once", lambda *given: None)
    monkeypatch.setattr(module, "read_making", lambda path: {"settings": {"model": "tiny"}})
    return work


@pytest.fixture(scope="module")
def plan(portrait_path, tiny_speech_bytes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    (folder / "speech.wav").write_bytes(tiny_speech_bytes)
    return check(
        Job(portrait=portrait_path, audio=folder / "speech.wav", output=folder / "face.mp4", model="tiny")
    )


@pytest.fixture
def line(tmp_path, work, plan):
    line = Renders(Visits(tmp_path))
    line.any_plan = plan
    yield line
    work.go.release(100)
    line.close()


def new(line, digit):
    visit = line.visits.enter(digit * 32)
    source = line.visits.uploads / "face.png"
    source.write_bytes(b"face")
    folder, _ = line.visits.new_job(visit, [source])
    plan = replace(line.any_plan, job=replace(line.any_plan.job, output=folder / "face.mp4"))
    render = Render(visit.id, folder, plan, n_frames=3)
    line.add(render)
    return render


def wait(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_video_at_a_time_in_the_order_of_asking(line, work):
    one, two, three = (new(line, digit) for digit in "123")
    wait(lambda: work.at_once == 1)
    assert [line.before(each) for each in (one, two, three)] == [0, 1, 2]
    work.go.release(3)
    wait(lambda: one.state == "done" and two.state == "starting")
    assert line.before(three) == 1
    work.go.release(6)
    wait(lambda: three.is_over)
    assert work.most_at_once == 1
    assert [each.n_done for each in (one, two, three)] == [3, 3, 3]


def test_progress_tells_the_frames_and_the_time_that_is_left(line, work, tmp_path):
    one = new(line, "1")
    assert "Starting" in show.progress(one, 0, tmp_path) or one.state == "waiting"
    work.go.release(2)
    wait(lambda: one.n_done == 2)
    words = show.progress(one, 0, tmp_path)
    assert "2 of 3 frames" in words
    assert 'value="2"' in words
    assert 'alt="The newest frame"' in words
    assert one.picture.startswith(b"\xff\xd8")


def test_the_time_that_is_left_counts_the_wait_for_a_burst(line, work, monkeypatch):
    one = new(line, "1")
    wait(lambda: one.ready)
    begin = one.ready
    work.go.release(2)
    wait(lambda: one.n_done == 2)
    one.newest = begin + 10  # two frames after ten seconds: the third one takes five
    monkeypatch.setattr(time, "monotonic", lambda: begin + 11)
    assert one.left_s == pytest.approx(4)


def test_a_finished_video_is_all_that_stays_of_a_job(line, work):
    one = new(line, "1")
    work.go.release(3)
    wait(lambda: one.is_over)
    assert list(one.folder.rglob("*")) == [one.output]
    assert one.plan is None
    assert one.picture == b""
    assert line.find_video(one.folder.parent.name, one.id) == one.output
    assert line.find_video(one.folder.parent.name, "0" * 16) is None
    assert line.find_video("0" * 32, one.id) is None


def test_a_stopped_render_leaves_nothing_and_the_next_one_begins(line, work):
    one, two = new(line, "1"), new(line, "2")
    work.go.release(1)
    wait(lambda: one.n_done == 1)
    line.stop(one.visit_id)
    assert "Stopping" in show.progress(one, 0, line.visits.root)
    work.go.release(1)
    wait(lambda: one.state == "stopped")
    assert not one.folder.exists()
    work.go.release(3)
    wait(lambda: two.state == "done")


def test_one_that_waits_is_stopped_at_once(line, work):
    one, two = new(line, "1"), new(line, "2")
    line.stop(two.visit_id)
    assert two.state == "stopped"
    assert not two.folder.exists()
    work.go.release(3)
    wait(lambda: one.state == "done")


def test_a_tab_asks_for_one_video_at_a_time(line, work):
    new(line, "1")
    with pytest.raises(EmoteError, match="this tab"):
        new(line, "1")


def test_the_line_has_an_end(line, work, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    new(line, "1"), new(line, "2")
    with pytest.raises(EmoteError, match="2 videos are waiting"):
        new(line, "3")


@pytest.mark.parametrize("error", [InputError("the disk is full", "free some"), ValueError("a bug")])
def test_an_error_is_shown_and_the_next_render_begins(line, work, error, caplog):
    work.error = error
    one, two = new(line, "1"), new(line, "2")
    work.go.release(1)
    wait(lambda: one.state == "failed")
    shown = show.progress(one, 0, line.visits.root)
    assert 'role="alert"' in shown
    assert str(error) in shown
    assert "hint:" in shown
    assert not one.folder.exists()
    work.go.release(3)
    wait(lambda: two.state == "done")


def test_closing_stops_what_is_being_made(line, work):
    one, two = new(line, "1"), new(line, "2")
    work.go.release(1)
    wait(lambda: one.n_done == 1)
    threading.Timer(0.1, lambda: work.go.release(5)).start()
    line.close(5)
    assert one.state == "stopped"
    assert two.state == "waiting"


def test_paths_of_the_server_are_shown_as_bare_names(tmp_path):
    error = InputError(
        f"{tmp_path}/jobs/1/in0/my <face>.png is no picture", hint=f"look at {tmp_path}/jobs/1/x.txt"
    )
    shown = show.problem(error, tmp_path)
    assert str(tmp_path) not in shown
    assert "&lt;face&gt;.png is no picture" in shown
    assert "look at x.txt" in shown
