"""What a user asks of `emote train`, and the stages that follow from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from emote_cli.data.layout import MANIFEST
from emote_cli.errors import OutputError, SettingsError, TrainingError
from emote_cli.files import only_writer
from emote_cli.settings import load_settings
from emote_cli.settings_tree import Settings, override, parse_settings, read_yaml, save_settings
from emote_cli.training.run_folder import LOCK, REQUEST, newest_checkpoint, stage_that_made
from emote_cli.training.settings import ORDER, StageName, TrainSettings, load_recipe, recipe_stages
from emote_cli.training.stages import NUMBERS
from emote_cli.training.start import split_assignments
from emote_cli.zoo.catalog import TRAINABLE_MODELS
from emote_cli.zoo.locate import SETTINGS_NAME, locate


class Request(Settings):
    """Everything on the command line that `--resume` must know; kept as `request.yaml` in the run folder."""

    stage: str = Field(description="vae, 1, 2, 3 (or their names), distill, or all")
    model: str = "mini"
    data: str = Field(description="the prepared data set")
    start: str | None = None
    assignments: tuple[str, ...] = ()
    max_steps: int | None = None
    max_minutes: float | None = None


@dataclass(frozen=True, slots=True)
class StageRun:
    """One stage of a request.

    Attributes:
        settings: resolved.
        run: its folder.
        model: for `begin`.
        start: for `begin`.
        changes: assignments to the model's settings.
    """

    settings: TrainSettings
    run: Path
    model: str
    start: str | None
    changes: list[str]


def stage_names(stage: str, model: str) -> list[StageName]:
    """The stages that a word means.

    Raises:
        SettingsError: it means none.
    """
    stage = NUMBERS.get(stage, stage)
    if stage == "all":
        return [name for name in recipe_stages(model) if name != "distill"]
    if stage not in ORDER:
        raise SettingsError(f"unknown stage '{stage}'", f"one of {', '.join([*NUMBERS, *ORDER, 'all'])}")
    return [name for name in ORDER if name == stage]


def recipe_name(model: str, start: str | None) -> str:
    """The model whose recipe counts: its own name, or the name in the settings of the folder."""
    if model in TRAINABLE_MODELS:
        return model
    folder = locate(start or model)
    return model if folder is None else load_settings(folder / SETTINGS_NAME).name


def plan(request: Request, out: Path) -> list[StageRun]:
    """Resolve all settings: recipe, then the request's assignments, then its limits.

    Raises:
        SettingsError: an assignment is wrong, or the stage unknown.
        WeightsError: the model is unknown.
    """
    name = recipe_name(request.model, request.start)
    stages = stage_names(request.stage, name)
    ours, changes = split_assignments(list(request.assignments))
    settings = [resolve(name, stage, ours) for stage in stages]
    settings = apply_limits(settings, request)
    first = request.start or (None if request.model in TRAINABLE_MODELS else request.model)
    if len(stages) == 1:
        return [StageRun(settings[0], out, request.model, first, changes)]
    runs: list[StageRun] = []
    for each in settings:
        start = str(runs[-1].run) if runs else first
        runs.append(StageRun(each, out / each.stage, request.model, start, changes if not runs else []))
    return runs


def resolve(model: str, stage: StageName, assignments: list[str]) -> TrainSettings:
    """Settle the settings of a stage: recipe, then assignments; `device=cuda` takes what the recipe says for GPUs.

    Args:
        model: whose recipe it is.
        stage: of it.
        assignments: texts like `learning_rate=2e-5`.

    Raises:
        SettingsError: an assignment is wrong.
    """
    settings = override(load_recipe(model, stage), assignments)
    if settings.device != "cuda":
        return settings
    return override(load_recipe(model, stage, gpu=True), assignments)


def apply_limits(stages: list[TrainSettings], request: Request) -> list[TrainSettings]:
    """Apply --max-steps to every stage, and divide --max-minutes as the recipe divides its own."""
    changes: list[dict[str, object]] = [{} for _ in stages]
    if request.max_steps is not None:
        changes = [{"max_steps": request.max_steps} for _ in stages]
    if request.max_minutes is not None:
        own = [stage.max_minutes or 1.0 for stage in stages]
        for change, minutes in zip(changes, own, strict=True):
            change["max_minutes"] = request.max_minutes * minutes / sum(own)
    elif request.max_steps is not None:
        changes = [{**change, "max_minutes": None} for change in changes]
    return [
        parse_settings(TrainSettings, {**stage.model_dump(), **change}, "--max-minutes or --max-steps")
        for stage, change in zip(stages, changes, strict=True)
    ]


@contextmanager
def claim(request: Request, out: Path, resume: bool) -> Iterator[None]:
    """Make the run folder, leave the request in it for a later --resume, and let no other run write there meanwhile.

    Args:
        request: whole.
        out: the run folder.
        resume: whether it may hold a run.

    Raises:
        OutputError: a new run would write into an old one, another one is going on, or the folder cannot be made.
    """
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_writer(out / LOCK, out))
            if not resume and holds_run(out):
                raise OutputError(
                    f"{out} already holds a run", f"emote train --resume --out {out} continues it"
                )
            save_settings(request, out / REQUEST)
        except OSError as error:
            raise OutputError(f"cannot write to {out}: {error.strerror}", "choose another --out") from error
        yield


def holds_run(out: Path) -> bool:
    """Whether a folder holds checkpoints that a new run would mix with its own."""
    return any(newest_checkpoint(place) for place in (out, *(out / stage for stage in ORDER)))


def request_of(out: Path, asked: Request) -> Request:
    """The request of an earlier call, with later limits and assignments, and the data set's new place if it was moved.

    Args:
        out: the run folder.
        asked: on the command line; empty where nothing was said.

    Raises:
        TrainingError: there is none, or it was for something else.
    """
    place = out / REQUEST
    if not place.is_file():
        raise TrainingError(f"{out} holds no run to resume", "leave --resume out to start one")
    try:
        values = read_yaml(place, "")
    except SettingsError as error:
        raise TrainingError(
            f"{place} is damaged", "go on from the newest checkpoint: --from RUN, and another --out"
        ) from error
    before = parse_settings(Request, values, str(place))
    for name in ("stage", "model", "data", "start"):
        wish = getattr(asked, name)
        moved = name == "data" and not (Path(before.data) / MANIFEST).is_file()
        if wish and wish != getattr(before, name) and not moved:
            raise TrainingError(
                f"{out} was started with {name} {getattr(before, name)}, not {wish}",
                "leave that option out, or start another run with --out",
            )
    limits = {
        name: getattr(asked, name)
        for name in ("max_steps", "max_minutes")
        if getattr(asked, name) is not None
    }
    data = asked.data or before.data
    assignments = (*before.assignments, *asked.assignments)
    return before.model_copy(update={"assignments": assignments, "data": data, **limits})


def came_from_vae(start: str | None) -> bool:
    """Whether a run begins right after `--stage vae`: the scale of the latents is still to be measured."""
    return start is not None and stage_that_made(locate(start)) == "vae"
