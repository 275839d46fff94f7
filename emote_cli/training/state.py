"""The state of a run: everything that must be saved for the run to go on as if nothing had happened.

A checkpoint, `checkpoints/step-NNNNNNNN/` (run_folder.py):

    ema/          the averaged model: settings.yaml and model.safetensors; `--model` takes it
    state.pt      weights that train, optimizer, guard, random generators, step, time
    train.yaml    settings of the stage
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emote_cli.errors import TrainingError
from emote_cli.model.emo import Emo
from emote_cli.settings_tree import save_settings
from emote_cli.training.optimizer import Average, GradientGuard
from emote_cli.training.run_folder import (
    EMA,
    SETTINGS,
    STATE,
    TRAIN_SETTINGS,
    WEIGHTS,
    checkpoint_folder,
    part_of_checkpoint,
)
from emote_cli.training.settings import TrainSettings
from emote_cli.zoo.locate import checkpoint_folders


@runtime_checkable
class Remembers(Protocol):
    """What has moments to save and to take over, in the form of torch's optimizers."""

    def state_dict(self) -> dict[str, Any]:
        """Return its memory, of all processes."""
        ...

    def load_state_dict(self, saved: dict[str, Any], /) -> None:
        """Take a memory over, in place."""
        ...


@dataclass
class TrainingState:
    """Model, its moving average, the optimizer, and how many steps and seconds have been spent.

    Attributes:
        model: with requires_grad set for the stage.
        ema: average of the parameters that train.
        optimizer: over these parameters, in the model's order; or what tells of it like one.
        settings: of the stage.
        guard: what it remembers of past gradients.
        step: batches consumed, those of skipped steps included.
        seconds: of training, saving and validation left out.
        helper: what learns beside the model, if anything does.
    """

    model: Emo
    ema: Average
    optimizer: Remembers
    settings: TrainSettings
    guard: GradientGuard = field(default_factory=GradientGuard)
    step: int = 0
    seconds: float = 0.0
    helper: nn.Module | None = None

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name."""
        return trained_parameters(self.model)

    @property
    def progress(self) -> float:
        """How much of the run is done, 0 ... 1, by steps or by minutes, whichever is further.

        The last step may take longer than the time that was left: the run is done then, and no more than done.
        """
        limit = self.settings.max_minutes
        by_time = 0.0 if limit is None else self.seconds / (60 * limit)
        return min(max(self.step / self.settings.max_steps, by_time), 1.0)


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def save_state(state: TrainingState, run: Path, keep: int, main: bool = True) -> Path:
    """Write a checkpoint under a temporary name, rename it, then drop the oldest beyond `keep`.

    With sharded weights every process must call this; only the `main` one writes.

    Args:
        state: of the run, at a step.
        run: its folder.
        keep: how many checkpoints stay.
        main: whether this process writes.

    Returns:
        The checkpoint's folder.

    Raises:
        TrainingError: the disk is full or not writable; older checkpoints are whole.
    """
    folder = checkpoint_folder(run, state.step)
    content, averaged = gather_state(state), gather_averaged(state)
    if not main or folder.exists():
        return folder
    part = part_of_checkpoint(folder)
    try:
        shutil.rmtree(part, ignore_errors=True)
        (part / EMA).mkdir(parents=True)
        write_model(state.model, averaged, part / EMA)
        save_settings(state.settings, part / TRAIN_SETTINGS)
        torch.save(content, part / STATE)
        for file in part.rglob("*"):
            flush(file)
        os.replace(part, folder)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # the last two: how torch and safetensors see a full disk
        shutil.rmtree(part, ignore_errors=True)
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"could not save {folder}: {reason}",
            "free some space, then --resume; older checkpoints are whole",
        ) from error
    for old in checkpoint_folders(run)[:-keep]:
        shutil.rmtree(old)
    return folder


def write_model(model: Emo, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write settings and weights as `load_model` reads them.

    Args:
        model: its settings are written.
        tensors: weights by name, averaged ones here.
        folder: where they go.
    """
    save_settings(model.settings, folder / SETTINGS)
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / WEIGHTS)


