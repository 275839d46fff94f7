"""What a training run tells whoever watches: one base class whose methods do nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step tells.

    Attributes:
        step: steps done.
        loss: mean over the batch, all processes.
        learning_rate: of the step.
        samples_per_s: pictures per second, all processes.
        progress: share of the run that is done, 0 ... 1.
        norm: of the gradient.
        wait: share of the time spent waiting for data.
        memory_mb: peak so far, of the GPU or else of the process.
        skipped: steps not taken so far.
        seconds_left: by the pace so far.
    """

    step: int
    loss: float
    learning_rate: float
    samples_per_s: float
    progress: float
    norm: float = 0.0
    wait: float = 0.0
    memory_mb: float = 0.0
    skipped: int = 0
    seconds_left: float = 0.0


class Observer:
    """Watches a run. Override what you want to hear of; the rest does nothing."""

    def on_stage(self, stage: str, run: Path) -> None:
        """A stage begins, in this run folder."""

    def on_clip(self, done: int, total: int) -> None:
        """So many of the clips are read."""

    def on_warm_up(self, done: int, total: int) -> None:
        """So many steps of the audio projector's warm-up are done (ears.py)."""

    def on_step(self, report: StepReport) -> None:
        """A step is done; called in the main process only."""

    def on_warning(self, text: str) -> None:
        """Something is worth a line: a damaged clip, a skipped step."""

    def on_note(self, text: str) -> None:
        """Something happened that is as it should be."""

    def on_saved(self, folder: Path) -> None:
        """A checkpoint is whole."""

    def on_figures(self, step: int, figures: dict[str, float]) -> None:
        """A validation gave these figures."""


class Observers(Observer):
    """Several observers as one; each hears of everything, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers

    def on_stage(self, stage: str, run: Path) -> None:
        """Tell all."""
        for each in self.observers:
            each.on_stage(stage, run)

    def on_clip(self, done: int, total: int) -> None:
        """Tell all."""
        for each in self.observers:
            each.on_clip(done, total)

    def on_warm_up(self, done: int, total: int) -> None:
        """Tell all."""
        for each in self.observers:
            each.on_warm_up(done, total)

    def on_step(self, report: StepReport) -> None:
        """Tell all."""
        for each in self.observers:
            each.on_step(report)

    def on_warning(self, text: str) -> None:
        """Tell all."""
        for each in self.observers:
            each.on_warning(text)

    def on_note(self, text: str) -> None:
        """Tell all."""
        for each in self.observers:
            each.on_note(text)

    def on_saved(self, folder: Path) -> None:
        """Tell all."""
        for each in self.observers:
            each.on_saved(folder)

    def on_figures(self, step: int, figures: dict[str, float]) -> None:
        """Tell all."""
        for each in self.observers:
            each.on_figures(step, figures)
