"""The only places that speak: progress and messages go to stderr, results (paths, tables) to stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from emote_cli.errors import EmoteError

T = TypeVar("T")

out = Console(highlight=False, markup=False, soft_wrap=True)
err = Console(highlight=False, markup=False, soft_wrap=True, stderr=True)


def result(text: object) -> None:
    """Print one result line (a path, a number) that scripts can read."""
    out.print(str(text))


def say(text: object) -> None:
    """Print one line for people."""
    err.print(str(text))


def warn(text: object) -> None:
    """Print one line that people should not miss."""
    err.print(Text.assemble(("warning: ", "bold yellow"), str(text)))


def show_error(error: EmoteError) -> None:
    """Print what happened and what to do about it, one line each."""
    err.print(Text.assemble(("error: ", "bold red"), _one_line(error.message)))
    if error.hint:
        err.print(Text.assemble(("hint: ", "bold cyan"), _one_line(error.hint)))


def _one_line(text: str) -> str:
    return " ".join(text.split())


class _Rate(ProgressColumn):
    """Items per second, with the unit's name."""

    def render(self, task: Task) -> Text:
        if task.speed is None:
            return Text("")
        return Text(f"{task.speed:.1f} {task.fields['unit']}/s", style="progress.data.speed")


@contextmanager
def progress(label: str, total: float | None, unit: str = "items") -> Iterator[Callable[..., None]]:
    """Show a bar with items done, items per second and the time left while the block runs; on terminals only.

    Args:
        label: what is being done, in a word or two.
        total: how many items there are; None if nobody knows.
        unit: plural name of the items.

    Yields:
        A function to call with the number of items just done, and a note to show if there is one.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        TextColumn("{task.fields[note]}"),
    )
    # Results go where stdout goes, and not to the bar's console unless that is the same terminal.
    to_bar, hidden = out.is_terminal, not err.is_terminal
    with Progress(*columns, console=err, transient=True, disable=hidden, redirect_stdout=to_bar) as bar:
        task = bar.add_task(label, total=total, unit=unit, note="")
        yield lambda done, note="": bar.update(task, advance=done, note=note)


def track(items: Iterable[T], label: str, total: float | None, unit: str = "items") -> Iterator[T]:
    """Pass `items` on, one by one, under a progress bar.

    Args:
        items: anything to go through.
        label: what is being done, in a word or two.
        total: how many items there are; None if nobody knows.
        unit: plural name of the items.
    """
    with progress(label, total, unit) as advance:
        for item in items:
            yield item
            advance(1)
