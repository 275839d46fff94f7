"""Which clips of a prepared data set are trained on, how often each, and which are held out."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from pydantic import Field

from emote_cli.data.layout import MANIFEST
from emote_cli.data.manifest import ClipRecord, read_records
from emote_cli.data.parts import unpack
from emote_cli.errors import DataError, InputError, SettingsError
from emote_cli.settings_tree import Settings, read_yaml

HELD_OUT = "heldout"
"""The part of a split whose clips nothing is trained on."""

THE_REST = "all other"
"""A part of a split that begins so ("all other files") means every clip that no other part lists."""


class DataSettings(Settings):
    """Which clips are read, and how. Clips are named by id, source, or a pattern (`*.mpg`) over either."""

    retired: ClassVar[dict[str, Any]] = {"steady": False}

    split: str | None = Field(
        None, description="JSON or YAML file with lists of clips under train, heldout, ..."
    )
    part: str = Field("train", description="the lists of the split to train on, at any depth of the file")
    held_out: str = Field(HELD_OUT, description="the lists to make validation videos of")
    include: tuple[str, ...] = Field(
        (), description="clips to train on besides the split's (or the only ones)"
    )
    exclude: tuple[str, ...] = Field((), description="clips never to train on")
    weights: dict[str, float] = Field(
        default_factory=dict, description="clip -> factor on how often it is drawn"
    )
    portraits: int = Field(
        2, gt=0, description="frames of each clip, and of each copy, that its motion latents are seen from"
    )
    hold_heads: bool = Field(
        True,
        description="motion latents hold the head as the portrait holds it; false: they tell where it goes, too",
    )
    variants: int = Field(
        0,
        ge=0,
        description="altered copies of each clip: mirrored, moved, other colors, sounds and tempo; not in stage vae",
    )
    cache: Literal["memory", "disk", "off"] = Field(
        "memory",
        description="latents: all in memory, read when needed, or encoded anew from the video each time",
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """The clips of a run.

    Attributes:
        train: to be trained on.
        weights: how often each of them is drawn, relative to the others and per frame.
        held_out: for validation.
    """

    train: list[ClipRecord]
    weights: list[float]
    held_out: list[ClipRecord]

    def weights_of(self, records: list[ClipRecord]) -> list[float]:
        """The weights of some of the clips that are trained on, in the order of these."""
        weights = {record.id: weight for record, weight in zip(self.train, self.weights, strict=True)}
        return [weights[record.id] for record in records]


def names_of(record: ClipRecord) -> set[str]:
    """List what a clip may be called: its id, its source, the source's file name with and without suffix."""
    source = PurePosixPath(record.source)
    return {record.id, record.source, source.name, source.stem}


def matches(record: ClipRecord, patterns: Sequence[str]) -> bool:
    """Whether one of the names or patterns means this clip."""
    return any_means(patterns, names_of(record))


def any_means(patterns: Sequence[str], names: Collection[str]) -> bool:
    """Whether one of the names or patterns means something that goes by these names."""
    return any(
        name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names
    )


def is_held_out(names: Collection[str], lists: Mapping[str, Sequence[str]], part: str = HELD_OUT) -> bool:
    """Whether a split holds something of these names out: its part lists it, or all that no other part lists.

    Args:
        names: what it may be called.
        lists: from `read_split`.
        part: the lists that count.
    """
    patterns = lists.get(part, ())
    others = [each for name, wanted in lists.items() if name != part for each in wanted if each != "*"]
    return any_means(patterns, names) and not ("*" in patterns and any_means(others, names))


def read_split(path: Path) -> dict[str, list[str]]:
    """Lists of a split file by their last key, `train` or `synth: {train: ...}` alike.

    A name or pattern may stand alone, without a list; "all other files" means what no other part lists.

    Raises:
        InputError: the file is missing or neither JSON nor YAML.
    """
    try:
        content = read_yaml(path, 'give JSON or YAML, for example {"train": ["clip1", "*.mpg"]}')
    except SettingsError as error:
        raise InputError(f"cannot read the split: {error.message}", error.hint) from error
    lists: dict[str, list[str]] = {}
    try:
        for key, entries in _lists(content):
            lists.setdefault(key, []).extend(entries)
    except RecursionError as error:
        raise InputError(f"cannot read the split: {path} refers to itself", "give plain lists") from error
    return lists


def _lists(content: Any) -> Iterator[tuple[str, list[str]]]:
    if isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, list):
                yield str(key), [str(entry) for entry in value]
            elif isinstance(value, str):
                yield str(key), ["*" if value.casefold().startswith(THE_REST) else value]
            else:
                yield from _lists(value)


def read_dataset(folder: Path) -> list[ClipRecord]:
    """Read the clips that `emote prepare` accepted; parts of a data set that lie there are unpacked first.

    Raises:
        DataError: the folder is no prepared data set, an empty one, or a part is damaged.
        OutputError: parts cannot be unpacked there.
    """
    unpack(folder)
    hint = f"make one: emote prepare VIDEOS {folder}"
    if not (folder / MANIFEST).is_file():
        raise DataError(f"{folder} is no prepared data set: it holds no {MANIFEST}", hint)
    records = [record for record in read_records(folder / MANIFEST) if record.reason is None]
    if not records:
        raise DataError(f"the data set {folder} holds no clip", hint)
    return records


def select(records: list[ClipRecord], settings: DataSettings) -> Selection:
    """Divide the clips of a data set.

    Without a split and without `include` all clips train. What the split lists under any other part never
    does.

    Raises:
        DataError: nothing is left to train on.
        InputError: the split file cannot be read.
    """
    lists = read_split(Path(settings.split)) if settings.split else {}
    wanted = [*lists.get(settings.part, []), *settings.include]
    others = [name for part, names in lists.items() if part != settings.part for name in names if name != "*"]
    barred = [*others, *settings.exclude]
    everything = not settings.split and not settings.include
    train = [r for r in records if (everything or matches(r, wanted)) and not matches(r, barred)]
    if not train:
        raise DataError(
            f"none of the {len(records)} clips is selected for training",
            f"check data.split, data.include, data.exclude; clips are named like {json.dumps(records[0].id)}",
        )
    held_out = [r for r in records if r.frames > 1 and is_held_out(names_of(r), lists, settings.held_out)]
    return Selection(train, [weight_of(r, settings.weights) for r in train], held_out)


def weight_of(record: ClipRecord, weights: dict[str, float]) -> float:
    """Compute a clip's weight: the factors of all patterns that mean it, times its length in frames."""
    factor = 1.0
    for pattern, value in weights.items():
        factor *= value if matches(record, [pattern]) else 1.0
    return factor * record.frames


def check_fits(records: list[ClipRecord], fps: int, needs_sound: bool) -> list[ClipRecord]:
    """Keep the clips that a stage can use.

    Args:
        records: of the clips.
        fps: of the model.
        needs_sound: whether the stage needs sound; then clips without it are left out.

    Raises:
        DataError: the data set was prepared for another frame rate, or no clip has sound and the stage needs
            it.
    """
    foreign = next((record for record in records if record.fps != fps), None)
    if foreign is not None:
        raise DataError(
            f"clip {foreign.id} has {foreign.fps:g} frames per second, the model works at {fps}",
            f"prepare the data set again with --fps {fps}",
        )
    usable = [record for record in records if record.has_audio or not needs_sound]
    if not usable:
        raise DataError(
            "no clip has sound, which this stage needs", "prepare the data set without --no-audio"
        )
    return usable
