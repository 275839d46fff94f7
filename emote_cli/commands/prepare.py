"""`emote prepare`: raw videos and still portraits become a data set that one can trust."""

from __future__ import annotations

import os
import time
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from emote_cli.data.prepare.run import PreparePlan


class LayoutName(StrEnum):
    """How the input folder is annotated."""

    auto = "auto"
    folder = "folder"
    celebv_hq = "celebv-hq"
    hdtf = "hdtf"


def prepare(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Videos and still portraits, in any format and depth.", show_default=False
        ),
    ],
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Where the data set goes.", show_default=False)
    ],
    fps: Annotated[float | None, typer.Option("--fps", help="Frames per second (default: 25).")] = None,
    size: Annotated[int | None, typer.Option("--size", help="Side in pixels (default: 512).")] = None,
    min_seconds: Annotated[
        float | None, typer.Option("--min-seconds", help="Shortest clip (default: 2.5).")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", help="Longest clip (default: 12).")
    ] = None,
    layout: Annotated[
        LayoutName, typer.Option("--layout", help="Whose annotations the folder has; auto finds out.")
    ] = LayoutName.auto,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Mark clips that a filter catches instead of dropping them.")
    ] = False,
    no_audio: Annotated[
        bool, typer.Option("--no-audio", help="Leave the sound out: such a data set serves stage 1 only.")
    ] = False,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting, for example max_yaw_deg=60."),
    ] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", metavar="FILE", help="Settings in YAML.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes (default: one per processor).")
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            "--cache",
            metavar="MODEL",
            help="Also compute and store what training this model needs of each clip.",
        ),
    ] = None,
    part_size: Annotated[
        float | None,
        typer.Option(
            "--part-size",
            metavar="MB",
            min=1,
            help="Also pack the data set into parts of at most so many megabytes; one part is enough to train on.",
        ),
    ] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="ADDRESS|local", help="Run on a Ray cluster instead.")
    ] = None,
) -> None:
    """Cut, crop, filter and label the videos and portraits in FOLDER, and report what was rejected and why.

    Run it again to go on after an interruption; a finished data set is left as it is.
    Look at DATASET/report.html before you train.
    """
    from emote_cli import console
    from emote_cli.data.prepare import run as runs
    from emote_cli.data.prepare.settings import gather_settings
    from emote_cli.zoo.locate import locate, locate_bundled

    if cache is not None:
        locate(cache)  # an unknown model is an error now, not after hours
    given = {"fps": fps, "size": size, "min_s": min_seconds, "max_s": max_seconds}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    options |= {"keep_all": True} if keep_all else {}
    options |= {"audio": False} if no_audio else {}
    todo = runs.plan(
        folder,
        dataset,
        gather_settings(settings_file, setting or [], options),
        locate_bundled("face_landmarker.task"),
        layout=layout.value,
        workers=workers or os.cpu_count() or 1,
        ray=ray,
    )
    accepted = _run(todo)
    if cache is not None and accepted:
        _store_cache(dataset, cache)
    if part_size is not None and accepted:
        _pack(dataset, part_size)
    console.result(dataset / "report.html")


def _run(todo: PreparePlan) -> int:
    """Make the data set under a progress bar, and say how it went; returns how many clips were accepted."""
    from emote_cli import console
    from emote_cli.data.prepare import run as runs

    begin, last = time.monotonic(), None
    with (
        console.progress("preparing", len(todo.sources), "files") as advance,
        closing(runs.run(todo)) as states,
    ):
        for state in states:
            note = f"{state.accepted} clips, {_duration(state.accepted_s)}"
            advance(state.done - (last.done if last else 0), note)
            last = state
    assert last is not None
    took_s = time.monotonic() - begin
    fresh = f"{last.done - last.resumed} of {last.total} files in {took_s:.0f} s"
    console.say(f"{fresh}; {last.resumed} were done before" if last.resumed else fresh)
    console.say(f"accepted {last.accepted} clips, {_duration(last.accepted_s)}; rejected {last.rejected}")
    return last.accepted


def _pack(dataset: Path, most_mb: float) -> None:
    from emote_cli import console
    from emote_cli.data.parts import MEGABYTE, pack, sizes_mb
    from emote_cli.data.selection import read_dataset

    parts = pack(dataset, read_dataset(dataset), int(most_mb * MEGABYTE))
    sizes = sizes_mb(parts)
    console.say(
        f"{len(parts)} parts in {parts[0].parent}: {sum(sizes):.1f} MB, the largest {max(sizes):.1f} MB"
    )


def _store_cache(dataset: Path, model: str) -> None:
    from emote_cli import console
    from emote_cli.data.precompute import store_cache

    states = store_cache(dataset, model)
    _, total = next(states)
    with console.progress("caching", total, "clips") as advance:
        for _ in states:
            advance(1)
    console.say(f"cached {total} clips for {model}")


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"
