"""`emote animate`: a portrait and speech become a talking-head video."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from emote_cli.commands import options


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
    face: options.WhichFace = None,
    start: options.Start = 0.0,
    duration: options.Duration = None,
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
) -> None:
    """Make the face in PORTRAIT speak what is heard in AUDIO.

    The face is cut out as a square and animated by the bundled model, on a CPU if need be. The output's
    ending says what it becomes: .mp4, .mov, .webm or .gif.
    """
    asked = options.plain(locals())
    if batch is not None:
        if portrait or audio or dry_run:
            raise typer.BadParameter("--batch takes no PORTRAIT, no AUDIO and no --dry-run")
        _animate_many(batch, asked)
        return
    if portrait is None or audio is None:
        raise typer.BadParameter("Missing argument 'AUDIO'." if portrait else "Missing argument 'PORTRAIT'.")
    from emote_cli import console
    from emote_cli.animation.forecast import describe
    from emote_cli.animation.render import Job, check, render

    plan = check(Job.repeating(like, asked, options.GIVEN.get()))
    for warning in plan.warnings:
        console.warn(warning)
    if dry_run:
        for name, value in describe(plan).items():
            console.result(f"{name}: {value}")
        return
    begin = time.monotonic()
    with console.progress("animating", plan.n_frames, "frames") as advance:
        path: Path = render(plan, on_frame=lambda: advance(1), tell=console.say)
    took_s = time.monotonic() - begin
    console.say(f"{plan.n_frames} frames, {plan.duration_s:.1f} s of video, in {took_s:.1f} s")
    console.result(path)


def _animate_many(batch: Path, asked: dict[str, Any]) -> None:
    from emote_cli import console
    from emote_cli.animation.batch import read_batch, run_batch
    from emote_cli.errors import InputError

    rows = read_batch(batch)
    counts = {"made": 0, "there": 0, "failed": 0}
    for outcome in run_batch(rows, asked, like=asked["like"], named=options.GIVEN.get()):
        counts[outcome.state] += 1
        if outcome.error is None:
            console.result(outcome.output)
        else:
            console.warn(f"{outcome.output.name}: {outcome.error.message}")
    console.say(f"{counts['made']} made, {counts['there']} were there, {counts['failed']} failed")
    if counts["failed"]:
        raise InputError(f"{counts['failed']} of {len(rows)} jobs failed", hint="mend them and run it again")
