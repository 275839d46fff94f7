"""`emote animate`: a portrait and speech become a talking-head video."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from emote_cli.commands import options

if TYPE_CHECKING:
    from emote_cli.animation.batch import Outcome


def animate(
    portrait: options.PortraitFile = None,
    audio: options.AudioFile = None,
    output: options.Output = None,
    force: options.Force = False,
    model: options.ModelName = "mini",
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    seed: options.Seed = 0,
    head_speed: options.HeadSpeed = None,
    motion_region: options.Region = options.MotionRegion.wide,
    detail: options.Detail = None,
    articulation: options.Articulation = None,
    smoothing: options.Smoothing = None,
    idle: options.Idle = None,
    face: options.WhichFace = None,
    start: options.Start = 0.0,
    duration: options.Duration = None,
    audio_stream: options.AudioStream = None,
    fps: options.FrameRate = None,
    frame: options.WhichFrame = options.Frame.crop,
    size: options.Size = None,
    device: options.DeviceName = options.Device.auto,
    dtype: options.DTypeName = options.DType.auto,
    quality: options.QualityName = None,
    compile: options.Compile = False,
    low_memory: options.LowMemory = False,
    separate_vocals: options.SeparateVocals = False,
    like: options.Like = None,
    batch: options.Batch = None,
    dry_run: options.DryRun = False,
    resume: options.Resume = False,
    keep_partial: options.KeepPartial = False,
    ray: options.Ray = None,
) -> None:
    """Make the face in PORTRAIT speak what is heard in AUDIO.

    The face is cut out as a square and animated by the bundled model, on a CPU if need be. The output's
    ending says what it becomes: .mp4, .mov, .webm or .gif; without an ending it is a folder of PNG files.
    """
    asked = options.plain(locals())
    if batch is not None:
        if portrait or audio or dry_run:
            raise typer.BadParameter("--batch takes no PORTRAIT, no AUDIO and no --dry-run")
        _animate_many(batch, asked)
        return
    if ray is not None:
        raise typer.BadParameter("--ray spreads the jobs of --batch")
    if portrait is None or audio is None:
        raise typer.BadParameter("Missing argument 'AUDIO'." if portrait else "Missing argument 'PORTRAIT'.")
    from emote_cli import console
    from emote_cli.animation.forecast import describe
    from emote_cli.animation.render import Job, check, partial_name, render

    plan = check(Job.repeating(like, asked, options.GIVEN.get()))
    for warning in plan.warnings:
        console.warn(warning)
    if dry_run:
        for name, value in describe(plan).items():
            console.result(f"{name}: {value}")
        return
    begin = time.monotonic()
    with console.progress("animating", plan.n_frames, "frames") as advance:
        try:
            path: Path = render(plan, on_frame=advance, tell=console.say)
        except KeyboardInterrupt:
            if keep_partial and partial_name(plan.job.output).exists():
                console.say(f"what is made so far: {partial_name(plan.job.output)}; --resume goes on")
            raise
    took_s = time.monotonic() - begin
    console.say(f"{plan.n_frames} frames, {plan.duration_s:.1f} s of video, in {took_s:.1f} s")
    console.result(path)


def _animate_many(batch: Path, asked: dict[str, Any]) -> None:
    from emote_cli import console
    from emote_cli.animation.batch import read_batch
    from emote_cli.errors import InputError
    from emote_cli.media.output import make_folder

    rows = read_batch(batch)
    make_folder(asked["output"] or Path())
    counts = {"made": 0, "there": 0, "failed": 0}
    with console.progress("animating", len(rows), "videos") as advance:
        for outcome in _outcomes(rows, asked, advance):
            counts[outcome.state] += 1
            advance(1)
            if outcome.error is None:
                console.result(outcome.output)
            else:
                console.warn(f"{outcome.output.name}: {outcome.error.message}")
    console.say(f"{counts['made']} made, {counts['there']} were there, {counts['failed']} failed")
    if counts["failed"]:
        raise InputError(f"{counts['failed']} of {len(rows)} jobs failed", hint="mend them and run it again")


def _outcomes(
    rows: list[dict[str, Any]], asked: dict[str, Any], advance: Callable[..., None]
) -> Iterator[Outcome]:
    """What becomes of each row, one after the other here, or on a cluster as they are done."""
    from emote_cli.animation.batch import MakeOne, Outcome, loaded
    from emote_cli.data.cluster import map_jobs_ray
    from emote_cli.errors import EmoteError

    make = MakeOne(asked, asked["like"], options.GIVEN.get())
    if asked["ray"] is None:
        written = 0

        def on_frame(count: int) -> None:
            nonlocal written
            written += count
            advance(0, f"{written} frames")

        try:
            yield from map(replace(make, on_frame=on_frame), rows)
        finally:
            loaded.cache_clear()
        return
    here = {"portrait", "audio"}
    rows = [{k: v.resolve() if k in here else v for k, v in row.items()} for row in rows]
    for row, answer in map_jobs_ray(make.anywhere(), rows, asked["ray"], gpu=asked["device"] != "cpu"):
        if isinstance(answer, BaseException):
            error = answer if isinstance(answer, EmoteError) else EmoteError(f"the worker failed: {answer}")
            yield Outcome(Path(row["output"]), "failed", error)
        else:
            yield answer
