"""Accelerate underneath: devices, precision, processes, accumulation. One optimizer step at a time."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from emote_cli.errors import TrainingError
from emote_cli.training.deepspeed import Zero, asks_for_deepspeed, configure
from emote_cli.training.feed import Fed, Shares, divide, to_device
from emote_cli.training.objectives.base import Objective
from emote_cli.training.optimizer import Average, learning_rate_at, make_optimizer
from emote_cli.training.run_folder import TRACKERS, newest_checkpoint
from emote_cli.training.settings import TrainSettings
from emote_cli.training.state import TrainingState, load_state, trained_parameters

SHARDED_ALONE = re.compile(r"\.backbone\..*\.(resnets|motion_modules)\.\d+$")
"""Layers that FSDP gathers when they run: called as a whole, and in every process's backward pass. ReferenceNet's are
not: where all samples of a process drop their reference, the others would wait for it for ever."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step did.

    Attributes:
        loss: mean over this process's samples.
        norm: of the whole gradient, before clipping.
        learning_rate: that the step used.
        taken: whether the guard allowed it.
        frames: pictures that this process learned from.
        waited_s: for data.
        complaints: about damaged clips.
    """

    loss: float
    norm: float
    learning_rate: float
    taken: bool
    frames: int
    waited_s: float
    complaints: list[str]


def make_accelerator(settings: TrainSettings, run: Path | None) -> Any:
    """Make accelerate's object for this run; several runs in one process may differ.

    Raises:
        TrainingError: the machine lacks what the settings ask for.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration

    check_device(settings)
    if torch.cuda.is_available() and settings.device != "cpu":
        torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = settings.tf32
    if settings.precision == "fp16" and (settings.device == "cpu" or not torch.cuda.is_available()):
        raise TrainingError("training cannot start here: fp16 needs a GPU", "set precision to no or bf16")
    AcceleratorState._reset_state(reset_partial_state=False)
    # A step in which every sample dropped its reference leaves reference attention without a gradient.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    place = None if run is None else ProjectConfiguration(str(run), str(run / TRACKERS))
    try:
        accelerator = Accelerator(
            # with DeepSpeed, deepspeed.py sees to it
            mixed_precision="no" if asks_for_deepspeed(settings) else settings.precision,
            gradient_accumulation_steps=settings.accumulation,
            cpu=settings.device == "cpu",
            kwargs_handlers=[unused],
            log_with=tracker_names(settings) or None,
            project_config=place,
        )
    except (ValueError, ImportError, RuntimeError) as error:
        raise TrainingError(
            f"training cannot start here: {error}", "check precision, trackers and device"
        ) from error
    check_supported(accelerator)
    return accelerator


def check_device(settings: TrainSettings) -> None:
    """Refuse to train on a CPU what was meant for a GPU.

    Raises:
        TrainingError: there is none.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError(
            "device=cuda was asked for, but no GPU can be used",
            "see `emote doctor`, or leave out device=cuda",
        )


def tracker_names(settings: TrainSettings) -> list[str]:
    """List accelerate's names of the trackers; `auto` is TensorBoard where it is installed."""
    auto = ["tensorboard"] if find_spec("tensorboard") else []
    named = (auto if name == "auto" else [name] for name in settings.trackers)
    return [name for names in named for name in names]


def check_supported(accelerator: Any) -> None:
    """Refuse what a checkpoint of ours could not hold.

    Raises:
        TrainingError: the first form of FSDP.
    """
    kind = str(accelerator.distributed_type.value)
    if kind == "FSDP" and not accelerator.is_fsdp2:
        raise TrainingError(
            f"{kind} (as accelerate is configured) is not supported",
            "use fsdp_version: 2, or plain DDP, or shard=true",
        )


@runtime_checkable
class Mover(Protocol):
    """What turns losses into steps."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Where the learning rate is set."""
        ...

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add to the gradient; `last` says that the step's passes are over."""
        ...

    def norm(self) -> float:
        """Compute the size of the whole gradient, before clipping."""
        ...

    def take(self, taken: bool) -> None:
        """Step, unless the guard forbids it, and forget the gradient."""
        ...


class Plain:
    """Backward pass and step by accelerate: one process, DDP, FSDP.

    Args:
        accelerator: Accelerate's.
        objective: batch -> losses.
        optimizer: of the parameters that train.
        clip_norm: longest gradient; longer ones are scaled down.
    """

    def __init__(self, accelerator: Any, objective: nn.Module, optimizer: Any, clip_norm: float) -> None:
        self.accelerator, self.objective, self.optimizer = accelerator, objective, optimizer
        self.clip_norm = clip_norm

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Where the learning rate is set."""
        return self.optimizer.param_groups

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add to the gradient; accelerate knows by itself which pass is the last."""
        self.accelerator.backward(loss)

    def norm(self) -> float:
        """Compute the size of the whole gradient, and clip it."""
        parameters = [value for value in self.objective.parameters() if value.requires_grad]
        norm: Tensor = self.accelerator.clip_grad_norm_(parameters, self.clip_norm)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def take(self, taken: bool) -> None:
        """Step, or drop the gradient."""
        if taken or self.accelerator.scaler is not None:  # fp16's scaler skips by itself, and adapts
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


