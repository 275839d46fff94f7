"""An option is declared once: a dataclass field with its type, default, range and help.

The command makes its parameters from the declarations, tables and `--like` read by them, and every value is checked by
them, whoever gives it. No torch, no numpy: `--help` reads this.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from fractions import Fraction
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

from emote_cli.errors import SettingsError

Panel = Literal["Output", "Motion", "Sound", "Model", "Many jobs"]
"""Groups of options in `--help`, in this order."""

_KEY = "option"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is said of an option beside its name, type and default.

    Attributes:
        help: one sentence.
        panel: where `--help` lists it; None: the command does not have it.
        least: the smallest number.
        above: a number that is already too small.
        most: the largest number.
        even: whether odd numbers are refused.
        flags: names on the command line; empty: `--name`.
        metavar: stands for the value in `--help`; empty: the type.
        read: turns text into a value where the type does not say how.
        repeatable: whether a video remembers it, and `--like` takes it over.
        later: whether the first version did not have it: a video remembers it only where it is set.
    """

    help: str
    panel: Panel | None = None
    least: float | None = None
    above: float | None = None
    most: float | None = None
    even: bool = False
    flags: tuple[str, ...] = ()
    metavar: str = ""
    read: Callable[[str], Any] | None = None
    repeatable: bool = False
    later: bool = False

    def range_text(self) -> str:
        """The range in words, as `0 to 2`; empty where any number will do."""
        parity = "an even number, " if self.even else ""
        low = f"above {self.above:g}" if self.above is not None else f"{self.least or 0:g}"
        if self.most is None:
            return "" if self.least is None and self.above is None else f"{parity}{low} or more"
        return f"{parity}{low} to {self.most:g}"

    def holds(self, number: Any) -> bool:
        """Whether a number is in the range."""
        return (
            (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.most is None or number <= self.most)
        )


def option(default: Any, help: str, panel: Panel | None = None, **more: Any) -> Any:
    """Declare an option: the default of a dataclass field; see `Option` for what more can be said."""
    return field(default=default, metadata={_KEY: Option(help=help, panel=panel, **more)})


def list_options(*kinds: type) -> dict[str, Field[Any]]:
    """List the options that dataclasses declare, by name."""
    return {each.name: each for kind in kinds for each in fields(kind) if _KEY in each.metadata}


def option_of(declaration: Field[Any]) -> Option:
    """What is said of a declared option."""
    said: Option = declaration.metadata[_KEY]
    return said


class Options:
    """Base of dataclasses that declare options: whoever makes one, its values are checked.

    Values that an option's `read` understands are turned into what they mean.

    Raises:
        SettingsError: a value has the wrong type or is out of range.
    """

    __slots__ = ()
    __no_type_check__: ClassVar[bool] = True  # the tests' type checker would be faster than `check_options`

    def __post_init__(self) -> None:
        check_options(self)


def check_options(settings: Any) -> None:
    """Check every option of a dataclass; values that `read` understands are replaced.

    Raises:
        SettingsError: a value has the wrong type or is out of range.
    """
    for name, declaration in list_options(type(settings)).items():
        value = check_value(declaration, getattr(settings, name))
        object.__setattr__(settings, name, value)


def check_value(declaration: Field[Any], value: Any) -> Any:
    """Check the value of an option, and give it back as the option takes it.

    Raises:
        SettingsError: it has the wrong type or is out of range.
    """
    name, said = declaration.name, option_of(declaration)
    if said.read is not None and not accepts(declaration.type, value):
        value = said.read(str(value))
    if not accepts(declaration.type, value):
        raise SettingsError(f"{name} is {value!r}, not {describe(declaration.type)}", hint=_hint(name, said))
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    if not isinstance(value, Fraction):  # numpy's numbers, say
        value = int(value) if isinstance(value, Integral) else float(value)
    if said.even and value % 2:
        raise SettingsError(f"{name} {value} is odd", hint=f"give an even number: {value - 1} or {value + 1}")
    if not said.holds(value):
        raise SettingsError(f"{name} is {value}: out of range", hint=f"{name}: {said.range_text()}")
    return value


def read_value(declaration: Field[Any], text: str) -> Any:
    """Read the value that a text stands for (in a table, say), and check it.

    Raises:
        SettingsError: it stands for none, or is out of range.
    """
    return check_value(declaration, _from_text(declaration.type, text))


def _from_text(kind: Any, text: str) -> Any:
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if int in parts and re.fullmatch(r"[+-]?\d{1,30}(\.0*)?", text):  # tables of programs say 1.0
        return int(text.partition(".")[0])
    if float in parts:
        try:
            return float(text)
        except ValueError:
            return text
    if bool in parts:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
            text.lower(), text
        )
    return text


def accepts(kind: Any, value: Any) -> bool:
    """Whether a value is of a declared type; numbers are finite, and truth values are no numbers."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return any(accepts(part, value) for part in get_args(kind))
    if origin is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if origin is tuple:
        parts = get_args(kind)
        return (
            isinstance(value, tuple)
            and len(value) == len(parts)
            and all(accepts(part, one) for part, one in zip(parts, value, strict=True))
        )
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, NoneType if kind is None else kind)


def describe(kind: Any) -> str:
    """Describe a declared type in words."""
    parts = [part for part in get_args(kind) if part is not NoneType]
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(describe(part) for part in parts)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(part) for part in parts)
    if get_origin(kind) is tuple:
        return f"{len(parts)} numbers"
    words = {int: "a whole number", float: "a number", bool: "true or false", Fraction: "a frame rate"}
    return words.get(kind, "a text")


def _hint(name: str, said: Option) -> str:
    return f"{name}: {said.range_text() or said.help}"


def split_values(values: Mapping[str, Any], *kinds: type) -> list[dict[str, Any]]:
    """Choose from some values those that each of several dataclasses declares."""
    return [{name: values[name] for name in list_options(kind) if name in values} for kind in kinds]