def flush(file: Path) -> None:
    """Make sure that a file is on the disk before its folder gets its final name."""
    if file.is_file():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def gather_whole(value: Any) -> Any:
    """Bring nested containers of tensors to the CPU, whole where they were sharded."""
    if isinstance(value, dict):
        return {key: gather_whole(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(gather_whole(inner) for inner in value)
    if not isinstance(value, Tensor):
        return value
    return (value.full_tensor() if hasattr(value, "full_tensor") else value).detach().cpu()


def gather_averaged(state: TrainingState) -> dict[str, Tensor]:
    """Gather all weights of the model, averages in place of those that train."""
    tensors: dict[str, Tensor] = gather_whole({**state.model.state_dict(), **state.ema.values})
    return tensors


def gather_state(state: TrainingState) -> dict[str, Any]:
    """Gather what state.pt holds."""
    return {
        "trained": gather_whole(dict(state.trained)),
        "optimizer": gather_whole(state.optimizer.state_dict()),
        "guard": asdict(state.guard),
        "random": random_state(),
        "step": state.step,
        "seconds": state.seconds,
        "helper": {} if state.helper is None else gather_whole(state.helper.state_dict()),
    }


def random_state() -> dict[str, Any]:
    """Remember all random generators of this process. Training draws from none of them; code that it calls might."""
    kind, keys, *rest = np.random.get_state()
    state = {"torch": torch.get_rng_state(), "python": random.getstate()}
    state["numpy"] = (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest)
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Set all random generators back to what `random_state` remembered."""
    torch.set_rng_state(state["torch"])
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    if torch.cuda.is_available() and len(state.get("cuda", ())) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@torch.no_grad()
def load_state(state: TrainingState, folder: Path) -> None:
    """Continue from a checkpoint that `save_state` wrote, on any number of processes.

    Raises:
        TrainingError: it is damaged, or other parameters trained in it.
    """
    try:
        saved: dict[str, Any] = torch.load(folder / STATE, weights_only=True, map_location="cpu")
        averaged = load_file(folder / EMA / WEIGHTS)
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        raise TrainingError(
            f"{folder} is damaged: {str(error).splitlines()[0].partition('. ')[0]}",
            "delete that folder and --resume again",
        ) from error
    current = saved["trained"]
    if current.keys() != state.trained.keys():
        raise TrainingError(
            f"{folder} trained {len(current)} parameters, this stage trains {len(state.trained)}",
            "resume with the same --stage and --unfreeze as before",
        )
    for name, value in state.model.state_dict().items():
        copy_into(value, current.get(name, averaged[name]))
    for name, value in state.ema.values.items():
        copy_into(value, averaged[name])
    if state.helper is not None:
        state.helper.load_state_dict(saved["helper"])
    load_optimizer(state, saved["optimizer"])
    state.guard = GradientGuard(**saved["guard"])
    set_random_state(saved["random"])
    state.step, state.seconds = saved["step"], saved["seconds"]


def load_optimizer(state: TrainingState, saved: dict[str, Any]) -> None:
    """Give the optimizer its memory back, sharded as its parameters are and with their order of axes.

    AdamW's fused kernel goes through memory in order: moments of another order would meet other weights.
    """
    beside = [] if state.helper is None else list(state.helper.parameters())
    parameters = [*state.trained.values(), *beside]
    for index, memory in saved["state"].items():
        like = parameters[int(index)]
        for key, value in memory.items():
            if isinstance(value, Tensor) and value.shape == like.shape:
                memory[key] = torch.empty_like(like, dtype=value.dtype).copy_(shard_like(value, like))
    state.optimizer.load_state_dict(saved)


def copy_into(target: Tensor, value: Tensor) -> None:
    """Copy whole numbers into a tensor that may be sharded."""
    target.copy_(shard_like(value, target))


def shard_like(value: Tensor, like: Tensor) -> Tensor:
    """Take this process's share of a tensor, where `like` is sharded."""
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)  # type: ignore[attr-defined]
