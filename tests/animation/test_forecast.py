"""The time that --dry-run tells."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from emote_cli.animation import forecast
from emote_cli.animation.render import Plan


@pytest.mark.parametrize(
    ("n_chunks", "expected_s"), [(1, 5.0 + 2), (2, 5.0 + 2 + 3), (3, 5.0 + 2 + 3 + 3), (20, 5.0 + 2 + 19 * 3)]
)
def test_chunks_behind_the_first_count_what_they_take(monkeypatch, n_chunks, expected_s):
    """Smoothing moves frames from the first chunk to later ones: no number of frames may stand for a chunk."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def finished(n_frames):
        for _ in range(n_frames):
            now[0] += 0.0625
            yield np.zeros((2, 2, 3), np.uint8)

    def show_chunks(animator, scene, options):
        for index, n_frames in enumerate([10, *[12] * 18, 14][:n_chunks]):
            now[0] += 5 + 2 - n_frames * 0.0625 if index == 0 else 3 - n_frames * 0.0625
            yield SimpleNamespace(frames=finished(n_frames))

    monkeypatch.setattr(forecast, "show_chunks", show_chunks)
    monkeypatch.setattr(forecast, "load_animator", lambda plan: None)
    plan = object.__new__(Plan)
    object.__setattr__(plan, "scene", None)
    object.__setattr__(plan, "job", SimpleNamespace(options=None))
    seconds, gigabytes = forecast.measure(plan, n_chunks)
    assert seconds == pytest.approx(expected_s)
    assert gigabytes > 0
