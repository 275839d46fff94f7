"""Experimental: DeepSpeed's ZeRO 1 and 2, as `accelerate config` sets it up: gradients and moments are spread.

Weights stay whole and in fp32 in every process (bf16 is by autocast), so that averages, validation and checkpoints are
those of any other run: a run may change between DeepSpeed, DDP and one process. That is why this file reads attributes
that DeepSpeed does not document (`single_partition_of_fp32_groups`, `_hp_mapping`): its own checkpoints have another
form. Tested with two processes on a CPU, with the DeepSpeed releases that the extra allows; never run on GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emote_cli.errors import TrainingError
from emote_cli.training.settings import TrainSettings

STAGES = (1, 2)
INVALID = -1.0
"""DeepSpeed's word for the norm of a gradient that is not finite; it drops such a gradient."""


def asks_for_deepspeed(settings: TrainSettings) -> bool:
    """Tell whether `accelerate launch` was told to use DeepSpeed, which accelerate does not on a CPU."""
    told = os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true"
    return told and settings.device != "cpu"


def configure(accelerator: Any, settings: TrainSettings, rows: int) -> None:
    """Complete DeepSpeed's settings by ours, before the model is wrapped.

    Args:
        accelerator: accelerate's, set up for DeepSpeed.
        settings: of the stage.
        rows: samples per forward pass of a process.

    Raises:
        TrainingError: what is asked for does not go together.
    """
    plugin = accelerator.state.deepspeed_plugin
    if plugin.zero_stage not in STAGES:
        raise TrainingError(
            f"DeepSpeed's zero_stage is {plugin.zero_stage}; 1 and 2 are supported",
            "use shard=true to spread the weights, too",
        )
    if settings.shard or settings.optimizer != "adamw" or settings.precision == "fp16":
        raise TrainingError(
            f"DeepSpeed does not go with shard={str(settings.shard).lower()}, optimizer={settings.optimizer} "
            f"and precision={settings.precision}",
            "take shard=false, optimizer=adamw, and precision=no or bf16",
        )
    config = plugin.deepspeed_config
    config["train_micro_batch_size_per_gpu"] = rows
    config["gradient_accumulation_steps"] = settings.accumulation
    config["gradient_clipping"] = settings.clip_norm
    config["torch_autocast"] = {"enabled": settings.precision == "bf16", "dtype": "bfloat16"}


class Zero:
    """Backward pass and step by DeepSpeed; its moments can be told and set as an ordinary optimizer's.

    Args:
        engine: DeepSpeed's, around the objective.
        parameters: those that train, in the model's order.
    """

    def __init__(self, engine: Any, parameters: Sequence[nn.Parameter]) -> None:
        self.engine, self.zero, self.base = engine, engine.optimizer, engine.optimizer.optimizer
        self.parameters = list(parameters)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Where the learning rate is set."""
        return self.base.param_groups

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add to the gradient; after the `last` pass of a step it is shared among the processes."""
        self.engine.set_gradient_accumulation_boundary(is_boundary=last)
        self.engine.backward(loss)

    def norm(self) -> float:
        """Compute the size of the whole gradient, before clipping; NaN if it is not finite."""
        found = float(self.zero.scaled_global_norm()) / float(self.zero.loss_scale)
        return found if found >= 0 else float("nan")

    def take(self, taken: bool) -> None:
        """Step, or drop the gradient."""
        if not taken:
            self.zero.scaled_global_norm = lambda *_: torch.tensor(INVALID)
        try:
            self.engine.step()
        finally:
            if not taken:
                del self.zero.scaled_global_norm

    def state_dict(self) -> dict[str, Any]:
        """Return the moments as torch's AdamW would have them; every process must call this."""
        moments = self._moments()
        group = {name: value for name, value in self.param_groups[0].items() if name != "params"}
        state = {} if not moments else {i: self._whole(p, moments) for i, p in enumerate(self.parameters)}
        return {"state": state, "param_groups": [{**group, "params": list(range(len(self.parameters)))}]}

    @torch.no_grad()
    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over moments, once the model's weights are in place."""
        self.zero.refresh_fp32_params()
        if not saved["state"]:
            return
        flat = self._flat()
        first = saved["state"][0]
        self.base.state[flat] = {
            name: torch.zeros_like(flat) if value.shape == self.parameters[0].shape else value.to(flat.device)
            for name, value in first.items()
        }
        for index, parameter in enumerate(self.parameters):
            for name, mine, theirs in self._shares(parameter, self.base.state[flat]):
                mine.copy_(saved["state"][index][name].to(flat).flatten()[theirs])

    def _flat(self) -> Tensor:
        """This process's share of all weights, in one row."""
        flat: Tensor = self.zero.single_partition_of_fp32_groups[0]
        return flat

    def _moments(self) -> dict[str, Tensor]:
        """What AdamW remembers of this process's share; empty before the first step."""
        return self.base.state.get(self._flat(), {})

    def _whole(self, parameter: nn.Parameter, moments: dict[str, Tensor]) -> dict[str, Tensor]:
        """The moments of one parameter, put together from all processes."""
        told = {name: value.clone() for name, value in moments.items() if value.dim() == 0}
        rows = {name: parameter.new_zeros(parameter.numel()) for name in moments.keys() - told.keys()}
        for name, mine, theirs in self._shares(parameter, moments):
            rows[name][theirs] = mine
        for name in sorted(rows):
            torch.distributed.all_reduce(rows[name])
        return told | {name: row.view_as(parameter) for name, row in rows.items()}

    def _shares(self, parameter: Any, moments: dict[str, Tensor]) -> list[tuple[str, Tensor, slice]]:
        """What this process keeps of a parameter's moments, and which elements of the parameter these are."""
        place = parameter._hp_mapping  # what DeepSpeed's own safe_get_full_optimizer_state reads
        if place is None:
            return []
        ours, theirs = place.get_hp_fragment_address(), place.lp_fragment_address
        span = slice(theirs.start, theirs.start + theirs.numel)
        rows = {name: value for name, value in moments.items() if value.dim()}
        return [(name, value.narrow(0, ours.start, ours.numel), span) for name, value in rows.items()]
