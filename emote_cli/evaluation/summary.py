"""What stands out in many numbers: medians, the true videos' beside them, and which of them people would notice."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from emote_cli.evaluation.evaluate import MEASURES, Evaluation
from emote_cli.evaluation.findings import Measure, median_known

RANKED_BY = ("lips.correlation", "sync.correlation", "identity.median", "face.found")
"""Clips are ordered by the first of these that at least half of them have; the lowest number is the worst."""

GROUPS = {
    "lips": "Lips",
    "sync": "Sync of lips and sound",
    "syncnet": "Sync by SyncNet",
    "sound": "Sound",
    "identity": "Identity",
    "head": "Head",
    "blinks": "Blinks",
    "seams": "Seams between chunks",
    "flicker": "Flicker",
    "drift": "Drift over time",
    "sharpness": "Sharpness",
    "mouth": "Inside of the mouth",
    "face": "Face found",
    "timing": "Picture and sound",
}
"""Headings, by the first part of a measure's name; others are headings themselves."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a number says.

    Attributes:
        word: whether it is as good as can be asked; `both`: too low in some videos, too high in others.
        far: how many differences that people notice it is away from that; up to 1 is good.
    """

    word: Literal["good", "too low", "too high", "both"]
    far: float


def medians(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """The median over the videos, for each measure that any of them has."""
    found = {name: median_known([e.numbers.get(name, math.nan) for e in evaluations]) for name in MEASURES}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def unsigned_medians(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """The same, but without the sign of numbers that are good near 0: +300 ms and -300 ms do not make 0 ms."""
    unsigned = [
        replace(e, numbers={n: abs(v) if MEASURES[n].better == "zero" else v for n, v in e.numbers.items()})
        for e in evaluations
    ]
    return medians(unsigned)


def truths_of(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The true videos, each once."""
    return list({e.truth.video: e.truth for e in evaluations if e.truth is not None}.values())


def judge(measure: Measure, value: float, truth: float | None) -> Verdict | None:
    """Say whether a number is good; None where nothing tells.

    Args:
        measure: what the number is.
        value: it.
        truth: the true video's own: no model need be better.
    """
    if measure.notable is None:
        return None
    if measure.better in ("zero", "one"):
        goal = 0.0 if measure.better == "zero" else 1.0
        far = abs(value - goal) - (0.0 if truth is None else abs(truth - goal))
    elif truth is None:
        return None
    else:
        goal = truth
        far = {"higher": goal - value, "lower": value - goal}.get(measure.better, abs(value - goal))
    far = max(far / measure.notable, 0.0)
    return Verdict("good" if far <= 1 else "too low" if value < goal else "too high", far)


def judge_all(evaluations: Sequence[Evaluation]) -> dict[str, Verdict]:
    """The verdict of each median that can be judged, by name: by how far videos are off, whichever way."""
    shown, ours = medians(evaluations), unsigned_medians(evaluations)
    true = unsigned_medians(truths_of(evaluations))
    verdicts = {}
    for name, value in shown.items():
        told = judge(MEASURES[name], value, true.get(name))
        off = judge(MEASURES[name], ours[name], true.get(name))
        if told is not None and off is not None:
            cancelled = told.word == "good" and off.word != "good"
            verdicts[name] = Verdict("both" if cancelled else told.word, off.far)
    return verdicts


def stand_out(verdicts: Mapping[str, Verdict]) -> list[str]:
    """Names of what people would notice, the farthest from good first; of each group only the worst."""
    bad = sorted((n for n, v in verdicts.items() if v.far > 1), key=lambda name: -verdicts[name].far)
    return list({group_of(name): name for name in reversed(bad)}.values())[::-1]


def good_groups(verdicts: Mapping[str, Verdict]) -> list[str]:
    """Groups in which everything that can be judged is good."""
    bad = {group_of(name) for name, verdict in verdicts.items() if verdict.far > 1}
    return [group for group in dict.fromkeys(map(group_of, verdicts)) if group not in bad]


def group_of(name: str) -> str:
    """The heading under which a measure stands."""
    first = name.split(".")[0]
    return GROUPS.get(first, first)


def rank(evaluations: Sequence[Evaluation]) -> tuple[str, list[Evaluation]]:
    """The videos, worst first, and the measure that says so.

    Those without this number come first: it could not be told. Equal ones stay in their order.
    """
    half = len(evaluations) / 2
    by = next((n for n in RANKED_BY if sum(n in e.numbers for e in evaluations) >= half), RANKED_BY[-1])
    return by, sorted(evaluations, key=lambda e: e.numbers.get(by, -math.inf))


def seen_from(path: Path, folder: Path | None = None) -> str:
    """A path as seen from a folder (by default: the current one).

    Where the two have no more in common than the first folder (`/home`), only its last two parts are told: a report
    goes to other people, and how a machine's folders are named is none of their business.
    """
    here, there = Path(os.path.abspath(folder or "")), Path(os.path.abspath(path))
    near = here.anchor == there.anchor and len(Path(os.path.commonpath([here, there])).parts) > 2
    if near or there.is_relative_to(here):
        told = Path(os.path.relpath(there, here)).as_posix()
    else:
        told = Path(*there.parts[-2:]).as_posix()
    return told.encode("utf-8", "replace").decode()
