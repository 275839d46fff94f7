"""What a run starts from: random weights, SD 1.5, the stage before, or a trained model."""

from __future__ import annotations

from pathlib import Path

from emote_cli.errors import SettingsError, TrainingError
from emote_cli.model.checkpoint import load_model, random_model
from emote_cli.model.emo import Emo
from emote_cli.model.loading import load_folder, start_from_sd15
from emote_cli.settings import ModelSettings, load_preset
from emote_cli.settings_tree import override
from emote_cli.training.run_folder import stage_that_made
from emote_cli.training.settings import ORDER, StageName
from emote_cli.training.stages import NUMBERS
from emote_cli.zoo.catalog import BUNDLED_MODELS, MODELS_OF_OTHERS, TRAINABLE_MODELS
from emote_cli.zoo.locate import find_model, locate

NUMBER = {stage: stage for stage in ORDER} | {stage: number for number, stage in NUMBERS.items()}


def begin(stage: StageName, model: str, start: str | None, changes: list[str], seed: int = 0) -> Emo:
    """Build the model that a run starts with.

    Args:
        stage: what the run will train.
        model: a preset's name, or the path of a model or run folder (then it is the start).
        start: a run, checkpoint, model folder or known name; None begins anew, which only the first stages
            can.
        changes: assignments to the model's settings, `temporal.chunk_frames=8`.
        seed: of random weights.

    Raises:
        TrainingError: the stage before is missing, or the start is of another model or too early a stage.
        WeightsError: the start is unknown, missing or damaged.
        SettingsError: the model is no preset, or a change does not fit.
    """
    if model not in TRAINABLE_MODELS:
        start, model = start or model, ""
    if start is None or start in MODELS_OF_OTHERS:  # SD 1.5 and AnimateDiff are a beginning, not a stage
        return begin_anew(stage, override(load_preset(model), changes), seed)
    folder, settings = find_model(start)
    if model and settings.name != model:
        raise TrainingError(
            f"{start} is a model {settings.name}, but --model says {model}", f"use --model {settings.name}"
        )
    check_order(stage, folder, start)
    return apply_changes(random_model(settings, seed) if folder is None else load_folder(folder), changes)


def begin_anew(stage: StageName, settings: ModelSettings, seed: int) -> Emo:
    """Build a model before its first stage.

    Args:
        stage: that will train it.
        settings: of the model.
        seed: of random weights.

    Raises:
        TrainingError: the stage is not the first.
    """
    if stage in ("video", "speed", "distill"):
        before = NUMBER[ORDER[ORDER.index(stage) - 1]]
        raise TrainingError(
            f"stage {NUMBER[stage]} starts from stage {before}, and no checkpoint was given",
            f"--from RUN of stage {before}"
            + (
                f", or --from {settings.name} for the weights that ship"
                if settings.name in BUNDLED_MODELS
                else ""
            ),
        )
    if settings.name in MODELS_OF_OTHERS:
        folder = locate(settings.name)
        assert folder is not None, f"{settings.name} has files"
        return start_from_sd15(settings, folder)
    model = random_model(settings, seed)
    if stage == "image" and settings.name in BUNDLED_MODELS:
        take_shipped_autoencoder(model)
    return model


def take_shipped_autoencoder(model: Emo) -> None:
    """Give a new bundled model what ships beside its network (`mini`: the Painter); `--stage vae` makes another.

    Raises:
        TrainingError: the settings ask for another form of autoencoder.
        WeightsError: the installation lacks the model.
    """
    folder = locate(model.settings.name)
    assert folder is not None, f"{model.settings.name} has files"
    shipped = load_model(folder)
    ours = model.settings.autoencoder.model_copy(
        update={"scaling_factor": shipped.settings.autoencoder.scaling_factor}
    )
    if ours != shipped.settings.autoencoder:
        raise TrainingError(
            "this form of autoencoder has not been trained", "--stage vae first, then --from its run"
        )
    if ours.kind == "motion":
        model.painter = shipped.painter
    else:
        model.autoencoder = shipped.autoencoder
    model.settings = model.settings.model_copy(update={"autoencoder": ours})


def check_order(stage: StageName, folder: Path | None, start: str) -> None:
    """Refuse to skip a stage.

    Args:
        stage: that will train.
        folder: of the model that it starts from; None: it has no files.
        start: as the user named it, for the error.

    Raises:
        TrainingError: the checkpoint lacks the stage before.
    """
    done = stage_that_made(folder)
    if done in ORDER and ORDER.index(done) < ORDER.index(stage) - 1:
        before = NUMBER[ORDER[ORDER.index(stage) - 1]]
        raise TrainingError(
            f"stage {NUMBER[stage]} starts from stage {before}; {start} comes from stage {NUMBER[done]}",
            f"train stage {before} first",
        )


def apply_changes(model: Emo, changes: list[str]) -> Emo:
    """Give a model other settings; its weights stay.

    Raises:
        TrainingError: its weights do not fit the changed settings.
    """
    if not changes:
        return model
    settings = override(model.settings, changes)
    try:
        other = Emo(settings)
        other.load_state_dict(model.state_dict())
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"the weights do not fit model.{changes[0]}",
            "such settings can only change when training begins anew",
        ) from error
    return other.eval()


def split_assignments(assignments: list[str]) -> tuple[list[str], list[str]]:
    """Divide `--set` into those of the training and (with `model.` in front) those of the model.

    Raises:
        SettingsError: an assignment has no key.
    """
    for assignment in assignments:
        if not assignment.partition("=")[0].strip():
            raise SettingsError(f"'{assignment}' is not key=value", "for example --set learning_rate=2e-5")
    ours = [text for text in assignments if not text.startswith("model.")]
    return ours, [text.removeprefix("model.") for text in assignments if text.startswith("model.")]
