"""`emote animate`: a portrait and speech become a talking-head video."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emote_cli.animation.job import Job
from emote_cli.animation.options import AnimateOptions, Tuning
from emote_cli.commands.options import given_on_the_line, takes

if TYPE_CHECKING:
    from emote_cli.animation.batch import MakeOne

PortraitFile = Annotated[
    Path | None,
    typer.Argument(metavar="PORTRAIT", help="A picture with a face, in any format.", show_default=False),
]
AudioFile = Annotated[
    Path | None, typer.Argument(metavar="AUDIO", help="Speech: any sound or video file.", show_default=False)
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The video, or a folder of PNG files (default: the portrait's name + .mp4, here).",
        rich_help_panel="Output",
    ),
]
Like = Annotated[
    Path | None,
    typer.Option(
        "--like",
        metavar="VIDEO",
        help="Take the settings of a video that emote made; options given here override them.",
        rich_help_panel="Output",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be done, and how long it would take.",
        rich_help_panel="Output",
    ),
]
Batch = Annotated[
    Path | None,
    typer.Option(
        "--batch",
        metavar="TABLE|FOLDER",
        help="A .csv or .jsonl table (portrait, audio, ...), or a folder of equally named "
        "pictures and sounds; -o then names the folder to write to.",
        rich_help_panel="Many jobs",
    ),
]
Anywhere = Annotated[
    bool,
    typer.Option(
        "--outputs-anywhere",
        help="Allow a table's outputs to lie outside the folder of -o.",
        rich_help_panel="Many jobs",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS|local",
        help="Spread the jobs of --batch, or the parts of --split, over a Ray cluster.",
        rich_help_panel="Many jobs",
    ),
]
Split = Annotated[
    bool,
    typer.Option(
        "--split",
        help="Cut a long sound at pauses and make the parts separately. Each starts from the portrait, "
        "so the head may jump at a cut.",
        rich_help_panel="Many jobs",
    ),
]


@takes(Job, AnimateOptions, Tuning)
def animate(
    context: Any,
    portrait: PortraitFile = None,
    audio: AudioFile = None,
    output: Output = None,
    like: Like = None,
    dry_run: DryRun = False,
    batch: Batch = None,
    outputs_anywhere: Anywhere = False,
    split: Split = False,
    ray: Ray = None,
    **values: Any,
) -> None:
    """Make the face in PORTRAIT speak what is heard in AUDIO.

    The face is cut out as a square and animated by the bundled model, on a CPU if need be. The output's
    ending says what it becomes: .mp4, .mov, .webm or .gif; without an ending it is a folder of PNG files.
    """
    named = given_on_the_line(context)
    if batch is not None:
        if portrait or audio or dry_run or split:
            raise typer.BadParameter("--batch takes no PORTRAIT, no AUDIO, no --dry-run and no --split")
        from emote_cli.animation.batch import MakeOne

        make = MakeOne({**values, "output": output}, like, named, outputs_anywhere)
        _animate_many(batch, make, ray)
        return
    if outputs_anywhere or (ray is not None and not split):
        raise typer.BadParameter("--ray and --outputs-anywhere are for --batch; --ray is for --split, too")
    if portrait is None or audio is None:
        raise typer.BadParameter("Missing argument 'AUDIO'." if portrait else "Missing argument 'PORTRAIT'.")
    from emote_cli import console
    from emote_cli.animation.cpu import sleep_when_idle
    from emote_cli.animation.dry_run import describe
    from emote_cli.animation.provenance import job_like
    from emote_cli.animation.render import check, import_ahead, number_faces, partial_name, render

    asked = {**values, "portrait": portrait, "audio": audio, "output": output}
    sleep_when_idle()
    # A forecast may know how fast this machine is, and then needs no network.
    plan = check(job_like(like, asked, named), *([] if dry_run else [import_ahead]))
    for warning in plan.warnings:
        console.warn(warning)
    if dry_run:
        for name, value in describe(plan).items():
            console.result(f"{name}: {value}")
        return
    if (numbered := number_faces(plan)) is not None:
        console.say(f"{numbered} numbers the faces for --face")
    begin = time.monotonic()
    with console.progress("animating", plan.scene.n_frames, "frames") as advance:
        try:
            if split:
                from emote_cli.animation.parts import render_parts

                path: Path = render_parts(plan, ray, advance)
            else:
                path = render(plan, on_frame=advance, tell=console.say)
        except KeyboardInterrupt:
            if plan.job.keep_partial and partial_name(plan.job.output).exists():
                console.say(
                    f"kept what is made so far: {partial_name(plan.job.output)}; --resume continues it"
                )
            raise
    took_s = time.monotonic() - begin
    console.say(f"{plan.scene.n_frames} frames, {plan.scene.duration_s:.1f} s of video, in {took_s:.1f} s")
    console.result(path)


def _animate_many(batch: Path, make: MakeOne, ray: str | None) -> None:
    from emote_cli import console
    from emote_cli.animation.batch import make_all
    from emote_cli.animation.table import read_rows
    from emote_cli.errors import InputError
    from emote_cli.files import make_folder

    rows = read_rows(batch)
    make_folder(make.base["output"] or Path())
    counts = {"made": 0, "there": 0, "failed": 0}
    with console.progress("animating", len(rows), "videos") as advance:
        for outcome in make_all(rows, make, ray, lambda written: advance(0, f"{written} frames")):
            counts[outcome.state] += 1
            advance(1)
            for warning in outcome.warnings:
                console.warn(f"{outcome.output.name}: {warning}")
            if outcome.error is None:
                console.result(outcome.output)
            else:
                console.warn(f"{outcome.place}: {outcome.error.message}")
    console.say(f"{counts['made']} made, {counts['there']} already there, {counts['failed']} failed")
    if counts["failed"]:
        raise InputError(
            f"{counts['failed']} of {len(rows)} jobs failed",
            hint="correct what the warnings name, then run the command again",
        )
