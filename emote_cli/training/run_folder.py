"""Where everything lies in a run folder.

    request.yaml                        what the command line asked for (`--resume` reads it)
    settings.yaml                       everything that was resolved from it
    log.jsonl, curves.png               what was measured, and drawn
    samples/                            validation videos
    trackers/                           TensorBoard's and others'
    checkpoints/step-NNNNNNNN/          state.pt, train.yaml and ema/: a model folder that `--model` takes
    finished                            is there when the stage came to its end

A run of several stages holds one such folder per stage, and the model that the last one made.
"""

from __future__ import annotations

from pathlib import Path

from emote_cli.data.selection import DataSettings
from emote_cli.files import PART_PREFIX
from emote_cli.settings_tree import parse_settings, read_yaml
from emote_cli.zoo.locate import SETTINGS_NAME, WEIGHTS_NAME, checkpoint_folders

REQUEST = "request.yaml"
SETTINGS = SETTINGS_NAME
WEIGHTS = WEIGHTS_NAME
FINISHED = "finished"
LOCK = ".lock"
LOG = "log.jsonl"
CURVES = "curves.png"
SAMPLES = "samples"
TRACKERS = "trackers"

STATE = "state.pt"
"""In a checkpoint: weights that train, optimizer, guard, random generators, step and time."""
TRAIN_SETTINGS = "train.yaml"
"""In a checkpoint: settings of the stage."""
EMA = "ema"
"""In a checkpoint: the averaged model."""


def checkpoint_folder(run: Path, step: int) -> Path:
    """The checkpoint of a step, whether it is there or not."""
    return run / "checkpoints" / f"step-{step:08d}"


def part_of_checkpoint(folder: Path) -> Path:
    """The name that a checkpoint has while it is written."""
    return folder.with_name(f"{PART_PREFIX}{folder.name}")


def find_half_written(run: Path) -> list[Path]:
    """What a run that was killed while it saved left behind."""
    return sorted((run / "checkpoints").glob(f"{PART_PREFIX}*"))


def newest_checkpoint(run: Path) -> Path | None:
    """The newest whole checkpoint of a run; None where there is none."""
    folders = checkpoint_folders(run)
    return folders[-1] if folders else None


def stage_that_made(folder: Path | None) -> str | None:
    """The stage that a checkpoint's model comes from, by the settings beside its `ema/`; None where nothing says so."""
    if folder is None or not (folder.parent / TRAIN_SETTINGS).is_file():
        return None
    values = read_yaml(folder.parent / TRAIN_SETTINGS, "name another run with --from")
    stage = values.get("stage") if isinstance(values, dict) else None
    return stage if isinstance(stage, str) else None


def read_data_settings(run: Path) -> DataSettings | None:
    """Which clips a run was trained on, and which it held out, by the settings of its first stage; None: it is no run.

    Raises:
        SettingsError: they are damaged.
    """
    for place in (run, *sorted(run.glob("*/"))):
        file = place / SETTINGS
        values = read_yaml(file, "name another run") if file.is_file() else None
        if isinstance(values, dict) and isinstance(values.get("train"), dict):
            return parse_settings(DataSettings, values["train"].get("data", {}), str(file))
    return None


def is_finished(run: Path) -> bool:
    """Whether a stage has come to its end."""
    return (run / FINISHED).exists()
