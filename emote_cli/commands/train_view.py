"""What `emote train` shows: a live line on terminals, a line now and then elsewhere, and tables."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table
from rich.text import Text

from emote_cli import console
from emote_cli.training.observer import Observer, StepReport

if TYPE_CHECKING:
    from emote_cli.training.dry_run import Forecast

PLAIN_EVERY_S = 30
"""Seconds between two lines where nothing can be redrawn."""


def duration(seconds: float) -> str:
    """Tell seconds as hours and minutes, or as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


class View(Observer):
    """Shows a run.

    Args:
        live: redraws on terminals; None elsewhere.
    """

    def __init__(self, live: Live | None) -> None:
        self.live = live
        self.stage = ""
        self._loss: float | None = None
        self._spoken = 0.0

    def on_stage(self, stage: str, run: Path) -> None:
        """Name the stage."""
        self.stage, self._loss = stage, None
        console.say(f"stage {stage} -> {run}")

    def on_clip(self, done: int, total: int) -> None:
        """Show how far reading and encoding are."""
        self._count("clips read", done, total)

    def on_warm_up(self, done: int, total: int) -> None:
        """Show how far the audio projector's head start is."""
        self._count("steps of audio warm-up", done, total)

    def on_step(self, report: StepReport) -> None:
        """Show how training goes."""
        self._loss = report.loss if self._loss is None else self._loss + 0.05 * (report.loss - self._loss)
        if self.live is not None:
            self.live.update(self._table(report))
        elif self._may_speak():
            console.say(
                f"{self.stage} step {report.step}: loss {self._loss:.4f}, "
                f"{report.samples_per_s:.1f} pictures/s, "
                f"{duration(report.seconds_left)} left"
            )

    def on_warning(self, text: str) -> None:
        """Show a warning, on a line of its own."""
        console.warn(text)

    def on_note(self, text: str) -> None:
        """Show an event, on a line of its own."""
        console.say(text)

    def on_saved(self, folder: Path) -> None:
        """Name the checkpoint."""
        console.say(f"saved {folder}")

    def on_figures(self, step: int, figures: dict[str, float]) -> None:
        """Show the figures of a validation."""
        console.say(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()))

    def _count(self, what: str, done: int, total: int) -> None:
        if self.live is not None:
            self.live.update(Text(f"{self.stage}: {done}/{total} {what}"))
        elif done == total or self._may_speak():
            console.say(f"{self.stage}: {done}/{total} {what}")

    def _may_speak(self) -> bool:
        """Whether the last line is long enough ago; if so, this is the next."""
        now = time.monotonic()
        if now - self._spoken <= PLAIN_EVERY_S:
            return False
        self._spoken = now
        return True

    def _table(self, report: StepReport) -> Table:
        table = Table.grid(padding=(0, 2))
        cells = {
            self.stage: f"{report.progress:.1%}",
            "step": str(report.step),
            "loss": f"{self._loss:.4f}",
            "lr": f"{report.learning_rate:.1e}",
            "pictures/s": f"{report.samples_per_s:.1f}",
            "data wait": f"{report.wait:.0%}",
            "memory": f"{report.memory_mb:.0f} MB",
            "skipped": str(report.skipped),
            "left": duration(report.seconds_left),
        }
        table.add_row(*(Text(name, style="dim") for name in cells))
        table.add_row(*cells.values())
        return table


@contextmanager
def view(main: bool) -> Iterator[Observer]:
    """Show a run while the block lasts; processes other than the main one stay silent."""
    if not main:
        yield Observer()
        return
    if not console.err.is_terminal:
        yield View(None)
        return
    with Live(console=console.err, refresh_per_second=4, transient=True) as live:
        yield View(live)


def show_forecasts(found: Iterable[Forecast]) -> None:
    """Print what `--dry-run` found, stage by stage, and the whole where there are several."""
    seconds = []
    for each in found:
        show_forecast(each)
        seconds.append(each.seconds)
    if len(seconds) > 1:
        console.result(f"all {len(seconds)} stages: {duration(sum(seconds))}")


def show_forecast(found: Forecast) -> None:
    """Print what `--dry-run` found."""
    table = Table(title=f"stage {found.stage}, {found.clips} clips", title_justify="left")
    for title in ("part", "trainable", "frozen"):
        table.add_column(title, justify="left" if title == "part" else "right")
    for part in found.parts:
        table.add_row(part.name, f"{part.trainable:,}", f"{part.frozen:,}")
    console.out.print(table, soft_wrap=False)
    console.result(
        f"weights, gradients, optimizer and average: {found.state_mb:.0f} MB; "
        f"peak while measuring: {found.peak_mb:.0f} MB"
    )
    console.result(
        f"{found.seconds_per_step:.3f} s per step, {found.samples_per_s:.1f} pictures/s, "
        f"{found.wait:.0%} waiting for data"
    )
    console.result(f"{found.steps} steps in {duration(found.seconds)}")
