"""`pytest -m gpu tests/gpu`: the one run on a GPU, and what must come of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("measure.py")


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
