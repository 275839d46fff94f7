"""`--dry-run`: what each stage would train, its memory, and its time here, from three measured steps."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from emote_cli.data.cache import cache_key
from emote_cli.data.layout import cache_folder
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.selection import Selection, select
from emote_cli.model.emo import Emo
from emote_cli.training.engine import Engine, build
from emote_cli.training.examples import examples_for
from emote_cli.training.feed import Examples, feed
from emote_cli.training.loop import check_examples, peak_memory_mb
from emote_cli.training.observer import Observer
from emote_cli.training.pipeline import first_model, objective_for
from emote_cli.training.request import StageRun
from emote_cli.training.settings import TrainSettings
from emote_cli.training.stages import part_of

MEASURED = 3
FEW = 4
"""Clips on which a stage is measured whose start another stage has yet to make."""
ADAM_BYTES = {"adamw": 8, "adamw8bit": 2}


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters of one part of the model.

    Attributes:
        name: of the part.
        trainable: how many numbers of it train.
        frozen: how many do not.
    """

    name: str
    trainable: int
    frozen: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is to be expected of a stage.

    Attributes:
        stage: vae, image, video, speed or distill.
        parts: of the model.
        state_mb: weights, gradients, optimizer and average, without activations.
        peak_mb: most memory used while measuring.
        seconds_per_step: measured, the first step left out.
        samples_per_s: pictures per second.
        wait: share of the time spent waiting for data.
        steps: of the whole stage; None where minutes end it.
        seconds: of the whole stage.
        clips: that are trained on.
    """

    stage: str
    parts: list[Part]
    state_mb: float
    peak_mb: float
    seconds_per_step: float
    samples_per_s: float
    wait: float
    steps: int
    seconds: float
    clips: int


def count_parts(model: nn.Module) -> list[Part]:
    """Count trainable and frozen parameters by part."""
    counts: dict[str, list[int]] = {}
    for name, value in model.named_parameters():
        part = part_of(name) or name.partition(".")[0]
        counts.setdefault(part, [0, 0])[0 if value.requires_grad else 1] += value.numel()
    return [Part(name, trainable, frozen) for name, (trainable, frozen) in sorted(counts.items())]


def state_mb(parts: list[Part], optimizer: str) -> float:
    """Compute the memory of weights (4 bytes); of those that train also gradients, average (4 each) and two moments."""
    trainable, frozen = sum(part.trainable for part in parts), sum(part.frozen for part in parts)
    return (4 * (trainable + frozen) + trainable * (8 + ADAM_BYTES[optimizer])) / 2**20


def forecasts(
    stages: Sequence[StageRun], dataset_dir: Path, records: list[ClipRecord], observer: Observer
) -> Iterator[Forecast]:
    """Measure three steps of every stage, saving nothing but the first one's cache of the data set.

    Args:
        stages: in the order in which they would run.
        dataset_dir: the prepared data set.
        records: its clips.
        observer: hears of everything.

    Yields:
        One forecast a stage, as soon as it is measured.

    Raises:
        EmoteError: whatever would stop a stage.
    """
    model: Emo | None = None
    for stage in stages:
        chosen = select(records, stage.settings.data)
        forget_peak_memory()
        if model is None:
            model = first_model(stage, dataset_dir, chosen)
            yield forecast(stage, model, dataset_dir, chosen, observer)
            continue
        with clear_new_cache(model, stage.settings, dataset_dir):
            few = replace(chosen, train=chosen.train[:FEW], weights=chosen.weights[:FEW])
            yield replace(forecast(stage, model, dataset_dir, few, observer), clips=len(chosen.train))


def forecast(
    stage: StageRun, model: Emo, dataset_dir: Path, chosen: Selection, observer: Observer
) -> Forecast:
    """Measure three steps of a stage; they change the model.

    Args:
        stage: that would run.
        model: that it would start with.
        dataset_dir: the prepared data set.
        chosen: its clips.
        observer: hears of everything.

    Raises:
        EmoteError: whatever would stop the stage.
    """
    settings = stage.settings
    observer.on_stage(settings.stage, stage.run)
    examples = examples_for(model, settings, dataset_dir, chosen, observer, fresh=False)
    check_examples(examples)
    untracked = replace(stage, settings=settings.model_copy(update={"trackers": ()}))
    objective = objective_for(untracked, model)
    engine = build(objective, None)
    took, frames, waited = measure(engine, examples)
    limit_s = None if settings.max_minutes is None else 60 * settings.max_minutes
    seconds = settings.max_steps * took if limit_s is None else min(limit_s, settings.max_steps * took)
    parts = count_parts(model)
    frozen_copy = settings.stage == "distill"  # the original
    original_mb = 4 * sum(part.trainable + part.frozen for part in parts) / 2**20 if frozen_copy else 0.0
    return Forecast(
        stage=settings.stage,
        parts=parts,
        state_mb=state_mb(parts, settings.optimizer) + original_mb,
        peak_mb=peak_memory_mb(),
        seconds_per_step=took,
        samples_per_s=frames * engine.shares.processes / took,
        wait=waited / took,
        steps=min(settings.max_steps, round(seconds / took)),
        seconds=seconds,
        clips=len(chosen.train),
    )


@contextlib.contextmanager
def clear_new_cache(model: Emo, settings: TrainSettings, dataset_dir: Path) -> Iterator[None]:
    """Remove, when the block ends, new latents of an autoencoder that is not trained yet: they are of no later use.

    Args:
        model: whose autoencoder fills the cache.
        settings: of the stage.
        dataset_dir: the prepared data set.
    """
    if settings.stage == "vae" or model.settings.autoencoder.kind == "motion":
        yield
        return
    place = cache_folder(dataset_dir, cache_key(model.autoencoder, model.settings))
    was_there = place.exists()
    try:
        yield
    finally:
        if not was_there:
            shutil.rmtree(place, ignore_errors=True)


def forget_peak_memory() -> None:
    """Let the peak be that of the stage to come, where the system can (CUDA, Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def measure(engine: Engine, examples: Examples) -> tuple[float, float, float]:
    """Measure seconds, pictures and seconds of waiting per step, after one step to warm up."""
    batches = feed(examples, engine.state.settings, engine.shares, 0)
    engine.step(batches)
    began, outcomes = time.monotonic(), [engine.step(batches) for _ in range(MEASURED)]
    took = (time.monotonic() - began) / MEASURED
    frames = sum(outcome.frames for outcome in outcomes) / MEASURED
    return took, frames, sum(outcome.waited_s for outcome in outcomes) / MEASURED
