"""What moves the weights: optimizer, learning rate, moving average, and the guard against bad steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from emote_cli.errors import TrainingError
from emote_cli.training.settings import TrainSettings

HISTORY = 64
"""Gradient norms that the guard remembers."""
SETTLED = 16
"""Norms that it wants to have seen before it judges."""


def make_optimizer(parameters: list[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """Make AdamW, or its 8-bit form on a GPU.

    Raises:
        TrainingError: the 8-bit form is asked for and not installed.
    """
    kind: type[torch.optim.Optimizer] = torch.optim.AdamW
    if settings.optimizer == "adamw8bit":
        try:
            import bitsandbytes
        except ImportError as error:
            raise TrainingError(
                "8-bit AdamW is not installed", "pip install 'emote-cli[adamw8bit]'"
            ) from error
        kind = bitsandbytes.optim.AdamW8bit
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": settings.betas,
        "weight_decay": settings.weight_decay,
    }
    if kind is torch.optim.AdamW and not settings.shard:
        options["fused"] = True  # one pass over the weights; sharded ones cannot
    return kind(parameters, **options)


def learning_rate_at(step: int, progress: float, settings: TrainSettings) -> float:
    """Compute the learning rate of a step: linear warm-up, then constant or cosine down to 2 %.

    Args:
        step: steps done so far.
        progress: share of the run that is done, 0 to 1.
        settings: of the stage.
    """
    warm = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    if settings.decay == "constant":
        return settings.learning_rate * warm
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return settings.learning_rate * warm * (0.02 + 0.98 * cosine)


class Average:
    """Moving average of the parameters that train, in their own place and precision.

    Args:
        parameters: by name; they are copied.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.values: dict[str, Tensor] = {name: value.detach().clone() for name, value in parameters.items()}

    @torch.no_grad()
    def follow(self, parameters: Mapping[str, nn.Parameter], step: int, decay: float) -> None:
        """Move towards the parameters, all at once; faster in the first steps.

        Args:
            parameters: as they are after the step.
            step: number of the step.
            decay: share of the average that stays, 0 ... 1; less in the first steps.
        """
        kept = min(decay, (1 + step) / (10 + step))
        follow = get_ema_multi_avg_fn(kept)  # type: ignore[no-untyped-call]
        follow([self.values[name] for name in parameters], list(parameters.values()), None)

    @torch.no_grad()
    def swap(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Exchange average and parameters; a second call undoes the first to the bit."""
        for name, value in parameters.items():
            kept = value.detach().clone()
            value.copy_(self.values[name])
            self.values[name].copy_(kept)


@dataclass
class GradientGuard:
    """Judges every step by the size of its gradient, before it is taken.

    Attributes:
        norms: of the last good steps.
        skipped: steps not taken so far.
        in_a_row: of them, how many just now.
    """

    norms: list[float] = field(default_factory=list)
    skipped: int = 0
    in_a_row: int = 0

    def allows(self, norm: float, settings: TrainSettings) -> bool:
        """Whether to take the step; counts those that are not.

        Raises:
            TrainingError: too many in a row.
        """
        usual = median(self.norms) if len(self.norms) >= SETTLED else math.inf
        if math.isfinite(norm) and (not settings.spike or norm <= settings.spike * usual):
            self.norms = [*self.norms[-HISTORY + 1 :], norm]
            self.in_a_row = 0
            return True
        self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        if self.in_a_row >= settings.max_skipped:
            raise TrainingError(
                f"{self.in_a_row} steps in a row had a gradient of {norm:.3g}, the usual is {usual:.3g}",
                "try a lower learning_rate, or precision=no; the saved checkpoints are older than that",
            )
        return False
