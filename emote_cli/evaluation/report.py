"""What was measured, for people and programs: report.html, metrics.json, metrics.csv."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from emote_cli.errors import InputError
from emote_cli.evaluation.drift import follow_stretches
from emote_cli.evaluation.evaluate import MEASURES, PROTOCOL, Evaluation
from emote_cli.evaluation.findings import median_known
from emote_cli.files import make_folder, write_text

JSON_NAME, CSV_NAME, HTML_NAME = "metrics.json", "metrics.csv", "report.html"
_WIDTH, _HEIGHT = 640, 90

Curve = Float[np.ndarray, " frames"]


def as_dict(evaluations: Sequence[Evaluation], folder: Path | None = None) -> dict[str, Any]:
    """All numbers, with the recipe of each and the medians over the videos.

    Args:
        evaluations: of the videos.
        folder: where the report lies; paths are told as seen from there.
    """
    return {
        "protocol": PROTOCOL,
        "median": medians(evaluations),
        "median_truth": medians(truths_of(evaluations)),
        "videos": [_entry(each, folder) for each in evaluations],
        "recipes": {name: measure.recipe for name, measure in MEASURES.items()},
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
    if evaluation.truth is not None:
        entry["truth"] = _entry(evaluation.truth, folder)
    return entry


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def medians(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """The median over the videos, for each measure that any of them has."""
    found = {name: median_known([e.numbers.get(name, math.nan) for e in evaluations]) for name in MEASURES}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def truths_of(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The true videos, each once."""
    return list({e.truth.video: e.truth for e in evaluations if e.truth is not None}.values())


def seen_from(path: Path, folder: Path | None = None) -> str:
    """A path as seen from a folder (by default: the current one).

    Where the two have nothing in common, only its last two parts are told: a report goes to other people, and how
    a machine's folders are named is none of their business.
    """
    here, there = Path(os.path.abspath(folder or "")), Path(os.path.abspath(path))
    if here.anchor != there.anchor or len(Path(os.path.commonpath([here, there])).parts) < 2:
        return Path(*there.parts[-2:]).as_posix()
    return Path(os.path.relpath(there, here)).as_posix()


def write_reports(evaluations: Sequence[Evaluation], folder: Path) -> list[Path]:
    """Write all three files; returns their paths.

    Raises:
        OutputError: the folder cannot be written.
    """
    make_folder(folder)
    contents = {
        HTML_NAME: as_html(evaluations),
        JSON_NAME: json.dumps(as_dict(evaluations, folder), indent=1) + "\n",
        CSV_NAME: as_csv(evaluations, folder),
    }
    for name, text in contents.items():
        write_text(folder / name, text)
    return [folder / name for name in contents]


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


def as_html(evaluations: Sequence[Evaluation]) -> str:
    """A page that needs nothing else: the table, then the curves, the worst lips first."""
    order = sorted(evaluations, key=lambda e: e.numbers.get("lips.correlation", math.inf))
    head = "".join(f"<th>{html.escape(e.video.name)}</th>" for e in order)
    rows = []
    for name, measure in MEASURES.items():
        cells = "".join(f"<td>{_cell(e, name)}</td>" for e in order)
        median = medians(order).get(name, math.nan)
        told = "" if math.isnan(median) else f"{median:.3f}"
        unit = f" ({measure.unit})" if measure.unit else ""
        label = f"{html.escape(measure.title)}{unit}<br><code>{name}</code>"
        rows.append(
            f'<tr><th title="{html.escape(measure.recipe)}">{label}</th><td><b>{told}</b></td>{cells}</tr>'
        )
    curves = "".join(_curves(e) for e in order)
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>emote evaluate</title><style>"
        "body{font:15px sans-serif;margin:2em}td,th{padding:.2em .6em;text-align:left;border-bottom:1px solid #ddd}"
        "code{color:#666;font-size:85%}</style><h1>emote evaluate</h1>"
        f"<p>{len(order)} videos, protocol {PROTOCOL}. Hold the mouse over a name to read how it is measured.</p>"
        f"<table><tr><th></th><th>median</th>{head}</tr>{''.join(rows)}</table>{curves}</html>\n"
    )


def _cell(evaluation: Evaluation, name: str) -> str:
    if name in evaluation.numbers:
        return f"{evaluation.numbers[name]:.3f}"
    reason = evaluation.not_measured.get(name, "nothing to compare with")
    return f'<span title="{html.escape(reason)}">-</span>'


def _curves(evaluation: Evaluation) -> str:
    lines = [_line(evaluation.footage.gap, "#c33")]
    if evaluation.truth is not None:
        lines.insert(0, _line(evaluation.truth.footage.gap, "#999"))
    name = html.escape(evaluation.video.name)
    label = f"Lip gap over time of {name}, and of the true video in gray"
    return (
        f"<h3>{name}</h3><p>Lip gap (red), the true video's (gray)</p>"
        f'<svg role="img" aria-label="{label}" width="{_WIDTH}" height="{_HEIGHT}">{"".join(lines)}</svg>'
    )


def _line(values: Curve, color: str) -> str:
    known = np.nan_to_num(values)
    x = np.linspace(0, _WIDTH, len(known))
    y = _HEIGHT - 2 - np.clip(known / 0.6, 0, 1) * (_HEIGHT - 4)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline fill="none" stroke="{color}" points="{points}"/>'


def compare(first: Path, second: Path) -> list[tuple[str, float, float]]:
    """Medians of two metrics.json, side by side: name, first, second.

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
    first_medians, second_medians = (report["median"] for report in reports)
    return [
        (name, first_medians.get(name, math.nan), second_medians.get(name, math.nan))
        for name in MEASURES
        if name in first_medians or name in second_medians
    ]


def _read(path: Path) -> Any:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        report["protocol"], report["median"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no metrics.json: {error}", "emote evaluate --out writes one") from error
    return report
