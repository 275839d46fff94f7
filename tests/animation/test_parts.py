"""One long video in parts: where it is cut, and what comes of it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from emote_cli.animation import parts
from emote_cli.animation.job import Job
from emote_cli.animation.parts import find_pauses, plan_parts, render_parts
from emote_cli.animation.render import check
from emote_cli.errors import SettingsError
from emote_cli.media.video import probe
from emote_cli.types import Waveform
from tests.conftest import write_wav

PORTRAIT = Path(__file__).parents[1] / "assets" / "portrait.png"


def speech(*spans: tuple[float, float], seconds: float) -> Waveform:
    """Noise in some spans, and nearly nothing elsewhere."""
    rng = np.random.default_rng(4)
    samples = rng.normal(0, 1e-4, round(seconds * 16_000))
    for start, stop in spans:
        samples[round(start * 16_000) : round(stop * 16_000)] = rng.normal(
            0, 0.1, round((stop - start) * 16_000)
        )
    return Waveform(samples.astype(np.float32), 16_000)


def test_pauses_are_silences_of_four_tenths_of_a_second():
    sound = speech((0, 1), (1.3, 2), (2.5, 4), seconds=4)
    (pause,) = find_pauses(sound)
    assert pause == pytest.approx((2.0, 2.5), abs=0.03)
    assert list(find_pauses(speech(seconds=2))) == []


def test_cuts_lie_in_pauses_and_parts_are_long_enough(monkeypatch):
    monkeypatch.setattr(parts, "PART_S", 1.8)
    sound = speech((0, 1), (1.5, 3), (3.6, 5), (5.6, 7), (7.5, 8), seconds=8)
    cut = plan_parts(sound, Fraction(25), 200)
    assert [part.start for part in cut] == pytest.approx([0, 82.5, 132.5], abs=1.5)
    assert [part.stop for part in cut] == [*(part.start for part in cut[1:]), 200]
    assert plan_parts(speech((0, 5), seconds=5), Fraction(25), 125) == [range(125)]


def test_parts_are_joined_to_the_whole_video(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_S", 0.4)
    sound, output = tmp_path / "talk.wav", tmp_path / "talk.mp4"
    write_wav(sound, speech((0, 0.5), (1.0, 1.62), seconds=1.62).samples)
    plan = check(
        Job.of({"portrait": PORTRAIT, "audio": sound, "output": output, "model": "tiny", "device": "cpu"})
    )
    assert len(plan_parts(plan.scene.speech, plan.scene.fps, plan.scene.n_frames)) == 2
    made: list[int] = []
    assert render_parts(plan, on_frame=made.append) == output
    info = probe(output)
    assert sum(made) == plan.scene.n_frames == info.n_frames
    assert info.has_audio
    assert {path.name for path in tmp_path.iterdir()} == {"talk.wav", "talk.mp4"}


def test_parts_are_not_resumed(tmp_path):
    sound = tmp_path / "talk.wav"
    write_wav(sound, speech((0, 0.5), seconds=0.5).samples)
    values = {
        "portrait": PORTRAIT,
        "audio": sound,
        "output": tmp_path / "a.mp4",
        "model": "tiny",
        "resume": True,
    }
    with pytest.raises(SettingsError, match="cannot be continued"):
        render_parts(check(Job.of(values)))
