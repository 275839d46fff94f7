"""Many jobs with one model: a table or a folder of them; one that fails does not stop the others."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emote_cli.animation.declare import declared, read_value
from emote_cli.animation.job import OPTIONS, Job
from emote_cli.animation.metadata import inputs_and_settings, job_like, read_making
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.render import check, render, tuning_of
from emote_cli.errors import EmoteError, InputError, SettingsError

COLUMNS = ("portrait", "audio", "output", *declared(AnimateOptions))
"""What a row may say; portrait and audio it must."""

_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic")
_SOUNDS = (".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".aac", ".mp4", ".mov", ".webm")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one job.

    Attributes:
        output: the video.
        state: "made", "there" (finished before) or "failed".
        error: why it failed.
    """

    output: Path
    state: str
    error: EmoteError | None = None


def read_batch(path: Path) -> list[dict[str, Any]]:
    """Read a CSV table (with a head), JSON lines, or a folder of equally named pictures and sounds.

    Paths are meant from the table's folder; an output is named after picture and sound where none is given.

    Raises:
        InputError: nothing is there, or a row is wrong.
    """
    if not path.exists():
        raise InputError(f"batch {path} does not exist", hint="name a .csv or .jsonl table, or a folder")
    if path.is_dir():
        rows: list[Mapping[str, Any]] = list(_pairs(path))
    else:
        rows = _table(path)
    if not rows:
        raise InputError(f"batch {path} holds no job", hint="a row names a portrait and an audio file")
    folder = path if path.is_dir() else path.parent
    return [_job_values(row, folder, f"{path}, job {number}") for number, row in enumerate(rows, 1)]


def _pairs(folder: Path) -> Iterator[Mapping[str, Any]]:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    sounds = {file.stem: file.name for file in reversed(files) if file.suffix.lower() in _SOUNDS}
    for file in files:
        if file.suffix.lower() in _PICTURES and file.stem in sounds:
            yield {"portrait": file.name, "audio": sounds[file.stem]}


def _table(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            return list(csv.DictReader(text.splitlines()))
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, csv.Error) as error:
        raise InputError(f"batch {path} cannot be read: {error}", hint="give CSV or JSON lines") from error
    if not all(isinstance(row, dict) for row in rows):
        raise InputError(f"batch {path} holds lines that are no JSON object", hint='{"portrait": ..., ...}')
    return rows


def _job_values(row: Mapping[str, Any], folder: Path, place: str) -> dict[str, Any]:
    given = {key: value for key, value in row.items() if value not in (None, "")}
    foreign = [str(key) for key in given if key not in COLUMNS]
    missing = [key for key in ("portrait", "audio") if key not in given]
    if foreign or missing:
        what = f"{foreign[0]} is unknown" if foreign else f"{missing[0]} is missing"
        raise InputError(f"{place}: {what}", hint=f"known: {', '.join(COLUMNS)}")
    try:
        values = {key: read_value(OPTIONS[key], str(value)) for key, value in given.items() if key in OPTIONS}
    except SettingsError as error:
        raise InputError(f"{place}: {error.message}", hint=error.hint) from error
    portrait, audio = (folder / str(given[key]) for key in ("portrait", "audio"))
    name = given.get("output") or f"{portrait.stem}.{audio.stem}.mp4"
    return {**values, "portrait": portrait, "audio": audio, "output": str(name)}


@dataclass(frozen=True, slots=True)
class MakeOne:
    """The function from a row of a batch to what became of it; the same here and on a cluster.

    Attributes:
        base: values of all jobs, as for `job_like`; its output is the folder to write to (None is here).
        like: settings of all jobs come from this video.
        named: which of the values were given by the user.
        on_frame: called with the number of frames just written.
    """

    base: Mapping[str, Any]
    like: Path | None = None
    named: frozenset[str] = frozenset()
    on_frame: Callable[[int], object] = field(default=int)

    def __call__(self, row: Mapping[str, Any]) -> Outcome:
        """Make one video, unless it is there."""
        output = (self.base.get("output") or Path()) / row["output"]
        try:
            job = job_like(self.like, {**self.base, **row, "output": output}, {*self.named, *row})
            if _is_finished(job):
                return Outcome(output, "there")
            plan = check(job)
            animator = loaded(plan.model, job.device, job.dtype, tuning_of(plan))
            return Outcome(render(plan, self.on_frame, animator), "made")
        except EmoteError as error:
            return Outcome(output, "failed", error)

    def anywhere(self) -> MakeOne:
        """The same with paths that are right in any folder of any machine that sees the same files."""
        base = {**self.base, "output": (self.base.get("output") or Path()).resolve()}
        if Path(str(base.get("model"))).exists():
            base["model"] = str(Path(str(base["model"])).resolve())
        return replace(self, base=base, like=self.like and self.like.resolve())


@functools.lru_cache(maxsize=1)
def loaded(model: Path | str, device: str, dtype: str, tuning: Any) -> Any:
    """The model, loaded once for jobs that follow each other in a process; `loaded.cache_clear()` forgets it."""
    from emote_cli.animation.animate import Animator

    return Animator.load(model, device=device, dtype=dtype, tuning=tuning)


def _is_finished(job: Job) -> bool:
    """Whether the output is there, made with the same settings from the same inputs."""
    if not job.output.exists() or job.force or not (job.portrait.is_file() and job.audio.is_file()):
        return False
    try:
        made = read_making(job.output)
    except InputError:
        return False
    wanted = inputs_and_settings(job)
    return all(made.get(key) == value for key, value in wanted.items())
