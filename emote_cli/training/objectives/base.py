"""What every objective has: a model of which some parameters train, and a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emote_cli.model.emo import Emo
from emote_cli.training.settings import TrainSettings
from emote_cli.training.stages import freeze_for


class Objective(nn.Module, ABC):
    """Batch -> one loss per sample. A module, since DDP and FSDP watch one forward pass.

    Args:
        model: whose parameters are frozen here, but for those that the stage trains.
        settings: of the stage.

    Raises:
        TrainingError: the model has nothing that this stage could train, or a pattern matches no parameter.
    """

    def __init__(self, model: Emo, settings: TrainSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        freeze_for(
            model,
            settings.stage,
            prior=settings.prior,
            unfreeze=settings.unfreeze,
            freeze=settings.freeze,
        )
        model.backbone.gradient_checkpointing = settings.gradient_checkpointing

    @abstractmethod
    def forward(self, batch: Any, step: int, first: int) -> Float[Tensor, " b"]:
        """Compute the losses of some samples of a step.

        All randomness of a sample depends on (seed, step, its number in the step) only: how a step's samples are
        spread over processes and forward passes changes nothing.

        Args:
            batch: a named tuple of tensors, as the stage's examples have them (examples.py).
            step: number of the optimizer step.
            first: number, within the step, of the batch's first sample.
        """

    @property
    def helper(self) -> nn.Module | None:
        """What learns beside the model and is no part of it, such as a critic; checkpoints keep it."""
        return None

    def place(self, device: torch.device, layout: torch.memory_format) -> None:
        """Move the model, and what else the objective needs, to a device; with this order of axes."""
        self.model.train().to(device, memory_format=layout)  # type: ignore[call-overload]
