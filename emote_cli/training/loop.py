"""The loop: batch -> loss -> backward -> clip -> step -> average; save every few minutes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from emote_cli.data.dataset import ClipDataset, TrainingExample, collate
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.errors import DataError
from emote_cli.model.emo import Emo
from emote_cli.training.settings import TrainSettings
from emote_cli.training.stages import freeze_for
from emote_cli.training.state import TrainingState, checkpoint_folders, load_state, save_state
from emote_cli.training.step import draw, loss_for


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step tells whoever watches."""

    step: int
    loss: float
    learning_rate: float
    samples_per_s: float
    progress: float


def progress_of(state: TrainingState, settings: TrainSettings) -> float:
    """How much of the run is done, 0 ... 1, by steps or by minutes, whichever is further."""
    by_steps = state.step / settings.max_steps
    by_time = 0.0 if settings.max_minutes is None else state.seconds / (60 * settings.max_minutes)
    return max(by_steps, by_time)


def learning_rate(state: TrainingState, settings: TrainSettings) -> float:
    """Linear warm-up, then constant or cosine down to 2 %."""
    warm = min(1.0, (state.step + 1) / max(settings.warmup_steps, 1))
    if settings.decay == "constant":
        return settings.learning_rate * warm
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress_of(state, settings), 1.0)))
    return settings.learning_rate * warm * (0.02 + 0.98 * cosine)


def start(model: Emo, settings: TrainSettings, run: Path) -> TrainingState:
    """A fresh state, or the newest checkpoint of the run."""
    trained = freeze_for(model, settings.stage, prior=settings.prior, unfreeze=settings.unfreeze)
    optimizer = torch.optim.AdamW(
        trained, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
    )
    state = TrainingState(model, copy.deepcopy(model).requires_grad_(False).eval(), optimizer)
    saved = checkpoint_folders(run)
    if saved:
        load_state(state, saved[-1])
    return state


def train_step(
    state: TrainingState, batch: TrainingExample, schedule: NoiseSchedule, settings: TrainSettings, rate: float
) -> float:
    """One optimizer step; returns the mean loss."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    drawn = draw(batch, schedule, settings.step, settings.seed, state.step)
    loss = loss_for(state.model, schedule, batch, drawn, settings.step, settings.stage != "image").mean()
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    trained = [p for p in state.model.parameters() if p.requires_grad]
    torch.nn.utils.clip_grad_norm_(trained, settings.clip_norm)
    state.optimizer.step()
    state.step += 1
    state.follow(settings.ema_decay)
    return float(loss.detach())


def train(
    model: Emo,
    dataset: ClipDataset,
    settings: TrainSettings,
    run: Path,
    on_step: Callable[[StepReport], None] = lambda report: None,
) -> TrainingState:
    """Train one stage into a run folder, going on from its newest checkpoint if there is one.

    Args:
        model: starts here (and ends here: its parameters are changed in place).
        dataset: examples of the stage.
        settings: of the stage.
        run: folder of the run.
        on_step: called after every step.

    Raises:
        DataError: the data set holds no clip long enough for this stage.
    """
    if not dataset.clips:
        raise DataError("no clip is long enough for this stage", "prepare longer clips, or use a smaller chunk")
    schedule = NoiseSchedule(model.settings.diffusion)
    state = start(model.train(), settings, run)
    saved_at = state.seconds
    while progress_of(state, settings) < 1:
        began = time.monotonic()
        first = state.step * settings.batch
        batch = collate([dataset[first + row] for row in range(settings.batch)])
        rate = learning_rate(state, settings)
        loss = train_step(state, batch, schedule, settings, rate)
        took = time.monotonic() - began
        state.seconds += took
        speed = batch.target.shape[0] * batch.target.shape[1] / took
        on_step(StepReport(state.step, loss, rate, speed, progress_of(state, settings)))
        if state.seconds - saved_at >= 60 * settings.save_minutes:
            save_state(state, run, settings.keep_checkpoints)
            saved_at = state.seconds
    save_state(state, run, settings.keep_checkpoints)
    return state
