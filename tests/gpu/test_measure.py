# ruff: noqa: E402
"""`pytest -m gpu tests/gpu`: the one run on a GPU, and what comes of it. On a CPU: the script itself, with fakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("measure.py")
sys.path.insert(0, str(SCRIPT.parent))

import measure
import sections
from fake_cuda import pretend
from machine import GPU, TINY


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is at hand")
def test_memory_that_runs_out_costs_time_and_no_video(tmp_path):
    subprocess.run([sys.executable, SCRIPT, tmp_path, "memory-runs-out"], check=True, timeout=600)
    found = json.loads((tmp_path / "memory-runs-out.json").read_text())
    assert found["lowered"]
    assert found["told"] == ["memory ran out; going on with --low-memory"]
    assert found["largest_difference_of_255"] <= 2


def test_without_a_gpu_the_script_says_so(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "no GPU is at hand: this script measures one"


def test_every_section_runs_and_its_figures_are_told(tmp_path, monkeypatch, capsys):
    pretend(monkeypatch.setattr)
    names = list(sections.plan(TINY))
    assert len(sections.plan(GPU)) > len(names), "there, for three models"
    assert measure.run(names, tmp_path, measure.attempt_here(TINY), 60) == []
    told = capsys.readouterr().out
    assert told.count(": done, ") == len(names), told
    assert {file.stem for file in tmp_path.glob("*.*")} == {*names, "summary"}
    summary = (tmp_path / "summary.txt").read_text()
    assert summary.count("s per frame (goal 0.045)") == 4, "eager, recorded, low memory, compiled"
    assert summary.count("ms a step") == 2, "one after the other, and in one batch"
    out = json.loads((tmp_path / "memory-runs-out.json").read_text())
    assert out["told"] == ["memory ran out; going on with --low-memory"]
    assert out["lowered"]
    assert out["largest_difference_of_255"] == 0
    recorded = json.loads((tmp_path / "recorded-is-the-same.json").read_text())["tiny"]
    assert recorded == {"told": [], "recordings": 1, "largest_difference_of_255": 0}
    memory = json.loads((tmp_path / "memory-tiny.json").read_text())
    assert memory["recorded"]["recordings"] == 1, "a CPU takes both halves of a small model in one batch"
    assert set(memory["eager"]["parts_peak_gb"]) == {"step", "reference_net", "decode"}


def test_a_section_that_fails_costs_no_other_and_time_is_kept(tmp_path, monkeypatch, capsys):
    def fails() -> dict:
        raise RuntimeError("no such kernel")

    clock = iter([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 61.0])
    monkeypatch.setattr(measure.time, "monotonic", lambda: next(clock))
    plan = {"bad": fails, "good": lambda: {"found": 7}, "late": fails}
    monkeypatch.setattr(sections, "plan", lambda _: plan)
    left = measure.run(list(plan), tmp_path, measure.attempt_here(TINY), 1)
    told = capsys.readouterr().out.splitlines()
    assert told == ["bad: failed (RuntimeError: no such kernel), 1 s", "good: done, 1 s"]
    assert left == ["late"]
    assert json.loads((tmp_path / "good.json").read_text()) == {"found": 7}
    assert (tmp_path / "summary.txt").read_text().split() == ["good", "found:", "7"]


def test_sections_are_chosen_by_name_each_in_a_process_of_its_own(tmp_path):
    line = [sys.executable, SCRIPT, tmp_path, "ways", "--tiny", "--minutes", "5"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "ways: done" in done.stdout
    assert [file.name for file in tmp_path.glob("*.json")] == ["ways.json"]
    wrong = subprocess.run([*line[:3], "nonsense", "--tiny"], capture_output=True, text=True, check=False)
    assert wrong.stderr.strip() == "unknown section nonsense; --list prints all"
