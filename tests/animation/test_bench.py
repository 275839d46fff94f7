"""`emote bench` on a CPU: the table's numbers are those of videos that were made, and nothing has to be installed."""

import json

import pytest
import torch
from typer.testing import CliRunner

from emote_cli.animation import bench as module
from emote_cli.animation.bench import HEAD, bench, random_animator, table
from emote_cli.cli import app
from emote_cli.errors import SettingsError
from emote_cli.settings import load_preset

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch):
    monkeypatch.setitem(module.MATRIX_SIDE, "cpu", 64)


def test_a_models_frames_are_timed():
    videos = []
    report = bench(
        "tiny", ["paper", "fast"], repeat=2, device="cpu", dtype="fp32", on_video=lambda: videos.append(1)
    )
    assert len(videos) == 4
    assert [row.quality for row in report.rows] == ["paper", "fast"]
    for row in report.rows:
        assert row.seconds_per_frame == min(row.all_seconds_per_frame) > 0
        assert len(row.all_seconds_per_frame) == 2
        assert row.tflops == pytest.approx(row.tflop_per_frame / row.seconds_per_frame)
        assert row.share == pytest.approx(row.tflops / report.device_tflops)
        assert row.start_s > 0
        assert row.peak_gb > 0.05
    assert report.dtype == "float32"
    assert report.versions["torch"] == torch.__version__
    assert all(len(row) == len(HEAD) for row in table(report))


def test_more_steps_are_more_work(monkeypatch):
    settings = load_preset("tiny")
    work = []
    for steps in (2, 4):
        fewer = settings.diffusion.model_copy(update={"steps": steps, "guidance": 1.0})
        changed = settings.model_copy(update={"diffusion": fewer})
        monkeypatch.setattr(module, "load_preset", lambda name, changed=changed: changed)
        (row,) = bench("tiny", ["paper"], repeat=1, random_weights=True, device="cpu").rows
        assert row.steps == steps
        work.append(row.tflop_per_frame)
    assert 1.3 * work[0] < work[1] < 2 * work[0]


def test_random_weights_fill_every_part():
    animator = random_animator(load_preset("mini"), CPU, "fp32")
    for name, value in animator.model.state_dict().items():
        assert not value.is_meta, name
    assert all(not buffer.is_meta for buffer in animator.model.buffers())
    with pytest.raises(SettingsError, match="unknown preset"):
        bench("nonsense", random_weights=True, device="cpu")


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ["bench", "--model", "tiny", "--quality", "fast", "--repeat", "1", "--device", "cpu"]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    assert "s per frame" in done.stdout
    assert done.stdout.splitlines()[-1] == "bench-tiny.json"
    written = json.loads((tmp_path / "bench-tiny.json").read_text())
    assert [row["quality"] for row in written["rows"]] == ["fast"]
    assert written["versions"]["emote"]
    again = CliRunner().invoke(app, line)
    assert again.exit_code == 1
    assert "already exists" in again.stderr
