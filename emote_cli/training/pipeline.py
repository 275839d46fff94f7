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
from emote_cli.settings import save_settings
from emote_cli.training.examples import Observer, examples_for, teacher_for
from emote_cli.training.log import LOG, RunLog
from emote_cli.training.loop import StepReport, Watch, train
from emote_cli.training.objectives.autoencoder import latent_scale
from emote_cli.training.objectives.distill import Original, check_grid
from emote_cli.training.request import FINISHED, StageRun, came_from_vae, is_finished
from emote_cli.training.settings import RunSettings, TrainSettings
from emote_cli.training.start import begin, changed, stage_of
from emote_cli.training.state import checkpoint_folders
from emote_cli.training.validate import Examiner
from emote_cli.weights import SETTINGS_NAME, locate, newest_ema


def run_all(stages: Sequence[StageRun], data: Path, records: list[ClipRecord], observer: Observer) -> Path:
    """Train every stage that is not finished; returns the folder that `--model` takes.

    Raises:
        EmoteError: whatever goes wrong.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, with the state saved.
    """
    for stage in stages:
        if len(stages) == 1 or not is_finished(stage.run):
            run_stage(stage, data, records, observer)
    last = stages[-1].run
    if len(stages) == 1:
        return last
    out = last.parent
    folder = newest_ema(last)
    assert folder is not None, "a finished stage has a checkpoint"
    if is_main():
        save_model(load_model(folder), out, torch.float16)
    return out


def run_stage(stage: StageRun, data: Path, records: list[ClipRecord], observer: Observer) -> None:
    """Train one stage, from its newest checkpoint if it has one."""
    observer.on_stage(stage)
    settings, run = stage.settings, stage.run
    chosen = select(records, settings.data)
    model = first_model(stage, data, chosen)
    original = original_for(stage)
    examples = examples_for(model, settings, data, chosen, observer, fresh=not checkpoint_folders(run))
    if is_main():
        run.mkdir(parents=True, exist_ok=True)
        if not checkpoint_folders(run):
            (run / LOG).unlink(missing_ok=True)
        whole = RunSettings(data=str(data), start=stage.start, train=settings, model=model.settings)
        save_settings(whole, run / SETTINGS_NAME)
    log = RunLog(run, settings.log_every)
    examiner = None
    if settings.validation.every and settings.stage != "vae":
        examiner = Examiner(data, chosen.held_out or chosen.train, run, settings.validation, observer.on_note)
        if not chosen.held_out:
            observer.on_note("no clip is held out: validation shows clips of the training set")
    teacher = teacher_for(model, settings, examples)
    watch = joined(observer, log, examiner)
    train(model, examples, settings, run, watch=watch, teacher=teacher, original=original)
    if is_main():
        log.draw()
        (run / FINISHED).touch()


def first_model(stage: StageRun, data: Path, chosen: Selection) -> Emo:
    """What a stage starts or goes on with; its latents are scaled to the data after `--stage vae`."""
    saved = checkpoint_folders(stage.run)
    if saved:
        return few_steps(load_model(saved[-1] / "ema"), stage.settings)
    model = begin(stage.settings.stage, stage.model, stage.start, stage.changes, stage.settings.seed)
    if stage.settings.stage == "image" and came_from_vae(stage.start):
        scale = latent_scale(data, chosen.train, model)
        model = changed(model, [f"autoencoder.scaling_factor={scale:.4g}"])
    return few_steps(model, stage.settings)


def few_steps(model: Emo, settings: TrainSettings) -> Emo:
    """A student takes its few steps without guidance; models of other stages stay as they are."""
    if settings.stage != "distill":
        return model
    few = [f"diffusion.steps={settings.distill.steps}", "diffusion.guidance=1.0", "diffusion.solver=ddim"]
    return changed(model, few)


def original_for(stage: StageRun) -> Original | None:
    """What stage `distill` distills: the start of the run, also when it goes on.

    Raises:
        SettingsError: the original does not take such steps.
    """
    if stage.settings.stage != "distill":
        return None
    model = begin("distill", stage.model, stage.start, stage.changes, stage.settings.seed)
    was_student = stage.start is not None and stage_of(locate(stage.start)) == "distill"
    check_grid(stage.settings.distill, model.settings.diffusion, was_student)
    return Original(model, stage.settings.distill.guidance)


def joined(observer: Observer, log: RunLog, examiner: Examiner | None) -> Watch:
    """The loop's callbacks: to the observer, and into the log."""
    draw_after = ("saved",)

    def on_step(report: StepReport) -> None:
        log.step(report)
        observer.on_step(report)

    def on_note(text: str) -> None:
        log.note(text)
        observer.on_note(text)
        if text.startswith(draw_after):
            log.draw()

    def on_figures(step: int, figures: dict[str, float]) -> None:
        log.figures(step, figures)
        observer.on_figures(step, figures)

    return Watch(on_step=on_step, on_note=on_note, on_figures=on_figures, examine=examiner)


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return int(os.environ.get("RANK", 0)) == 0
