"""Stopping and going on: to the bit, after any kind of end."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from training_runs import examples, recipe, run, weights

from emote_cli.errors import TrainingError
from emote_cli.model.checkpoint import load_model
from emote_cli.zoo.locate import checkpoint_folders

PROGRAM = Path(__file__).parent.parent / "training_runs.py"


def same(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of 6 steps without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, recipe(max_steps=6))
    return folder


def test_resumed_is_uninterrupted_to_the_bit(whole, tmp_path):
    run(tmp_path, recipe(max_steps=2))
    _, heard = run(tmp_path, recipe(max_steps=6))
    assert [report.step for report in heard.reports] == [3, 4, 5, 6]
    same(whole / "checkpoints" / "step-00000006", tmp_path / "checkpoints" / "step-00000006")


def test_moments_kept_in_another_order_of_axes_go_on_to_the_bit(whole, tmp_path):
    """Sharded runs save them in rows; a run on one device keeps channels last."""
    run(tmp_path, recipe(max_steps=2))
    place = tmp_path / "checkpoints" / "step-00000002" / "state.pt"
    saved = torch.load(place, weights_only=True)
    for memory in saved["optimizer"]["state"].values():
        memory.update({name: value.contiguous() for name, value in memory.items()})
    torch.save(saved, place)
    run(tmp_path, recipe(max_steps=6))
    same(whole / "checkpoints" / "step-00000006", tmp_path / "checkpoints" / "step-00000006")


def test_another_start_or_seed_is_another_run(whole, tmp_path):
    run(tmp_path, recipe(max_steps=6, seed=1))
    ours = weights(tmp_path / "checkpoints" / "step-00000006")
    theirs = weights(whole / "checkpoints" / "step-00000006")
    assert any(not torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.slow
def test_killed_without_warning_and_resumed(whole, tmp_path):
    command = [sys.executable, str(PROGRAM), str(tmp_path), "6"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    while not checkpoint_folders(tmp_path) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "checkpoints" / "step-00000006").exists()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    same(whole / "checkpoints" / "step-00000006", tmp_path / "checkpoints" / "step-00000006")


def test_a_signal_saves_and_stops(whole, tmp_path):
    settings = recipe(max_steps=6)

    class Alarm:
        """The stream; its 9th example (step 3 of batches of 4) brings a SIGTERM."""

        def __init__(self) -> None:
            self.inner = examples(settings)

        def example(self, key: int, attempt: int = 0):
            if key == 9:
                os.kill(os.getpid(), signal.SIGTERM)
            return self.inner.example(key, attempt)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, settings, Alarm())
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["step-00000003"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    run(tmp_path, settings)
    same(whole / "checkpoints" / "step-00000006", tmp_path / "checkpoints" / "step-00000006")


def test_only_the_newest_checkpoints_stay(tmp_path):
    run(tmp_path, recipe(max_steps=5, save_steps=1, keep_checkpoints=2))
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["step-00000004", "step-00000005"]
    assert not list((tmp_path / "checkpoints").glob(".part-*"))


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path):
    run(tmp_path, recipe(max_steps=2))
    size = max(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    pid = os.fork()
    if pid == 0:  # a limit on the size of files cannot be taken back: only a child has it
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
        try:
            run(tmp_path, recipe(max_steps=3))
        except TrainingError as error:
            os._exit(0 if "could not save" in error.message and "older" in error.hint else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
    load_model(tmp_path / "checkpoints" / "step-00000002" / "ema")
    run(tmp_path, recipe(max_steps=3))
    assert checkpoint_folders(tmp_path)[-1].name == "step-00000003"


def test_what_a_killed_save_leaves_behind_does_not_count(whole, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / "checkpoints" / ".part-step-00000007" / "ema").mkdir(parents=True)
    state, _ = run(tmp_path, recipe(max_steps=7))
    assert state.step == 7
    assert checkpoint_folders(tmp_path)[-1].name == "step-00000007"
    assert not list((tmp_path / "checkpoints").glob(".part-*"))


def test_a_damaged_checkpoint_and_one_of_another_stage_are_named(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "a")
    broken = tmp_path / "a" / "checkpoints" / "step-00000006" / "state.pt"
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="is damaged"):
        run(tmp_path / "a", recipe(max_steps=7))
    shutil.copytree(whole, tmp_path / "b")
    with pytest.raises(TrainingError, match="parameters, this stage trains"):
        run(tmp_path / "b", recipe("speed", max_steps=7))
