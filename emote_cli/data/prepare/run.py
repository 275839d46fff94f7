"""A folder in, a data set out: maps `prepare_video` or `prepare_still` over all of it, and goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from emote_cli.data import layout
from emote_cli.data.manifest import ClipRecord, check_id, from_dict, write_records
from emote_cli.data.prepare import filters
from emote_cli.data.prepare.layouts import find_sources
from emote_cli.data.prepare.report import write_report
from emote_cli.data.prepare.settings import PrepareSettings
from emote_cli.data.prepare.sources import Layout, Source
from emote_cli.data.prepare.still import prepare_still
from emote_cli.data.prepare.video import Work, blank_record, prepare_video, reject
from emote_cli.errors import EmoteError, OutputError
from emote_cli.files import only_writer, write_file
from emote_cli.jobs.spread import spread

_BOOKS_EVERY_S = 60.0
"""The manifest of an unfinished run is brought up to date this often."""


@dataclass(frozen=True, slots=True)
class PreparePlan:
    """What a run will do.

    Attributes:
        folder: where the videos are.
        work: where the clips go, and how they are made.
        sources: all videos and stills, sorted by id.
        workers: processes; ignored with `ray`.
        ray: address of a Ray cluster, `local`, or None.
    """

    folder: Path
    work: Work
    sources: list[Source]
    workers: int = 1
    ray: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        done: files finished, with those of earlier runs.
        total: files in all.
        accepted: clips accepted so far.
        rejected: clips rejected so far.
        accepted_s: seconds of accepted clips.
        resumed: files that an earlier run had finished.
    """

    done: int
    total: int
    accepted: int
    rejected: int
    accepted_s: float
    resumed: int


def plan(
    folder: Path,
    dataset_dir: Path,
    settings: PrepareSettings,
    face_model: Path,
    *,
    layout: Layout = "auto",
    workers: int = 1,
    ray: str | None = None,
) -> PreparePlan:
    """Check input and output, and list the videos and stills; writes nothing.

    Args:
        folder: where the videos are.
        dataset_dir: where the clips go.
        settings: how they are cut and filtered.
        face_model: file of the face detector.
        layout: how the folder is arranged; "auto" finds out.
        workers: processes; ignored with `ray`.
        ray: address of a Ray cluster, "local", or None.

    Raises:
        InputError: no folder, nothing to prepare.
        OutputError: the data set lies in the input folder, or is a file.
    """
    sources = find_sources(folder, layout)
    if dataset_dir.resolve().is_relative_to(folder.resolve()):
        raise OutputError(
            f"the data set {dataset_dir} lies inside the input folder {folder}",
            hint="choose a folder outside it: the next run would take the clips for new videos",
        )
    if dataset_dir.exists() and not dataset_dir.is_dir():
        raise OutputError(f"{dataset_dir} is a file", hint="name a folder for the data set")
    return PreparePlan(folder, Work(dataset_dir.resolve(), settings, face_model), sources, workers, ray)


def run(todo: PreparePlan) -> Generator[Progress, None, None]:
    """Prepare every video that no earlier run with the same settings has finished.

    Yields:
        Progress, once at the start and after each video.

    Raises:
        OutputError: the data set cannot be written, or another run is writing it.
    """
    work = todo.work
    layout.make_folders(work.dataset_dir)
    with only_writer(layout.lock_path(work.dataset_dir), work.dataset_dir):
        layout.remove_parts(work.dataset_dir)
        try:
            yield from _prepare(todo)
        except BaseException:
            layout.remove_parts(work.dataset_dir)  # of workers that had to be killed
            raise


def _prepare(todo: PreparePlan) -> Iterator[Progress]:
    work = todo.work
    finished = {s.id: records for s in todo.sources if (records := _finished(s, work)) is not None}
    tally = _Tally(len(todo.sources), len(finished))
    for records in finished.values():
        tally.add(records)
    yield tally.progress()
    kept_books = time.monotonic()
    for source, records in _results(todo, [s for s in todo.sources if s.id not in finished]):
        finished[source.id] = records
        tally.add(records)
        if time.monotonic() - kept_books > _BOOKS_EVERY_S:
            _keep_books(work, finished)
            kept_books = time.monotonic()
        yield tally.progress()
    records = _keep_books(work, finished)
    write_report(work.dataset_dir, records, work.settings)


