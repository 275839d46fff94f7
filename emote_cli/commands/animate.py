"""`emote animate`: a portrait and speech become a talking-head video."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from emote_cli.commands import options


def animate(
    portrait: options.PortraitFile,
    audio: options.AudioFile,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The video (default: the portrait's name + .mp4, here)."),
    ] = None,
    force: options.Force = False,
    model: options.ModelName = "mini",
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, max=1000, help="Denoising steps (default: the model's)."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option("--guidance", min=0, help="Guidance scale; 1 is off (default: the model's)."),
    ] = None,
    seed: options.Seed = 0,
    head_speed: Annotated[
        float | None,
        typer.Option(
            "--head-speed", min=0, max=2, help="How fast the head turns: degrees per frame at 30 fps."
        ),
    ] = None,
    fps: Annotated[
        Fraction | None,
        typer.Option(
            "--fps",
            parser=options.parse_fps,
            metavar="FPS",
            help="Frames per second (default: the model's).",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=32, max=4096, help="Side in pixels, even (default: the model's)."),
    ] = None,
    motion_region: Annotated[
        options.MotionRegion, typer.Option("--motion-region", help="How far the head may move.")
    ] = options.MotionRegion.wide,
    device: options.DeviceName = options.Device.auto,
    dtype: options.DTypeName = options.DType.auto,
) -> None:
    """Make the face in PORTRAIT speak what is heard in AUDIO.

    The largest face is cut out as a square and animated by the bundled model, on a CPU if need be.
    """
    from emote_cli import console
    from emote_cli.animation.render import Job, check, render

    job = Job(
        portrait=portrait,
        audio=audio,
        output=output or Path(f"{portrait.stem}.mp4"),
        force=force,
        model=model,
        steps=steps,
        guidance=guidance,
        seed=seed,
        head_speed=head_speed,
        motion_region=motion_region.value,
        fps=fps,
        size=size,
        device=device.value,
        dtype=dtype.value,
    )
    plan = check(job)
    begin = time.monotonic()
    with console.progress("animating", plan.n_frames, "frames") as advance:
        path = render(plan, on_frame=lambda: advance(1))
    took_s = time.monotonic() - begin
    console.say(f"{plan.n_frames} frames, {plan.duration_s:.1f} s of video, in {took_s:.1f} s")
    console.result(path)
