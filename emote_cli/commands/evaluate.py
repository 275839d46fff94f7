"""`emote evaluate`: measure talking heads by a fixed protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emote_cli.evaluation.batch import Request
    from emote_cli.evaluation.evaluate import Evaluation


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
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="So many videos at once (default: one after the other)."),
    ] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="ADDRESS|local", help="Run on a Ray cluster instead.")
    ] = None,
) -> None:
    """Measure videos: lips, sync, identity, head, seams, drift, sharpness, timing."""
    from emote_cli import console
    from emote_cli.commands.evaluate_table import show_comparison, show_numbers
    from emote_cli.errors import SettingsError
    from emote_cli.evaluation import report
    from emote_cli.evaluation.batch import CACHE, make_place, requests_for
    from emote_cli.evaluation.evaluate import MEASURES
    from emote_cli.evaluation.thresholds import read_threshold

    if compare is not None:
        show_comparison(report.compare(*compare))
        return
    if not videos:
        raise SettingsError("no video to measure", hint="emote evaluate VIDEO, or --compare A.json B.json")
    wanted = [read_threshold(text, MEASURES) for text in require or ()]
    keep = None if out is None else out / CACHE
    requests = requests_for(
        videos, truth, portrait=portrait, chunk_frames=chunk_frames, sface=sface, keep=keep
    )
    if out is not None:
        make_place(out)
    found, failed = _measure(requests, workers, ray)
    show_numbers(found)
    for path in report.write_reports(found, out) if out is not None else ():
        console.result(path)
    summary, reasons = report.medians(found), found[0].not_measured
    failures = [line for each in wanted if (line := each.failure(summary, reasons)) is not None]
    for line in [*failed, *failures]:
        console.say(line)
    if failed or failures:
        raise typer.Exit(1)


def _measure(
    requests: Sequence[Request], workers: int | None, ray: str | None
) -> tuple[list[Evaluation], list[str]]:
    """What was measured, in the order of the requests; and a line for each video that could not be.

    Raises:
        EmoteError: none could be measured; it says why not the first.
    """
    from emote_cli import console
    from emote_cli.errors import EmoteError
    from emote_cli.evaluation.batch import evaluate_all

    frames = {request: request.count_frames() for request in requests}
    answers: dict[Request, Evaluation | EmoteError] = {}
    seen = 0
    with console.progress("measuring", sum(frames.values()), "frames") as advance:

        def count(n: int) -> None:
            nonlocal seen
            seen += n
            advance(n)

        for request, answer in evaluate_all(requests, workers, ray, count):
            advance(frames[request] - seen)  # those of another process, or watched by an earlier run
            seen = 0
            answers[request] = answer
    errors = {each: answer for each in requests if isinstance(answer := answers[each], EmoteError)}
    found = [answer for each in requests if not isinstance(answer := answers[each], EmoteError)]
    if not found:
        raise next(iter(errors.values()))
    return found, [f"not measured: {each.video}: {error.message}" for each, error in errors.items()]
