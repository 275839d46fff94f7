"""What was measured, for people and programs: report.html, metrics.json, metrics.csv."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emote_cli.errors import InputError
from emote_cli.evaluation.drift import follow_stretches
from emote_cli.evaluation.evaluate import MEASURES, PROTOCOL, Evaluation
from emote_cli.evaluation.making import describe_maker
from emote_cli.evaluation.page import MOST_CLIPS, as_html
from emote_cli.evaluation.sets import ALL_MEASURES, OfSet, measure_set
from emote_cli.evaluation.strips import frames_to_read, make_strip
from emote_cli.evaluation.summary import medians, rank, seen_from, truths_of
from emote_cli.files import make_folder, write_text

JSON_NAME, CSV_NAME, HTML_NAME = "metrics.json", "metrics.csv", "report.html"


def as_dict(
    evaluations: Sequence[Evaluation], folder: Path | None = None, of_set: OfSet | None = None
) -> dict[str, Any]:
    """All numbers, with the recipe of each, the medians over the videos, and what was measured of all together.

    Args:
        evaluations: of the videos.
        folder: where the report lies; paths are told as seen from there.
        of_set: what `measure_set` found; None measures it.
    """
    of_set = of_set or measure_set(evaluations, truths_of(evaluations))
    return {
        "protocol": PROTOCOL,
        "median": medians(evaluations),
        "median_truth": medians(truths_of(evaluations)),
        "set": asdict(of_set),
        "videos": [_entry(each, folder) for each in evaluations],
        "recipes": {name: measure.recipe for name, measure in ALL_MEASURES.items()},
    }


def _entry(evaluation: Evaluation, folder: Path | None) -> dict[str, Any]:
    """One video, and within it the true one."""
    series = follow_stretches(evaluation.footage, evaluation.cosines)
    entry: dict[str, Any] = {
        "video": seen_from(evaluation.video, folder),
        "numbers": evaluation.numbers,
        "not_measured": evaluation.not_measured,
        "per_10_s": {name: [_rounded(value) for value in values] for name, values in series.items()},
    }
    if made := describe_maker(evaluation.video):
        entry["made"] = made
    if evaluation.truth is not None:
        entry["truth"] = _entry(evaluation.truth, folder)
    return entry


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def write_reports(
    evaluations: Sequence[Evaluation],
    folder: Path,
    on_frame: Callable[[int], object] = int,
    of_set: OfSet | None = None,
    n_failed: int = 0,
) -> list[Path]:
    """Write all three files; returns their paths.

    Args:
        evaluations: of the videos.
        folder: made if need be.
        on_frame: called with the number of frames just done, of `count_frames`.
        of_set: what `measure_set` found; None measures it.
        n_failed: how many more videos there were that could not be measured: a report that left them out in silence
            would look better than it is.

    Raises:
        OutputError: the folder cannot be written.
    """
    make_folder(folder)
    of_set = of_set or measure_set(evaluations, truths_of(evaluations))
    strips = {each.video: make_strip(each, on_frame) for each in shown_clips(evaluations)}
    contents = {
        HTML_NAME: as_html(evaluations, strips, folder, of_set, n_failed),
        JSON_NAME: json.dumps(as_dict(evaluations, folder, of_set) | {"failed": n_failed}, indent=1) + "\n",
        CSV_NAME: as_csv(evaluations, folder),
    }
    for name, text in contents.items():
        write_text(folder / name, text)
    return [folder / name for name in contents]


def shown_clips(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The clips that the page shows with frames and curves, worst first."""
    return rank(evaluations)[1][:MOST_CLIPS]


def count_frames(evaluations: Sequence[Evaluation]) -> int:
    """How many frames `write_reports` reads again."""
    return sum(frames_to_read(each) for each in shown_clips(evaluations))


def as_csv(evaluations: Sequence[Evaluation], folder: Path | None = None) -> str:
    """A row for each video, then one for each true video; a column for each measure, empty where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["video", "kind", *MEASURES])
    for kind, rows in (("video", evaluations), ("truth", truths_of(evaluations))):
        for e in rows:
            values = (e.numbers.get(name, "") for name in MEASURES)
            writer.writerow([seen_from(e.video, folder), kind, *values])
    return text.getvalue()


def compare(first: Path, second: Path) -> list[tuple[str, float, float]]:
    """Medians, and numbers of the sets, of two metrics.json, side by side: name, first, second.

    Raises:
        InputError: a file is none, or the two were measured by other recipes.
    """
    reports = [_read(path) for path in (first, second)]
    if reports[0]["protocol"] != reports[1]["protocol"]:
        raise InputError(
            f"{first} and {second} were measured by other recipes "
            f"(protocol {reports[0]['protocol']} and {reports[1]['protocol']})",
            "measure both again",
        )
    ours, theirs = ({**report["median"], **report.get("set", {}).get("numbers", {})} for report in reports)
    return [
        (name, ours.get(name, math.nan), theirs.get(name, math.nan))
        for name in ALL_MEASURES
        if name in ours or name in theirs
    ]


def _read(path: Path) -> Any:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        report["protocol"], report["median"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no metrics.json: {error}", "emote evaluate --out writes one") from error
    return report
