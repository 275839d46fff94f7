"""From a request to trained weights: data, model, loop, stage after stage."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from emote_cli.data.cache import cached_clips
from emote_cli.data.dataset import ClipDataset
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.selection import Selection, check_fits, read_dataset, select
from emote_cli.errors import DataError
from emote_cli.model.checkpoint import load_model, save_model
from emote_cli.model.emo import Emo
from emote_cli.perception.speech import hear
from emote_cli.settings import save_settings
from emote_cli.training.autoencoder import change_scale
from emote_cli.training.feed import Examples
from emote_cli.training.frames import Crops, FramePool
from emote_cli.training.loop import StepReport, Watch, train
from emote_cli.training.request import FINISHED, StageRun, came_from_vae, is_finished
from emote_cli.training.runlog import RunLog
from emote_cli.training.settings import RunSettings, TrainSettings
from emote_cli.training.start import begin, changed
from emote_cli.training.state import checkpoint_folders
from emote_cli.training.validate import Examiner
from emote_cli.types import AudioFeatures, Waveform
from emote_cli.weights import SETTINGS_NAME, newest_ema

COMPONENT_CROPS = 192
"""Crops whose principal components start the autoencoder's linear path."""


@dataclass(frozen=True, slots=True)
class Observer:
    """Who hears of a request's progress.

    Attributes:
        on_stage: a stage begins: its run.
        on_clip: clips read so far, and how many there are.
        on_step: a step is done.
        on_note: anything worth a line.
        on_figures: figures of a validation, with the step.
    """

    on_stage: Callable[[StageRun], None] = lambda stage: None
    on_clip: Callable[[int, int], None] = lambda done, total: None
    on_step: Callable[[StepReport], None] = lambda report: None
    on_note: Callable[[str], None] = lambda text: None
    on_figures: Callable[[int, dict[str, float]], None] = lambda step, figures: None


def run_all(stages: Sequence[StageRun], data: Path, observer: Observer) -> Path:
    """Train every stage that is not finished; returns the folder that `--model` takes.

    Raises:
        EmoteError: whatever goes wrong.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, with the state saved.
    """
    records = read_dataset(data)
    for stage in stages:
        if not is_finished(stage.run):
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
    examples = examples_for(model, settings, data, chosen, observer, fresh=not checkpoint_folders(run))
    if is_main():
        run.mkdir(parents=True, exist_ok=True)
        whole = RunSettings(data=str(data), start=stage.start, train=settings, model=model.settings)
        save_settings(whole, run / SETTINGS_NAME)
    log = RunLog(run, settings.log_every)
    examiner = None
    if settings.validation.every and settings.stage != "vae":
        examiner = Examiner(data, chosen.held_out or chosen.train, run, settings.validation, observer.on_note)
        if not chosen.held_out:
            observer.on_note("no clip is held out: validation shows clips of the training set")
    train(model, examples, settings, run, watch=joined(observer, log, examiner))
    if is_main():
        log.draw()
        (run / FINISHED).touch()


def first_model(stage: StageRun, data: Path, chosen: Selection) -> Emo:
    """What a stage starts or goes on with; its latents are scaled to the data after `--stage vae`."""
    saved = checkpoint_folders(stage.run)
    if saved:
        return load_model(saved[-1] / "ema")
    model = begin(stage.settings.stage, stage.model, stage.start, stage.changes, stage.settings.seed)
    if stage.settings.stage == "image" and came_from_vae(stage.start):
        scale = change_scale(data, chosen.train, model.autoencoder, model.settings.image_size)
        model = changed(model, [f"autoencoder.scaling_factor={scale:.4g}"])
    return model


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


def examples_for(
    model: Emo, settings: TrainSettings, data: Path, chosen: Selection, observer: Observer, fresh: bool = True
) -> Examples:
    """The stage's stream of examples; a new autoencoder also gets its start from them.

    Raises:
        DataError: the data set does not fit the model, or all its clips are damaged.
    """
    if settings.stage == "vae":
        return crops_for(model, settings, data, chosen, observer, fresh)
    weights = {record.id: weight for record, weight in zip(chosen.train, chosen.weights, strict=True)}
    records = check_fits(chosen.train, model.settings.fps, needs_sound=settings.stage != "image")
    mode = settings.data.cache
    device = torch.device("cuda" if torch.cuda.is_available() and settings.device == "auto" else "cpu")
    autoencoder = model.autoencoder.to(device).eval()

    def listen(speech: Waveform) -> AudioFeatures:
        return hear(speech, model.settings.audio, model.settings.fps)

    def bad(record: ClipRecord, text: str) -> None:
        observer.on_note(f"left out: clip {record.id}: {text}")

    process, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1:  # each encodes its share, then all read
        from accelerate import PartialState

        together = PartialState(cpu=settings.device == "cpu")
        for _ in cached_clips(
            data, records[process::processes], autoencoder, model.settings, listen, mode=mode, on_bad=bad
        ):
            pass
        together.wait_for_everyone()
    clips = []
    for done, clip in enumerate(
        cached_clips(
            data, records, autoencoder, model.settings, listen,
            mode=mode, weights=[weights[record.id] for record in records], on_bad=bad,
        ),
        start=1,
    ):  # fmt: skip
        clips.append(clip)
        observer.on_clip(done, len(records))
    if not clips:
        raise DataError(f"all {len(records)} clips are damaged", "prepare the data set again")
    temporal = settings.stage != "image"
    return ClipDataset(clips, model.settings, settings.sampling, seed=settings.seed, temporal=temporal)


def crops_for(
    model: Emo, settings: TrainSettings, data: Path, chosen: Selection, observer: Observer, fresh: bool
) -> Crops:
    """Random crops of the clips' frames; clips that are drawn more often give more frames."""
    stride, size = settings.autoencoder.stride, model.settings.image_size
    strides = [
        max(round(stride * record.frames / weight), 1)
        for record, weight in zip(chosen.train, chosen.weights, strict=True)
    ]
    pool = FramePool(
        data,
        chosen.train,
        strides,
        on_clip=lambda done: observer.on_clip(done, len(strides)),
        on_bad=lambda record, text: observer.on_note(f"left out: clip {record.id}: {text}"),
        size=size,
    )
    if fresh and settings.autoencoder.components and model.autoencoder.shortcut_in is not None:
        whole = Crops(pool, size, settings.seed + 1)
        pixels = torch.stack([whole.example(key).pixels for key in range(COMPONENT_CROPS)])
        model.autoencoder.start_from_components(pixels)
    return Crops(pool, min(settings.autoencoder.crop, size), settings.seed)


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return int(os.environ.get("RANK", 0)) == 0


def quick(stage: StageRun) -> StageRun:
    """The same stage without trackers and validation, for measuring."""
    changes = {"trackers": (), "validation": stage.settings.validation.model_copy(update={"every": 0})}
    return replace(stage, settings=stage.settings.model_copy(update=changes))
