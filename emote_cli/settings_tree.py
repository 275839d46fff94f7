"""Settings of any kind: a tree of typed keys, how files and `--set` fill it, and what is said of a wrong key."""

from __future__ import annotations

import difflib
import warnings
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from emote_cli.errors import SettingsError

S = TypeVar("S", bound="Settings")

_LARGEST_FILE = 64 << 20


class Settings(BaseModel):
    """Base: frozen, and no key is accepted that is not declared.

    Attributes:
        retired: keys that older files hold and that mean nothing any more, with the value at which they never did.
            Any other value is told by a warning.
        moved: keys that older files hold -> where they are now, as `aids.smoothing`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    retired: ClassVar[dict[str, Any]] = {}
    moved: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _read_old_form(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not (cls.retired.keys() | cls.moved.keys()) & values.keys():
            return values
        values = dict(values)
        for name in cls.moved.keys() & values.keys():
            group, _, leaf = cls.moved[name].partition(".")
            values[group] = {leaf: values.pop(name), **values.get(group, {})}
        for name in cls.retired.keys() & values.keys():
            warn_if_retired(cls, name, values[name])
        return {name: value for name, value in values.items() if name not in cls.retired}


class RetiredSetting(UserWarning):
    """A settings file or an assignment holds a key that has no effect any more."""


def warn_if_retired(kind: type[Settings], name: str, value: Any) -> None:
    """Tell that a retired key is passed over, unless its value never meant anything.

    Args:
        kind: the settings that the key once belonged to.
        name: of the key.
        value: that a file or an assignment gives.
    """
    if value != kind.retired[name]:
        text = f"the setting {name}={value!r} has no effect any more and is passed over"
        warnings.warn(text, RetiredSetting, stacklevel=1)


def read_yaml(path: Path, hint: str) -> Any:
    """Read the content of a YAML or JSON file of any origin.

    Raises:
        SettingsError: it cannot be read, is no YAML, too large, or nested too deeply; `hint` says what to do.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise SettingsError(f"{path} is too large: {path.stat().st_size >> 20} MB", hint)
        if not path.is_file():
            raise SettingsError(f"{path} is no file", hint)
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}", hint) from error
    except RecursionError as error:
        raise SettingsError(f"{path} is nested too deeply", hint) from error
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{path} is not a settings file: it is no YAML", hint) from error


def save_settings(settings: Settings, path: Path) -> None:
    """Write every value, defaults included, as YAML."""
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))


def parse_settings(kind: type[S], values: Any, source: str) -> S:
    """Validate a plain mapping.

    Args:
        kind: what to make of it.
        values: a mapping of keys, as YAML gives it; anything else is an error.
        source: where the values come from, for the error.

    Raises:
        SettingsError: names the first bad key and, for an unknown key, the nearest known one.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        given = first["input"] if isinstance(first["input"], str | int | float) else None
        named = (key[:80] or "settings") + ("" if given is None else f" = {str(given)[:60]}")
        unknown = first["type"] == "extra_forbidden"
        hint = suggest_key(kind, key) if unknown else describe_key(kind, key)
        raise SettingsError(f"{source}: {named}: {first['msg']}", hint) from error


def override(settings: S, assignments: list[str]) -> S:
    """Apply `a.b=value` assignments (YAML values) and validate again.

    Raises:
        SettingsError: for a malformed assignment, an unknown key or a value out of range.
    """
    kind, values = type(settings), settings.model_dump(mode="json")
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise SettingsError(f"'{assignment}' is not key=value", "for example --set learning_rate=2e-5")
        key = kind.moved.get(key, key)
        *groups, leaf = key.split(".")
        target = values
        for group in groups:
            inner = target.get(group)
            if not isinstance(inner, dict):
                raise SettingsError(f"unknown setting '{key}'", suggest_key(kind, key))
            target = inner
        if leaf not in target and not is_retired(kind, key):
            raise SettingsError(f"unknown setting '{key}'", suggest_key(kind, key))
        target[leaf] = read_value(key, text)
    return parse_settings(kind, values, "--set")


def read_value(key: str, text: str) -> Any:
    """Read the value of an assignment as YAML; only `true` and `false` are truths: `off` and `no` are words.

    Raises:
        SettingsError: it is no YAML.
    """
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"cannot read the value of {key}: {text[:60]}", "put quotes around a value that has : # { or ["
        ) from error
    return text if isinstance(value, bool) and text.strip().lower() not in ("true", "false") else value


def describe_key(kind: type[Settings], key: str) -> str:
    """Make a hint that says what a dotted key sets."""
    name, _, rest = key.partition(".")
    field = kind.model_fields.get(name)
    if field is None:
        return name_home(kind)
    inner = field.annotation
    if rest and isinstance(inner, type) and issubclass(inner, Settings):
        return describe_key(inner, rest)
    return f"{name}: {field.description}" if field.description else f"give {name} another value"


def suggest_key(kind: type[Settings], key: str) -> str:
    """Make a hint that names the known key closest to a dotted one that is unknown."""
    close = difflib.get_close_matches(key, list_keys(kind), n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else name_home(kind)


def name_home(kind: type[Settings]) -> str:
    """Make a hint that names the file which declares these settings."""
    return f"see {kind.__module__.replace('.', '/')}.py for every key"


def list_keys(kind: type[Settings], prefix: str = "") -> list[str]:
    """List all keys of a settings tree, as `diffusion.steps`."""
    keys: list[str] = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            keys += list_keys(inner, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys


def is_retired(kind: type[Settings], key: str) -> bool:
    """Tell whether a dotted key was one of the settings before."""
    name, _, rest = key.partition(".")
    field = kind.model_fields.get(name)
    if not rest or field is None:
        return not rest and name in kind.retired
    inner = field.annotation
    return isinstance(inner, type) and issubclass(inner, Settings) and is_retired(inner, rest)
