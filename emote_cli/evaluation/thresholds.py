"""What a video must reach: `lips.correlation>=0.6`, `seams<=1.1`."""

from __future__ import annotations

import difflib
import operator
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from emote_cli.errors import SettingsError
from emote_cli.evaluation.findings import Measure

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """One number's bound.

    Attributes:
        name: of the measure.
        sign: >=, <=, > or <.
        bound: what it is compared with.
        signed: whether the number's sign counts; without it, +300 ms and -300 ms do not make 0 ms.
    """

    name: str
    sign: str
    bound: float
    signed: bool = True

    def failure(self, numbers: Sequence[Mapping[str, float]], reasons: Mapping[str, str]) -> str | None:
        """What is wrong, in a line; None where the median keeps the bound.

        Args:
            numbers: of each video, by name; fewer than half of them with this one do not keep the bound.
            reasons: why a number is in none of them, by name.
        """
        values = [each[self.name] for each in numbers if self.name in each]
        if not values:
            return f"{self.name} was not measured: {reasons.get(self.name, 'nothing to compare with')}"
        if 2 * len(values) < len(numbers):
            return f"{self.name} was measured in {len(values)} of {len(numbers)} videos"
        value = statistics.median(values if self.signed else map(abs, values))
        if _OPERATORS[self.sign](value, self.bound):
            return None
        beside = "" if self.signed else " away from 0"
        return f"{self.name} is {value:.3f}{beside}, required {self.sign} {self.bound:g}"


def read_threshold(text: str, measures: Mapping[str, Measure]) -> Threshold:
    """Read `NAME>=NUMBER`. Of numbers that are good near 0, `<=` and `<` mean the distance from 0.

    Raises:
        SettingsError: it has another form, or there is no such measure.
    """
    match = re.fullmatch(r"\s*([a-z0-9_.]+)\s*(>=|<=|>|<)\s*([-+]?[0-9.]+)\s*", text)
    if match is None:
        raise SettingsError(f"'{text}' is no requirement", "for example --require 'lips.correlation>=0.6'")
    if match[1] not in measures:
        close = difflib.get_close_matches(match[1], measures, n=1)
        raise SettingsError(
            f"there is no measure '{match[1]}'", f"did you mean {close[0]}?" if close else "see report.html"
        )
    try:
        signed = measures[match[1]].better != "zero" or match[2].startswith(">")
        return Threshold(match[1], match[2], float(match[3]), signed)
    except ValueError as error:
        raise SettingsError(f"'{match[3]}' in '{text}' is no number", "for example 0.6") from error
