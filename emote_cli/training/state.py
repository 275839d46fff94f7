"""The state of a run: everything that must be saved for the run to go on as if nothing had happened."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emote_cli.errors import TrainingError
from emote_cli.model.checkpoint import save_model
from emote_cli.model.emo import Emo


@dataclass
class TrainingState:
    """Model, its moving average, the optimizer, and how many steps and seconds have been spent."""

    model: Emo
    ema: Emo
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def follow(self, decay: float) -> None:
        """Move the average towards the model; faster in the first steps."""
        weight = min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            averaged, current = list(self.ema.parameters()), list(self.model.parameters())
            for average, value in zip(averaged, current, strict=True):
                if value.requires_grad:
                    average.lerp_(value, 1 - weight)


def checkpoint_folders(run: Path) -> list[Path]:
    """Whole checkpoints of a run, oldest first."""
    return sorted(p for p in (run / "checkpoints").glob("step-*") if re.fullmatch(r"step-\d{8}", p.name))


def save_state(state: TrainingState, run: Path, keep: int) -> Path:
    """Write a checkpoint under a temporary name, rename it, then drop the oldest beyond `keep`."""
    folder = run / "checkpoints" / f"step-{state.step:08d}"
    part = folder.with_name(f".part-{folder.name}")
    shutil.rmtree(part, ignore_errors=True)
    (part / "ema").mkdir(parents=True)
    try:
        save_model(state.ema, part / "ema")
        torch.save(
            {
                "model": state.model.state_dict(),
                "optimizer": state.optimizer.state_dict(),
                "step": state.step,
                "seconds": state.seconds,
            },
            part / "state.pt",
        )
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(part, folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise TrainingError(f"could not save {folder}: {error}", "free some space; older checkpoints are whole") from error
    for old in checkpoint_folders(run)[:-keep]:
        shutil.rmtree(old)
    return folder


def load_state(state: TrainingState, folder: Path) -> None:
    """Continue from a checkpoint that `save_state` wrote."""
    from emote_cli.model.checkpoint import load_model

    saved: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True, map_location="cpu")
    state.model.load_state_dict(saved["model"])
    state.ema.load_state_dict(load_model(folder / "ema").state_dict())
    state.optimizer.load_state_dict(saved["optimizer"])
    state.step, state.seconds = saved["step"], saved["seconds"]
