"""The time that --dry-run tells."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from emote_cli.animation import dry_run
from emote_cli.animation.job import Job
from emote_cli.animation.render import Plan, check


@pytest.mark.parametrize("n_chunks", [1, 2, 3, 20])
def test_the_first_chunks_tell_how_long_all_take(monkeypatch, n_chunks):
    """Against a clock that runs to the end. Chunks bring unequal numbers of frames, as smoothing makes them."""
    now, begun = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def finished(n_frames):
        for _ in range(n_frames):
            now[0] += 0.0625
            yield np.zeros((2, 2, 3), np.uint8)

    def show_chunks(animator, scene, options):
        for index, n_frames in enumerate([10, *[12] * 18, 14][:n_chunks]):
            begun.append(index)
            now[0] += (7 if index == 0 else 3) - n_frames * 0.0625
            yield SimpleNamespace(frames=finished(n_frames))

    for chunk in show_chunks(None, None, None):
        list(chunk.frames)
    truth_s = now[0] - 100
    begun.clear()
    monkeypatch.setattr(dry_run, "show_chunks", show_chunks)
    monkeypatch.setattr(dry_run, "load_animator", lambda plan: None)
    plan = object.__new__(Plan)
    object.__setattr__(plan, "scene", None)
    object.__setattr__(plan, "job", SimpleNamespace(options=None))
    pace = dry_run.measure(plan)
    assert pace.first_s + pace.chunk_s * (n_chunks - 1) == pytest.approx(truth_s)
    assert len(begun) == min(n_chunks, dry_run.MEASURED)
    assert 0.01 < pace.gigabytes < 500


def test_the_second_forecast_of_a_kind_needs_no_network(monkeypatch, tmp_path, portrait_path, speech_path):
    measured = []
    pace = dry_run.Pace(7.0, 3.0, 0.5)
    monkeypatch.setattr(dry_run, "measure", lambda plan, animator: measured.append(plan) or pace)
    values = {
        "portrait": portrait_path,
        "audio": speech_path,
        "output": tmp_path / "video.mp4",
        "model": "tiny",
    }
    plan = check(Job.of(values))
    assert dry_run.pace_of(plan, 1, None, tmp_path) == (pace, False)
    assert dry_run.pace_of(plan, 5, None, tmp_path) == (pace, False), (
        "one chunk alone tells little: not remembered"
    )
    assert dry_run.pace_of(plan, 5, None, tmp_path) == (pace, True)
    assert len(measured) == 2
    other = check(Job.of({**values, "steps": 7}))
    assert dry_run.pace_of(other, 5, None, tmp_path) == (pace, False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lines = [dry_run.describe(plan)["time"] for _ in range(2)]
    assert not lines[0].endswith("before")
    assert lines[1] == f"{lines[0]}, as measured here before"
