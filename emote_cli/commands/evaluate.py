"""`emote evaluate`: measure talking heads by a fixed protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emote_cli.animation.options import DeviceName

_VIDEOS, _MODEL, _OUTPUT, _SPEED = "Finished videos", "Held-out clips", "Output", "Many videos"


def evaluate(
    videos: Annotated[
        list[Path] | None, typer.Argument(metavar="VIDEO...", help="Finished videos.", show_default=False)
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth",
            metavar="VIDEO|FOLDER",
            help="The true video, or a folder of equally named ones.",
            rich_help_panel=_VIDEOS,
        ),
    ] = None,
    portrait: Annotated[
        Path | None,
        typer.Option(
            "--portrait", metavar="PICTURE", help="Whose face it should be.", rich_help_panel=_VIDEOS
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DATASET|FOLDER",
            help="Clips to make again from their first frame and their sound, and to measure beside the true ones: "
            "those that --split holds out of a data set of `emote prepare`, or all videos in a folder. "
            "The videos are made once and stay in --out.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME|PATH",
            help="The model that makes them: a known one, or the folder of one (default: mini).",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            "--split",
            metavar="FILE",
            help="JSON or YAML lists of clips, as for `emote train`: those under heldout are made "
            "(default: the split that the model's own run was trained with).",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    device: Annotated[
        DeviceName, typer.Option("--device", help="Where the model runs.", rich_help_panel=_MODEL)
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Write report.html, metrics.json and metrics.csv; go on there after an interruption.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            metavar="NAME>=X",
            help="Exit 1 unless the median keeps it, and half of the videos have it; may be repeated. Lags and other "
            "numbers that are good near 0 count without their sign in NAME<=X.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--compare",
            metavar="A.json B.json",
            help="Show two metrics.json side by side, and measure nothing.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    force_small: Annotated[
        bool,
        typer.Option(
            "--force-small",
            help="Measure FID, FVD and E-FID of small sets, too (below 500 samples or 50 videos).",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    chunk_frames: Annotated[
        int | None,
        typer.Option(
            "--chunk-frames",
            min=2,
            metavar="N",
            help="Frames from seam to seam, where it is known (mini: 12); with --data it is.",
            rich_help_panel=_VIDEOS,
        ),
    ] = None,
    sface: Annotated[
        Path | None,
        typer.Option(
            "--sface",
            metavar="FILE",
            help="SFace's ONNX file, for identity (default: what `emote download metrics` fetched).",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Processes, each with one video at a time (and a model of its own to make them).",
            rich_help_panel=_SPEED,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", metavar="ADDRESS|local", help="Run on a Ray cluster instead.", rich_help_panel=_SPEED
        ),
    ] = None,
) -> None:
    """Measure videos: lips, sync, identity, head, seams, drift, sharpness, timing.

    `emote download metrics` adds identity, SyncNet's LSE-C and LSE-D, and FID and FVD of a set with true videos.
    All but identity are not verified against the real weights.

    emote evaluate me.mp4 --portrait me.jpg                  [dim]one video[/]

    emote evaluate out/*.mp4 --truth clips/ --out report     [dim]many, with truth[/]

    emote evaluate --model mini --data clips/ --out report   [dim]made by a model first[/]

    emote evaluate --model runs/a --data dataset/ --split split.json --out report
    """
    from emote_cli import console
    from emote_cli.commands.evaluate_steps import measure, render
    from emote_cli.commands.evaluate_table import (
        show_comparison,
        show_numbers,
        show_set,
        show_unmeasured,
    )
    from emote_cli.errors import SettingsError
    from emote_cli.evaluation import report
    from emote_cli.evaluation.batch import CACHE, make_place, requests_for
    from emote_cli.evaluation.sets import ALL_MEASURES, SET_MEASURES, measure_set
    from emote_cli.evaluation.summary import truths_of
    from emote_cli.evaluation.thresholds import read_threshold

    if compare is not None:
        show_comparison(report.compare(*compare))
        return
    _check_usage(videos, truth, portrait, data, model, split, out)
    if data is None and not videos:
        raise SettingsError(
            "no video to measure", hint="emote evaluate VIDEO, or --data FOLDER, or --compare A.json B.json"
        )
    wanted = [read_threshold(text, ALL_MEASURES) for text in require or ()]
    how = {"chunk_frames": chunk_frames, "sface": sface, "keep": None if out is None else out / CACHE}
    if data is not None and out is not None:
        requests, failed = render(data, model or "mini", split, device, out, workers, ray, how)
    else:
        requests, failed = requests_for(videos or [], truth, portrait=portrait, **how), []
        if out is not None:
            make_place(out)
    found, unmeasured = measure(requests, workers, ray)
    show_numbers(found)
    show_unmeasured(found)
    of_set = measure_set(found, truths := truths_of(found), force_small)
    if len(truths) > 1 or force_small:
        show_set(of_set)
    if out is not None:
        with console.progress("reading frames again", report.count_frames(found), "frames") as advance:
            paths = report.write_reports(found, out, advance, of_set, len(failed) + len(unmeasured))
        for path in paths:
            console.result(path)
    reasons = {**found[0].not_measured, **of_set.not_measured}
    of_each = [each.numbers for each in found]
    failures = [
        line
        for each in wanted
        if (line := each.failure([of_set.numbers] if each.name in SET_MEASURES else of_each, reasons))
    ]
    for line in [*failed, *unmeasured, *failures]:
        console.say(line)
    if failed or unmeasured or failures:
        raise typer.Exit(1)


def _check_usage(
    videos: list[Path] | None,
    truth: Path | None,
    portrait: Path | None,
    data: Path | None,
    model: str | None,
    split: Path | None,
    out: Path | None,
) -> None:
    """Options that go together."""
    if data is None and (model is not None or split is not None):
        raise typer.BadParameter("--model and --split make the clips of --data, which is missing")
    if data is not None and (videos or truth or portrait):
        raise typer.BadParameter(
            "--data takes no VIDEO, no --truth and no --portrait: it makes and finds them"
        )
    if data is not None and out is None:
        raise typer.BadParameter("is needed with --data: the videos are made there", param_hint="--out")
