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

    def generate(plan):
        for index, n_frames in enumerate([10, *[12] * 18, 14][:n_chunks]):
            now[0] += 5 + 2 - n_frames * 0.0625 if index == 0 else 3 - n_frames * 0.0625
            yield SimpleNamespace(frames=np.zeros((n_frames, 2, 2, 3), np.uint8))

    def finish(frame, time_s):
        now[0] += 0.0625

    monkeypatch.setattr(forecast, "generate", generate)
    monkeypatch.setattr(forecast, "finishing", lambda plan: finish)
    seconds, gigabytes = forecast.measure(object.__new__(Plan), n_chunks)
    assert seconds == pytest.approx(expected_s)
    assert gigabytes > 0
