"""Several processes: the numbers are those of one."""

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from training_runs import recipe, run, weights

from emote_cli.settings_tree import override
from emote_cli.zoo.locate import checkpoint_folders

PROGRAM = Path(__file__).parent.parent / "training_runs.py"
pytestmark = pytest.mark.slow
NEEDS_DEEPSPEED = pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
ARRANGEMENTS = [(), ("shard=true",), pytest.param(("deepspeed",), marks=NEEDS_DEEPSPEED)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def surroundings(options: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Environment and settings of an arrangement: `accelerate launch` says `deepspeed` by variables."""
    if "deepspeed" not in options:
        return {"ACCELERATE_USE_CPU": "true"}, list(options)
    said = {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2",
        "DS_ACCELERATOR": "cpu",
    }
    return said, ["device=auto", *(option for option in options if option != "deepspeed")]


def in_two_processes(folder: Path, steps: int, *options: str) -> list[float]:
    """Losses as process 0 reports them."""
    port, processes = free_port(), []
    said, settings = surroundings(options)
    for rank in range(2):
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **said,
            "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, str(PROGRAM), str(folder), str(steps), *settings]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    out = [process.communicate(timeout=1500)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    lines = (line.split() for line in out[0].splitlines())
    return [float(line[1]) for line in lines if line[:1] == ["loss"]]  # DeepSpeed writes more


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, list[float]]:
    folder = tmp_path_factory.mktemp("alone")
    _, heard = run(folder, recipe(max_steps=4))
    return folder, [report.loss for report in heard.reports]


@pytest.mark.parametrize("options", ARRANGEMENTS, ids=["ddp", "fsdp", "deepspeed"])
def test_two_processes_equal_one_with_the_double_batch(alone, tmp_path, options):
    losses = in_two_processes(tmp_path, 4, *options)
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(alone[1]), rtol=1e-5, atol=1e-6)
    ours = weights(checkpoint_folders(tmp_path)[-1])
    theirs = weights(checkpoint_folders(alone[0])[-1])
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        # AdamW makes whole steps of the smallest gradients: rounding shows in single weights.
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", ARRANGEMENTS, ids=["ddp", "fsdp", "deepspeed"])
def test_a_run_of_two_processes_goes_on_in_one_and_back(alone, tmp_path, options):
    losses = in_two_processes(tmp_path, 2, *options)
    _, heard = run(tmp_path, recipe(max_steps=3))
    losses += [report.loss for report in heard.reports]
    losses += in_two_processes(tmp_path, 4, *options)
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(alone[1]), rtol=1e-5, atol=1e-6)


def test_a_process_without_references_does_not_stop_the_others(tmp_path):
    """One sample per process, every second one without its reference: gradients are missing here and there."""
    changes = ["batch=2", "step.drop_reference=0.5"]
    losses = in_two_processes(tmp_path / "two", 4, "shard=true", *changes)
    _, heard = run(tmp_path / "one", override(recipe(max_steps=4), changes))
    torch.testing.assert_close(
        torch.tensor(losses), torch.tensor([report.loss for report in heard.reports]), rtol=1e-3, atol=1e-3
    )


@NEEDS_DEEPSPEED
def test_deepspeed_drops_a_gradient_that_the_guard_refuses(tmp_path):
    in_two_processes(tmp_path, 18, "deepspeed", "spike=1e-6")  # after 16 steps every gradient is a spike
    before, after = (weights(folder) for folder in checkpoint_folders(tmp_path)[-2:])
    for name, value in after.items():
        assert torch.equal(value, before[name]), name
