"""The time that --dry-run tells."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from emote_cli.animation import forecast
from emote_cli.animation.render import Plan


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
    monkeypatch.setattr(forecast, "show_chunks", show_chunks)
    monkeypatch.setattr(forecast, "load_animator", lambda plan: None)
    plan = object.__new__(Plan)
    object.__setattr__(plan, "scene", None)
    object.__setattr__(plan, "job", SimpleNamespace(options=None))
    seconds, gigabytes = forecast.measure(plan, n_chunks)
    assert seconds == pytest.approx(truth_s)
    assert len(begun) == min(n_chunks, forecast.MEASURED)
    assert 0.01 < gigabytes < 500