@dataclass
class Engine:
    """A run in motion: accelerate's wrappers around the state.

    Attributes:
        accelerator: accelerate's.
        objective: the wrapped module.
        mover: the wrapped optimizer.
        state: what a checkpoint holds.
        shares: this process's part of each step.
        told: complaints that have been passed on.
    """

    accelerator: Any
    objective: nn.Module
    mover: Mover
    state: TrainingState
    shares: Shares
    told: set[str] = field(default_factory=set)

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return bool(self.accelerator.is_main_process)

    @property
    def sharded(self) -> bool:
        """Whether weights are spread over processes."""
        return any(hasattr(value, "full_tensor") for value in self.state.model.parameters())

    def step(self, feed: Iterator[Fed]) -> Outcome:
        """Consume one batch, and take an optimizer step if the guard allows it."""
        state, settings = self.state, self.state.settings
        rate = learning_rate_at(state.step, state.progress, settings)
        for group in self.mover.param_groups:
            group["lr"] = rate
        losses, frames, waited, complaints, norm = [], 0, 0.0, list[str](), math.nan
        for part in range(self.shares.passes):
            began = time.monotonic()
            fed = next(feed)
            waited += time.monotonic() - began
            complaints += fed.complaints
            batch = to_device(fed.batch, self.accelerator.device)
            frames += math.prod(batch[0].shape[:-3])
            with self.accelerator.accumulate(self.objective):
                with self.accelerator.autocast():
                    loss = self.objective(batch, state.step, self.shares.first(part)).mean()
                last = part == self.shares.passes - 1
                self.mover.backward(loss, last)
                losses.append(loss.detach())
                if last:
                    norm = self.mover.norm()
        taken = self._take(norm)
        state.step += 1
        return Outcome(float(torch.stack(losses).mean()), norm, rate, taken, frames, waited, complaints)

    def _take(self, norm: float) -> bool:
        """Move weights and average, unless the gradient, which is the same in all processes, is bad."""
        state = self.state
        taken = state.guard.allows(norm, state.settings)
        self.mover.take(taken)
        if taken:
            state.ema.follow(state.trained, state.step + 1, state.settings.ema_decay)
        return taken

    def gather(self, *values: float) -> list[list[float]]:
        """Gather some values of every process: one row per process."""
        own = torch.tensor([values], dtype=torch.float64, device=self.accelerator.device)
        rows: list[list[float]] = self.accelerator.gather(own).tolist()
        return rows


def build(objective: Objective, run: Path | None) -> Engine:
    """Place and wrap the objective; load the newest checkpoint of the run if there is one."""
    settings, model = objective.settings, objective.model
    accelerator = make_accelerator(settings, run)
    shares = divide(settings, accelerator.process_index, accelerator.num_processes)
    zero = accelerator.distributed_type.value == "DEEPSPEED"
    if zero:
        configure(accelerator, settings, shares.rows)
    sharded = settings.shard and accelerator.num_processes > 1
    fsdp = sharded or accelerator.distributed_type.value == "FSDP"
    # fully_shard takes no other order of axes, and DeepSpeed lays all weights into one row
    objective.place(accelerator.device, torch.contiguous_format if fsdp or zero else torch.channels_last)
    wrapped: nn.Module = objective
    if sharded:
        shard(wrapped, accelerator)
    trained = trained_parameters(model)
    beside = [] if objective.helper is None else list(objective.helper.parameters())
    optimizer: Any = make_optimizer([*trained.values(), *beside], settings)
    mover: Mover
    if zero:
        wrapped, _ = accelerator.prepare(wrapped, optimizer)
        mover = optimizer = Zero(wrapped, list(trained.values()))
    else:
        if settings.shard:
            moves = accelerator.prepare_optimizer(optimizer)
        else:
            wrapped, moves = accelerator.prepare(wrapped, optimizer)
        mover = Plain(accelerator, wrapped, moves, settings.clip_norm)
    state = TrainingState(
        model, Average(trained_parameters(model)), optimizer, settings, helper=objective.helper
    )
    saved = None if run is None else newest_checkpoint(run)
    if saved is not None:
        load_state(state, saved)
    return Engine(accelerator, wrapped, mover, state, shares)


def shard(objective: nn.Module, accelerator: Any) -> None:
    """Share weights, gradients and moments out to the processes: FSDP (PyTorch's `fully_shard`).

    The large layers are gathered one at a time while they run; the rest, for the whole step.

    Raises:
        TrainingError: this PyTorch cannot shard layers that a step may leave out.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
        raise TrainingError(
            f"shard=true needs PyTorch 2.13, this is {torch.__version__}", "pip install -U torch"
        )
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for name, part in list(objective.named_modules()):
        if SHARDED_ALONE.search(name):
            fully_shard(part, mesh=mesh)
    whole = fully_shard(objective, mesh=mesh)
    # A process whose samples all dropped their reference has no gradient for reference attention.
    whole.set_reduce_scatter_unused_params(True)
