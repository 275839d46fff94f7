"""From a request to trained weights: model, examples, loop, stage after stage."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from emote_cli.data.manifest import ClipRecord
from emote_cli.data.selection import Selection, select
from emote_cli.model.checkpoint import load_model, save_model
from emote_cli.model.emo import Emo
from emote_cli.settings_tree import save_settings
from emote_cli.training.engine import check_device
from emote_cli.training.examples import examples_for
from emote_cli.training.latent_scale import measure_latent_scale
from emote_cli.training.log import RunLog
from emote_cli.training.loop import train
from emote_cli.training.objectives.autoencoder import Reconstruction
from emote_cli.training.objectives.base import Objective
from emote_cli.training.objectives.denoising import Denoising
from emote_cli.training.objectives.distill import Distillation, Original, check_grid
from emote_cli.training.objectives.painting import Painting
from emote_cli.training.observer import Observer, Observers
from emote_cli.training.request import StageRun, came_from_vae
from emote_cli.training.run_folder import (
    EMA,
    FINISHED,
    LOG,
    SETTINGS,
    is_finished,
    newest_checkpoint,
    stage_that_made,
)
from emote_cli.training.settings import RunSettings, TrainSettings
from emote_cli.training.start import apply_changes, begin
from emote_cli.training.validate import Examiner
from emote_cli.zoo.locate import locate, newest_ema


def run_all(
    stages: Sequence[StageRun], dataset_dir: Path, records: list[ClipRecord], observer: Observer
) -> Path:
    """Train every stage that is not finished.

    Args:
        stages: in the order of their training.
        dataset_dir: the prepared data set.
        records: its clips.
        observer: hears of everything.

    Returns:
        The folder that `--model` takes.

    Raises:
        EmoteError: whatever goes wrong.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, with the state saved.
    """
    for stage in stages:
        check_device(stage.settings)
    for stage in stages:
        if len(stages) == 1 or not is_finished(stage.run):
            run_stage(stage, dataset_dir, records, observer)
    last = stages[-1].run
    if len(stages) == 1:
        return last
    out = last.parent
    folder = newest_ema(last)
    assert folder is not None, "a finished stage has a checkpoint"
    if is_main():
        save_model(load_model(folder), out, torch.float16)
    return out


def run_stage(stage: StageRun, dataset_dir: Path, records: list[ClipRecord], observer: Observer) -> None:
    """Train one stage, from its newest checkpoint if it has one.

    Args:
        stage: to train.
        dataset_dir: the prepared data set.
        records: its clips.
        observer: hears of everything.

    Raises:
        EmoteError: whatever goes wrong.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, with the state saved.
    """
    settings, run = stage.settings, stage.run
    observer.on_stage(settings.stage, run)
    chosen, saved = select(records, settings.data), newest_checkpoint(run)
    model = first_model(stage, dataset_dir, chosen)
    if is_main():
        run.mkdir(parents=True, exist_ok=True)
        if saved is None:
            (run / LOG).unlink(missing_ok=True)
        whole = RunSettings(data=str(dataset_dir), start=stage.start, train=settings, model=model.settings)
        save_settings(whole, run / SETTINGS)
    log = RunLog(run, settings.log_every)
    told = Observers(log, observer)
    examples = examples_for(model, settings, dataset_dir, chosen, told, fresh=saved is None)
    examine = examiner_for(stage, dataset_dir, chosen, told)
    train(objective_for(stage, model), examples, run, told, examine)
    if is_main():
        log.draw()
        (run / FINISHED).touch()


def examiner_for(
    stage: StageRun, dataset_dir: Path, chosen: Selection, observer: Observer
) -> Examiner | None:
    """Make what renders the stage's validation videos, if it has any.

    Args:
        stage: that is trained.
        dataset_dir: the prepared data set.
        chosen: held-out clips are shown; training clips where there are none.
        observer: is warned of that.
    """
    settings = stage.settings
    if not settings.validation.every or settings.stage == "vae":
        return None
    if not chosen.held_out:
        observer.on_warning("no clip is held out: validation shows clips of the training set")
    return Examiner(
        dataset_dir, chosen.held_out or chosen.train, stage.run, settings.validation, observer.on_warning
    )


def objective_for(stage: StageRun, model: Emo) -> Objective:
    """Choose what the stage learns.

    Args:
        stage: that is trained.
        model: it starts with; its parameters are frozen but for those that the stage trains.

    Raises:
        SettingsError: the original that is distilled does not take such steps.
    """
    match stage.settings.stage:
        case "vae" if model.settings.autoencoder.kind == "motion":
            return Painting(model, stage.settings)
        case "vae":
            return Reconstruction(model, stage.settings)
        case "distill":
            return Distillation(model, stage.settings, original_for(stage))
        case _:
            return Denoising(model, stage.settings)


def first_model(stage: StageRun, dataset_dir: Path, chosen: Selection) -> Emo:
    """Load or build the model that a stage goes on or starts with.

    After `--stage vae` its latents are scaled to the data.

    Args:
        stage: that is trained.
        dataset_dir: the prepared data set.
        chosen: its clips.

    Raises:
        TrainingError: the start does not fit the stage.
        WeightsError: the start is unknown, missing or damaged.
    """
    saved = newest_checkpoint(stage.run)
    if saved is not None:
        return set_few_steps(load_model(saved / EMA), stage.settings)
    model = begin(stage.settings.stage, stage.model, stage.start, stage.changes, stage.settings.seed)
    pictures = model.settings.autoencoder.kind == "pictures"
    if pictures and stage.settings.stage == "image" and came_from_vae(stage.start):
        scale = measure_latent_scale(dataset_dir, chosen.train, model)
        model = apply_changes(model, [f"autoencoder.scaling_factor={scale:.4g}"])
    return set_few_steps(model, stage.settings)


def set_few_steps(model: Emo, settings: TrainSettings) -> Emo:
    """A student takes its few steps without guidance; models of other stages stay as they are."""
    if settings.stage != "distill":
        return model
    few = [f"diffusion.steps={settings.distill.steps}", "diffusion.guidance=1.0", "diffusion.solver=ddim"]
    return apply_changes(model, few)


def original_for(stage: StageRun) -> Original:
    """What stage `distill` distills: the start of the run, also when it goes on.

    Raises:
        SettingsError: the original does not take such steps.
    """
    model = begin("distill", stage.model, stage.start, stage.changes, stage.settings.seed)
    was_student = stage.start is not None and stage_that_made(locate(stage.start)) == "distill"
    check_grid(stage.settings.distill, model.settings.diffusion, was_student)
    return Original(model, stage.settings.distill.guidance)


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return int(os.environ.get("RANK", 0)) == 0
