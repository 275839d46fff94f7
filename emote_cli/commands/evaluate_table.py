"""The numbers of `emote evaluate` as a table in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from emote_cli.evaluation.evaluate import Evaluation
    from emote_cli.evaluation.sets import OfSet

_WIDTH = 120


def show_numbers(evaluations: Sequence[Evaluation]) -> None:
    """Print a row for each measure: the median over the videos, the true videos' own, and which is good."""
    from emote_cli.evaluation.evaluate import MEASURES
    from emote_cli.evaluation.summary import medians, truths_of

    ours, true = medians(evaluations), medians(truths_of(evaluations))
    table = _table("measure", "unit", "median" if len(evaluations) > 1 else "video", "truth", "good is")
    for name, measure in MEASURES.items():
        if name in ours:
            table.add_row(name, measure.unit, _told(ours, name), _told(true, name), measure.good)
    _print(table)


def show_unmeasured(evaluations: Sequence[Evaluation]) -> None:
    """Print a line for each reason why measures have no number in any video."""
    have = {name for each in evaluations for name in each.numbers}
    reasons = evaluations[0].not_measured
    _tell_reasons({name: reason for name, reason in reasons.items() if name not in have})


def show_set(of_set: OfSet) -> None:
    """Print a line for each number of the whole set, with what it was made of; and one for those that were refused."""
    from emote_cli import console

    for name, value in of_set.numbers.items():
        console.say(f"{name} {value:.3f}: {of_set.samples[name]}")
    _tell_reasons(of_set.not_measured)


def _tell_reasons(not_measured: Mapping[str, str]) -> None:
    """Print a line for each reason, with the names that it is the reason for."""
    from emote_cli import console

    names: dict[str, list[str]] = {}
    for name, reason in not_measured.items():
        names.setdefault(reason, []).append(name)
    for reason, its_names in names.items():
        console.say(f"{', '.join(its_names)}: {reason}")


def show_comparison(rows: Sequence[tuple[str, float, float]]) -> None:
    """Print two reports side by side: a row for each measure, from name, first and second median."""
    from emote_cli.evaluation.sets import ALL_MEASURES

    table = _table("measure", "unit", "first", "second", "change", "good is")
    for name, first, second in rows:
        measure, values = ALL_MEASURES[name], (f"{first:.3f}", f"{second:.3f}", f"{second - first:+.3f}")
        table.add_row(name, measure.unit, *("-" if "nan" in v else v for v in values), measure.good)
    _print(table)


def _table(*titles: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="left" if title in ("measure", "unit", "good is") else "right")
    return table


def _told(values: Mapping[str, float], name: str) -> str:
    value = values.get(name, math.nan)
    return f"{value:.3f}" if math.isfinite(value) else "-"


def _print(table: Table) -> None:
    from emote_cli import console

    if not console.out.is_terminal:
        console.out.width = _WIDTH
    console.out.print(table, soft_wrap=False)
