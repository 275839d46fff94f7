"""What a video must reach: `lips.correlation>=0.6`, `seams<=1.1`."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from emote_cli.errors import SettingsError

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
    """

    name: str
    sign: str
    bound: float

    def failure(self, numbers: Mapping[str, float], reasons: Mapping[str, str]) -> str | None:
        """What is wrong, in a line; None where the bound is kept. What was not measured is not kept."""
        if self.name not in numbers:
            return f"{self.name} was not measured: {reasons.get(self.name, 'nothing to compare with')}"
        value = numbers[self.name]
        if _OPERATORS[self.sign](value, self.bound):
            return None
        return f"{self.name} is {value:.3f}, required {self.sign} {self.bound:g}"


def read_threshold(text: str, names: Collection[str]) -> Threshold:
    """Read `NAME>=NUMBER`.

    Raises:
        SettingsError: it has another form, or there is no such measure.
    """
    match = re.fullmatch(r"\s*([a-z0-9_.]+)\s*(>=|<=|>|<)\s*([-+]?[0-9.]+)\s*", text)
    if match is None:
        raise SettingsError(f"'{text}' is no requirement", "for example --require 'lips.correlation>=0.6'")
    if match[1] not in names:
        close = difflib.get_close_matches(match[1], names, n=1)
        raise SettingsError(
            f"there is no measure '{match[1]}'", f"did you mean {close[0]}?" if close else "see report.html"
        )
    try:
        return Threshold(match[1], match[2], float(match[3]))
    except ValueError as error:
        raise SettingsError(f"'{match[3]}' in '{text}' is no number", "for example 0.6") from error
