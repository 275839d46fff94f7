"""The loop: batch -> loss -> backward -> clip -> step -> average; save now and then, and when stopped."""

from __future__ import annotations

import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from emote_cli import stopping
from emote_cli.data.dataset import ClipDataset
from emote_cli.errors import DataError
from emote_cli.model.emo import Emo
from emote_cli.training.engine import Engine, Outcome, build
from emote_cli.training.feed import Examples, feed
from emote_cli.training.objectives.base import Objective
from emote_cli.training.observer import Observer, StepReport
from emote_cli.training.run_folder import find_half_written, newest_checkpoint
from emote_cli.training.state import TrainingState, save_state

Examine = Callable[[Emo, int], dict[str, float]]
"""Looks at the averaged model at some step; returns figures by name."""


@dataclass
class Stop:
    """Whether someone asked for the end of the run.

    Attributes:
        asked: whether.
        at_once: whether the wish strikes at once, as nothing is under way that must be whole.
    """

    asked: bool = False
    at_once: bool = False


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Take the first Ctrl-C or SIGTERM as a wish, granted after the step; the second strikes at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def heed(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.default_int_handler)
        if stop.at_once:
            raise KeyboardInterrupt

    before = {each: signal.signal(each, heed) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def train(
    objective: Objective,
    examples: Examples,
    run: Path,
    observer: Observer | None = None,
    examine: Examine | None = None,
) -> TrainingState:
    """Train one stage into a run folder, going on from its newest checkpoint if there is one.

    Args:
        objective: of the stage; its model starts here (and ends here: its parameters are changed in place).
        examples: of the stage.
        run: folder of the run.
        observer: hears of everything.
        examine: looks at the averaged model now and then, as `validation.every` says.

    Raises:
        DataError: the data set holds no clip long enough for this stage, or too many damaged ones.
        TrainingError: the settings do not fit this machine, a checkpoint cannot be saved, or too many steps
            went wrong.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the state is saved.
    """
    check_examples(examples)
    observer, settings = observer or Observer(), objective.settings
    for left in find_half_written(run):
        observer.on_warning(
            f"{left.name} is left of a run that was killed while it saved; it will be replaced"
        )
    engine = build(objective, run)
    state, batches = engine.state, feed(examples, settings, engine.shares, engine.state.step)
    saved_at, saved_step = state.seconds, state.step
    with stopping.saving(), trackers(engine) as log, stop_signals() as stop:
        while state.progress < 1 and not stop.asked:
            report = take_step(engine, batches, observer, stop)
            log(report)
            due_s = state.seconds - saved_at >= 60 * settings.save_minutes
            if due_s or (settings.save_steps and state.step % settings.save_steps == 0):
                saved_at, saved_step = state.seconds, save(engine, run, observer)
            if settings.validation.every and state.step % settings.validation.every == 0:
                validate(engine, observer, examine, stop)
        if saved_step != state.step or newest_checkpoint(run) is None:
            save(engine, run, observer)
    if stop.asked:
        raise KeyboardInterrupt
    return state


def check_examples(examples: Examples) -> None:
    """Raise DataError if there is nothing to draw from."""
    if isinstance(examples, ClipDataset) and not examples.clips:
        raise DataError(
            f"no clip is long enough: this stage needs {examples.shortest} frames that show a face",
            "prepare longer clips, or use a smaller temporal.chunk_frames",
        )


def take_step(engine: Engine, batches: Iterator[Any], observer: Observer, stop: Stop) -> StepReport:
    """Take one step that all processes agree on, and report it.

    Args:
        engine: of the stage.
        batches: from `feed`.
        observer: hears of the report and of what was skipped, in the main process.
        stop: becomes True in all processes once any of them was asked to stop.

    Raises:
        DataError: too many damaged clips in a row.
        TrainingError: too many steps in a row had a bad gradient.
    """
    state, began = engine.state, time.monotonic()
    outcome: Outcome = engine.step(batches)
    rows = engine.gather(outcome.loss, outcome.frames, stop.asked, time.monotonic() - began)
    took = max(rows[0][3], 1e-9)
    state.seconds += took
    stop.asked = any(row[2] for row in rows)
    for text in outcome.complaints:
        if text not in engine.told:  # a damaged clip is drawn again and again
            engine.told.add(text)
            observer.on_warning(f"skipped: {text}")
    if not outcome.taken and engine.main:
        observer.on_warning(
            f"step {state.step} skipped: its gradient is not usable (size {outcome.norm:.3g})"
        )
    progress = state.progress
    report = StepReport(
        step=state.step,
        loss=sum(row[0] for row in rows) / len(rows),
        learning_rate=outcome.learning_rate,
        samples_per_s=sum(row[1] for row in rows) / took,
        progress=progress,
        norm=outcome.norm,
        wait=outcome.waited_s / took,
        memory_mb=peak_memory_mb(),
        skipped=state.guard.skipped,
        seconds_left=state.seconds * (1 - progress) / progress if progress else 0.0,
    )
    if engine.main:
        observer.on_step(report)
    return report


def save(engine: Engine, run: Path, observer: Observer) -> int:
    """Write a checkpoint.

    Args:
        engine: of the stage.
        run: folder of the run.
        observer: hears where it lies.

    Returns:
        The step of the checkpoint.

    Raises:
        TrainingError: the disk is full or not writable.
    """
    state = engine.state
    folder = save_state(state, run, state.settings.keep_checkpoints, engine.main)
    engine.accelerator.wait_for_everyone()
    if engine.main:
        observer.on_saved(folder)
    return state.step


def validate(engine: Engine, observer: Observer, examine: Examine | None, stop: Stop) -> None:
    """Let `examine` look at the averaged model, in the main process; training goes on as if it had not.

    Ctrl-C ends it, and nothing is lost by that.

    Args:
        engine: of the stage.
        observer: hears of the figures.
        examine: model, step -> figures by name; None does nothing.
        stop: becomes True after Ctrl-C.
    """
    if examine is None:
        return
    if engine.sharded:
        observer.on_warning("no validation while weights are sharded: run emote animate on a checkpoint")
        return
    state = engine.state
    state.ema.swap(state.trained)
    state.model.eval()
    stop.at_once = engine.accelerator.num_processes == 1
    try:
        if engine.main and not stop.asked:
            observer.on_figures(state.step, examine(state.model, state.step))
    except KeyboardInterrupt:
        stop.asked = True
    finally:
        stop.at_once = False
        state.model.train()
        state.ema.swap(state.trained)
    engine.accelerator.wait_for_everyone()


@contextmanager
def trackers(engine: Engine) -> Iterator[Callable[[StepReport], None]]:
    """Log to accelerate's trackers (TensorBoard and others), every few steps."""
    settings, accelerator = engine.state.settings, engine.accelerator
    tracking = bool(accelerator.log_with)
    if tracking:
        accelerator.init_trackers("emote")

    def log(report: StepReport) -> None:
        if tracking and report.step % settings.log_every == 0:
            names = ("loss", "learning_rate", "samples_per_s", "norm", "wait", "memory_mb", "skipped")
            accelerator.log({name: getattr(report, name) for name in names}, step=report.step)

    try:
        yield log
    finally:
        if tracking:
            accelerator.end_training()


def peak_memory_mb() -> float:
    """Tell the most memory used so far: the GPU's where there is one, else the process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