@dataclass(slots=True)
class _Tally:
    """Counts as results come in."""

    total: int
    resumed: int
    done: int = 0
    accepted: int = 0
    rejected: int = 0
    accepted_s: float = 0.0

    def add(self, records: list[ClipRecord]) -> None:
        good = [record for record in records if record.reason is None]
        self.done += 1
        self.accepted += len(good)
        self.rejected += len(records) - len(good)
        self.accepted_s += sum(record.seconds for record in good)

    def progress(self) -> Progress:
        return Progress(self.done, self.total, self.accepted, self.rejected, self.accepted_s, self.resumed)


def _results(todo: PreparePlan, sources: list[Source]) -> Iterator[tuple[Source, list[ClipRecord]]]:
    """What becomes of each source. One that fails is no stop, and is tried again by the next run."""
    job = _Job(todo.work)
    answers = spread(job, sources, max(1, min(todo.workers, len(sources))), todo.ray)
    with contextlib.closing(answers):
        for source, answer in answers:
            if isinstance(answer, EmoteError):
                raise answer
            if isinstance(answer, BaseException):
                detail = f"{type(answer).__name__}: {answer}"
                yield source, [reject(blank_record(source, todo.work.settings), filters.FAILED, detail)]
            else:
                yield source, answer


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker does with one source: prepare it, and write down that it is done."""

    work: Work

    def __call__(self, source: Source) -> list[ClipRecord]:
        _forget(source, self.work)
        records = (prepare_still if source.is_still else prepare_video)(source, self.work)
        _remember(source, self.work, records)
        return records


# ------------------------------------------------------------------------------- what earlier runs have done


def _state_path(source: Source, work: Work) -> Path:
    return layout.state_path(work.dataset_dir, source.id)


def _identity(source: Source, work: Work) -> dict[str, Any]:
    """What must be the same for an earlier result to hold."""
    status = source.path.stat() if source.path.is_file() else None
    return {
        "settings": work.settings.hash,
        "source": json.loads(json.dumps(asdict(replace(source, path=Path(source.name))), default=str)),
        "bytes": status.st_size if status else None,
        "mtime_ns": status.st_mtime_ns if status else None,
    }


def _remember(source: Source, work: Work, records: list[ClipRecord]) -> None:
    state = {**_identity(source, work), "records": [asdict(record) for record in records]}
    write_file(_state_path(source, work), lambda file: file.write(json.dumps(state).encode()))


def _finished(source: Source, work: Work) -> list[ClipRecord] | None:
    """The records of an earlier run, if they still hold."""
    state = _read_state(_state_path(source, work))
    if state is None or any(state.get(key) != value for key, value in _identity(source, work).items()):
        return None
    try:
        records = [from_dict(values) for values in state["records"]]
    except (TypeError, ValueError, AttributeError):
        return None  # foreign: the video is prepared again
    return records if all(_whole(record, work.dataset_dir) for record in records) else None


def _whole(record: ClipRecord, dataset_dir: Path) -> bool:
    if record.reason is not None:
        return True
    paths = [layout.clip_path, layout.track_path, *([layout.audio_path] if record.has_audio else [])]
    return all(path(dataset_dir, record.id).is_file() for path in paths)


def _read_state(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None  # damaged: the video is prepared again
    return state if isinstance(state, dict) and isinstance(state.get("records"), list) else None


def _forget(source: Source, work: Work) -> None:
    """Remove what an earlier run with other settings, or of another file, has made of this video."""
    path = _state_path(source, work)
    for record in (_read_state(path) or {}).get("records", []):
        with contextlib.suppress(TypeError, KeyError, ValueError):
            layout.remove_clip(work.dataset_dir, check_id(record["id"]))
    path.unlink(missing_ok=True)


def _keep_books(work: Work, finished: dict[str, list[ClipRecord]]) -> list[ClipRecord]:
    records = sorted((r for rows in finished.values() for r in rows), key=lambda record: record.id)
    write_records(work.dataset_dir / layout.MANIFEST, (r for r in records if r.reason is None))
    write_records(work.dataset_dir / layout.REJECTED, (r for r in records if r.reason is not None))
    return records
