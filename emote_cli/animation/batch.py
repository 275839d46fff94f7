"""Many jobs with one model: a table or a folder of them; one that fails does not stop the others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emote_cli.animation.job import Job
from emote_cli.animation.provenance import inputs_and_settings, is_same_making, job_like, read_making
from emote_cli.animation.render import check, number_faces, render, tuning_of
from emote_cli.animation.table import Row, resolve_paths
from emote_cli.errors import EmoteError, InputError, OutputError
from emote_cli.jobs.ray import map_jobs_ray
from emote_cli.zoo.locate import resolve_model


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one job.

    Attributes:
        output: the video.
        state: "made", "there" (finished before) or "failed".
        place: where its row stands.
        error: why it failed.
        warnings: what may make the video poor, a line each.
    """

    output: Path
    state: str
    place: str = ""
    error: EmoteError | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MakeOne:
    """The function from a row of a batch to what became of it; the same here and on a cluster.

    Attributes:
        base: values of all jobs, as for `job_like`; its output is the folder to write to (None is here).
        like: settings of all jobs come from this video.
        named: which of the values were given by the user.
        anywhere: whether outputs may lie outside of that folder.
        places: where models lie on any machine, by what the user calls them; a video's making holds the latter.
        on_frame: called with the number of frames just written.
    """

    base: Mapping[str, Any]
    like: Path | None = None
    named: frozenset[str] = frozenset()
    anywhere: bool = False
    places: Mapping[str, str] = field(default_factory=dict)
    on_frame: Callable[[int], object] = field(default=int)

    def __call__(self, row: Row) -> Outcome:
        """Make one video, unless it is there; nothing that goes wrong with it goes any further."""
        output = self._output(row)
        try:
            if row.error is not None:
                raise row.error
            self._check_inside(output)
            values = {**row.values, "output": output}
            job = job_like(self.like, {**self.base, **values}, {*self.named, *values})
            if _is_finished(job):
                return Outcome(output, "there")
            plan = check(replace(job, model=self.places.get(job.model, job.model)))
            plan = replace(plan, job=job)
            number_faces(plan)
            animator = load_once(plan.model, job.device, job.dtype, tuning_of(plan))
            return Outcome(render(plan, self.on_frame, animator), "made", warnings=plan.warnings)
        except EmoteError as error:
            return Outcome(output, "failed", row.place, error)
        except Exception as error:
            what = f"{type(error).__name__}: {str(error)[:200]}"
            return Outcome(output, "failed", row.place, EmoteError(what, hint="please report this"))

    def _folder(self) -> Path:
        return self.base.get("output") or Path()

    def _output(self, row: Row) -> Path:
        return self._folder() / str(row.values.get("output", "video.mp4"))

    def _check_inside(self, output: Path) -> None:
        """A table from elsewhere writes into the folder that the user names, and nowhere else."""
        folder = self._folder()
        inside = (output.parent.resolve() / output.name).is_relative_to(folder.resolve())
        if not (self.anywhere or (inside and output.name != "..")):
            raise OutputError(
                f"output {output} lies outside of {folder}",
                hint="--outputs-anywhere allows it for this table",
            )

    def on_any_machine(self) -> MakeOne:
        """Copy it with paths that are right in any folder of any machine that sees the same files."""
        base = {**self.base, "output": (self.base.get("output") or Path()).resolve()}
        places = {model: resolve_model(model) for model in (base.get("model"),) if model is not None}
        return replace(self, base=base, like=self.like and self.like.resolve(), places=places)


def make_all(
    rows: list[Row], make: MakeOne, ray: str | None, on_frames: Callable[[int], object]
) -> Iterator[Outcome]:
    """Make every row's video, one after the other here, or on a cluster.

    Args:
        rows: of the table.
        make: makes one.
        ray: address of the cluster; None: this process.
        on_frames: called with the number of frames written so far, in this process.

    Yields:
        What became of each row; from a cluster in the order in which they are done.
    """
    if ray is not None:
        yield from _make_on_cluster(rows, make, ray)
        return
    written = 0

    def count(frames: int) -> None:
        nonlocal written
        written += frames
        on_frames(written)

    try:
        yield from map(replace(make, on_frame=count), rows)
    finally:
        load_once.cache_clear()


def _make_on_cluster(rows: list[Row], make: MakeOne, ray: str) -> Iterator[Outcome]:
    jobs, gpu = [resolve_paths(row) for row in rows], make.base["device"] != "cpu"
    for row, answer in map_jobs_ray(make.on_any_machine(), jobs, ray, gpu=gpu):
        if isinstance(answer, BaseException):
            error = answer if isinstance(answer, EmoteError) else EmoteError(f"the worker failed: {answer}")
            yield Outcome(Path(), "failed", row.place, error)
        else:
            yield answer


@functools.lru_cache(maxsize=1)
def load_once(model: Path | str, device: str, dtype: str, tuning: Any) -> Any:
    """Load a model once for jobs that follow each other in a process; `load_once.cache_clear()` forgets it.

    Args:
        model: a known name, or the folder of a model or run.
        device: "auto", "cpu", "cuda" or "mps".
        dtype: "auto", "float32", "bfloat16" or "float16".
        tuning: a `Tuning`.
    """
    from emote_cli.animation.animator import Animator

    return Animator.load(model, device=device, dtype=dtype, tuning=tuning)


def _is_finished(job: Job) -> bool:
    """Whether the output is there, made with the same settings from the same inputs."""
    if not job.output.exists() or job.force or not (job.portrait.is_file() and job.audio.is_file()):
        return False
    try:
        made = read_making(job.output)
    except InputError:
        return False
    if not is_same_making(made, inputs_and_settings(job)):
        return False
    return resolve_model(made["settings"]["model"]) == resolve_model(job.model)
