"""`emote bench`: how fast a model makes frames on this machine."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emote_cli.animation.options import DeviceName, DTypeName

if TYPE_CHECKING:
    from emote_cli.animation.bench import Report


class QualityName(StrEnum):
    """How much time goes into each frame."""

    paper = "paper"
    balanced = "balanced"
    fast = "fast"


def bench(
    model: Annotated[
        str, typer.Option("--model", metavar="NAME|PATH", help="A known model, or the folder of one.")
    ] = "mini",
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Use random weights: the same speed, and no download.")
    ] = False,
    quality: Annotated[
        list[QualityName] | None,
        typer.Option("--quality", help="What to time; may be given again (default: all three)."),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, max=100, help="Videos for each quality.")] = 3,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="JSON (default: bench-NAME.json).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the JSON file.")] = False,
    device: Annotated[DeviceName, typer.Option("--device", help="Where to run.")] = "auto",
    dtype: Annotated[DTypeName, typer.Option("--dtype", help="Number format of the network.")] = "auto",
    compile: Annotated[bool, typer.Option("--compile", help="Compile the network's blocks first.")] = False,
    low_memory: Annotated[
        bool, typer.Option("--low-memory", help="Keep one large part of the model at a time on the GPU.")
    ] = False,
    cuda_graphs: Annotated[
        bool, typer.Option("--cuda-graphs", help="Record a denoising step on the GPU and replay it.")
    ] = False,
) -> None:
    """Time a model on this machine: print a table, write it with the versions of everything as JSON."""
    import json

    from emote_cli import console
    from emote_cli.animation.options import Quality, Tuning
    from emote_cli.errors import OutputError
    from emote_cli.files import write_text

    file = output or Path(f"bench-{Path(model).name}.json")
    if file.exists() and not force:
        raise OutputError(f"{file} already exists", hint="--force overwrites it; -o chooses another name")
    tuning = Tuning(compile=compile, low_memory=low_memory, cuda_graphs=cuda_graphs, tell=console.say)
    from emote_cli.animation import bench as library

    chosen: list[Quality] = [each.value for each in quality or QualityName]
    with console.progress("timing", len(chosen) * repeat, "videos") as advance:
        report = library.bench(
            model, chosen, repeat=repeat, random_weights=random_weights, device=device, dtype=dtype,
            tuning=tuning, on_video=lambda: advance(1),
        )  # fmt: skip
    _show(report)
    write_text(file, json.dumps(report.as_dict(), indent=1) + "\n")
    console.result(file)


def _show(report: Report) -> None:
    from rich import box
    from rich.table import Table

    from emote_cli import console
    from emote_cli.animation.bench import HEAD, table

    console.say(
        f"{report.model} in {report.dtype} on {report.device['name']}, {report.device_tflops:.3g} TFLOP/s"
    )
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in HEAD:
        shown.add_column(title, justify="left" if title == "quality" else "right")
    for row in table(report):
        shown.add_row(*row)
    if not console.out.is_terminal:
        console.out.width = 160
    console.out.print(shown, soft_wrap=False)
