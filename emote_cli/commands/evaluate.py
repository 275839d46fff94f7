"""`emote evaluate`: measure talking heads by a fixed protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    videos: Annotated[
        list[Path] | None, typer.Argument(metavar="VIDEO...", help="Finished videos.", show_default=False)
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", metavar="VIDEO|FOLDER", help="The true video, or a folder of equally named ones."
        ),
    ] = None,
    portrait: Annotated[
        Path | None, typer.Option("--portrait", metavar="PICTURE", help="Whose face it should be.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Write report.html, metrics.json and metrics.csv; go on there."
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require", metavar="NAME>=X", help="Exit 1 unless the median keeps it; may be repeated."
        ),
    ] = None,
    chunk_frames: Annotated[
        int | None,
        typer.Option(
            "--chunk-frames",
            min=2,
            metavar="N",
            help="Frames from seam to seam, where it is known (mini: 12).",
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", metavar="A.json B.json", help="Show two metrics.json side by side."),
    ] = None,
    sface: Annotated[
        Path | None, typer.Option("--sface", metavar="FILE", help="SFace's ONNX file, for identity.")
    ] = None,
) -> None:
    """Measure videos: lips, sync, identity, head, seams, drift, sharpness, timing."""
    from emote_cli import console
    from emote_cli.commands.evaluate_table import show_comparison, show_numbers
    from emote_cli.errors import SettingsError
    from emote_cli.evaluation import evaluate as library
    from emote_cli.evaluation import report
    from emote_cli.evaluation.thresholds import read_threshold

    if compare is not None:
        show_comparison(report.compare(*compare))
        return
    if not videos:
        raise SettingsError("no video to measure", hint="emote evaluate VIDEO, or --compare A.json B.json")
    wanted = [read_threshold(text, library.MEASURES) for text in require or ()]
    truths = [library.find_truth(video, truth) for video in videos]
    keep, found = (None if out is None else out / "cache"), []
    with console.progress("measuring", len(videos), "videos") as advance:
        for video, true in zip(videos, truths, strict=True):
            found.append(
                library.evaluate(video, true, portrait, chunk_frames=chunk_frames, sface=sface, keep=keep)
            )
            advance(1)
    show_numbers(found)
    for path in report.write_reports(found, out) if out is not None else ():
        console.result(path)
    summary, reasons = report.medians(found), found[0].not_measured
    failures = [line for each in wanted if (line := each.failure(summary, reasons)) is not None]
    for line in failures:
        console.say(line)
    if failures:
        raise typer.Exit(1)
