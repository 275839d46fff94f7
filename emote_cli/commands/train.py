"""`emote train`: the three stages of the paper, and what comes before and behind them."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emote_cli.training.request import Request


def train(
    stage: Annotated[
        str | None,
        typer.Option("--stage", metavar="1|2|3|vae|distill|all", help="What to train.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME|PATH", help="tiny, mini, sd15, or a trained model to go on from."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DATASET", help="A folder that `emote prepare` made.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="RUN", help="The run folder.")] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="RUN|CHECKPOINT", help="Start from the weights of this run: the stage before."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    max_steps: Annotated[int | None, typer.Option("--max-steps", min=1, help="Steps of each stage.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", help="Minutes of training, over all stages.")
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option("--split", metavar="FILE", help="JSON or YAML lists of clips: train, heldout, ..."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any setting, e.g. learning_rate=2e-5, model.fps=30."
        ),
    ] = None,
    unfreeze: Annotated[
        list[str] | None,
        typer.Option(
            "--unfreeze", metavar="PATTERN", help="Parameters that train as well, by regular expression."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show sizes, memory and time from three steps; train nothing.")
    ] = False,
) -> None:
    """Train a model on a prepared data set, stage by stage; Ctrl-C saves, --resume goes on to the bit.

    Stage 1 learns single pictures, 2 video with sound, 3 head speed; distill makes few steps of many.
    The run folder holds checkpoints, samples, a log with curves, and the settings.

    On several processes: accelerate launch -m emote_cli train ...
    """
    from emote_cli import console
    from emote_cli.commands.train_view import show_forecasts, view
    from emote_cli.training.request import claim, plan, request_of

    if out is None:
        raise typer.BadParameter("is needed", param_hint="--out")
    changes = _assignments(setting, split, unfreeze)
    asked = _request(stage, model, data, start, max_steps, max_minutes, changes, resume)
    request = request_of(out, asked) if resume else asked
    stages = plan(request, out)
    from emote_cli.data.selection import read_dataset
    from emote_cli.training.dry_run import forecasts
    from emote_cli.training.pipeline import run_all

    dataset = Path(request.data)
    records, main = read_dataset(dataset), int(os.environ.get("RANK", 0)) == 0
    with view(main) as shown:
        if dry_run:
            show_forecasts(forecasts(stages, dataset, records, shown))
            return
        with claim(request, out, resume) if main else nullcontext():
            folder = run_all(stages, dataset, records, shown)
    if main:
        console.result(folder)
        console.say(f"next: emote animate portrait.png speech.wav --model {folder}")


def _assignments(setting: list[str] | None, split: Path | None, unfreeze: list[str] | None) -> list[str]:
    """Options that are settings, as settings; what --set says comes last and counts."""
    given = [] if split is None else [f"data.split={json.dumps(str(split.resolve()))}"]
    given += [] if not unfreeze else [f"unfreeze={json.dumps(unfreeze)}"]
    return given + (setting or [])


def _request(
    stage: str | None,
    model: str | None,
    data: Path | None,
    start: str | None,
    max_steps: int | None,
    max_minutes: float | None,
    assignments: list[str],
    resume: bool,
) -> Request:
    """What is asked for; with --resume, what is not said is left empty."""
    from emote_cli.training.request import Request

    if not resume:
        for value, name in ((stage, "--stage"), (data, "--data")):
            if value is None:
                raise typer.BadParameter("is needed", param_hint=name)
    return Request(
        stage=stage or "",
        model=model or ("" if resume else "mini"),
        data="" if data is None else str(data),
        start=start,
        assignments=tuple(assignments),
        max_steps=max_steps,
        max_minutes=max_minutes,
    )
