"""Which models exist, where their files lie on this disk, and whether they are whole.

What ships (`mini/`, `face_landmarker.task`) is found in an installed wheel and in an editable tree alike.
Downloaded models lie inside the hub's own cache, or in a plain folder; `install.py` puts them there and
leaves a lock file (`emote-lock.json`) that says where each file came from and what its sha256 is.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from emote_cli.errors import WeightsError
from emote_cli.files import sha256_of
from emote_cli.settings import ModelSettings, load_preset, load_settings
from emote_cli.zoo.catalog import KNOWN_MODELS, HubModel, human_size, registry
from emote_cli.zoo.lock import fault, read_lock

SUMS_NAME = "SHA256SUMS"
SETTINGS_NAME = "settings.yaml"
WEIGHTS_NAME = "model.safetensors"

_PACKAGE = Path(__file__).resolve().parent.parent


def locate_bundled(name: str) -> Path:
    """Find something that ships with the package: `mini` (a folder) or `face_landmarker.task` (a file).

    Raises:
        WeightsError: if the installation lacks it.
    """
    places = [_PACKAGE / "_bundled", _PACKAGE.parent / "weights"]
    for place in places:
        if (place / name).exists():
            return place / name
    raise WeightsError(
        f"{name} is not part of this installation (looked in {places[0]} and {places[1]})",
        hint="reinstall emote-cli; in a checkout, look into its weights/ folder",
    )


def verify_sha256(path: Path, expected: str) -> None:
    """Raise WeightsError unless the file exists and its SHA-256 is `expected` (hex, any case)."""
    if not path.is_file():
        raise WeightsError(f"{path} is missing", hint="fetch or install these weights again")
    actual = sha256_of(path)
    if actual != expected.lower():
        raise WeightsError(
            f"{path} is damaged: its sha256 is {actual[:12]}..., expected {expected[:12].lower()}...",
            hint="delete the file, then fetch or install these weights again",
        )


def check_folder(folder: Path) -> None:
    """Verify every file that the `SHA256SUMS` (sha256sum format) in a model folder names.

    Raises:
        WeightsError: if the list is missing, empty or unreadable, or a named file is missing or damaged.
    """
    sums = folder / SUMS_NAME
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    if not any(line.strip() for line in lines):
        raise WeightsError(f"{folder} holds no {SUMS_NAME}", hint="reinstall emote-cli")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line)
        if match is None:
            raise WeightsError(f"{sums}, line {number}: not in sha256sum format", hint="reinstall emote-cli")
        verify_sha256(folder / match[2], match[1])


def home(name: str) -> Path:
    """Name the folder in which a downloaded model is assembled by default: in its repository's entry of the hub cache.

    HF_HOME and HF_HUB_CACHE are honored.
    """
    from huggingface_hub import constants

    model = registry()[registry()[name].base or name]
    entry = f"models--{model.main_repo.replace('/', '--')}"
    return Path(constants.HF_HUB_CACHE) / entry / "emote" / model.name


def locate(model: str) -> Path | None:
    """Find the folder of a model: a name of `KNOWN_MODELS`, a model folder, or a run folder (its newest EMA).

    Returns:
        The folder that holds the settings and weights, or None for `tiny`, which is built with random weights
        from a seed and has no files.

    Raises:
        WeightsError: if the name is unknown, or the model is not installed or damaged.
    """
    if model == "tiny":
        return None
    if model == "mini":
        folder = locate_bundled("mini")
        check_folder(folder)
        return folder
    if model in KNOWN_MODELS:
        return _locate_installed(registry()[model])
    path = Path(model).expanduser()
    if not path.exists():
        raise unknown_model(model, KNOWN_MODELS, ", or the path of a model or run folder")
    return _model_folder(path)


def find_model(model: str) -> tuple[Path | None, ModelSettings]:
    """Find a model and read its settings.

    Args:
        model: as for `locate`.

    Returns:
        Its folder as `locate` tells it, and its settings: those in the folder, or the preset of a model without files.

    Raises:
        WeightsError: the name is unknown, or the model is not installed or damaged.
        SettingsError: the folder's settings do not validate.
    """
    folder = locate(model)
    return folder, load_preset(model) if folder is None else load_settings(folder / SETTINGS_NAME)


def resolve_model(model: str) -> str:
    """Name a model so that it is found from any folder of any machine that sees the same files.

    A known name stays as it is, whatever the current folder holds; so does what is not there.
    """
    path = Path(model).expanduser()
    return str(path.resolve()) if model not in KNOWN_MODELS and path.exists() else model


def unknown_model(name: str, known: tuple[str, ...], more: str = "") -> WeightsError:
    """Make the error for a name that is not in `known`, with the nearest that is.

    Args:
        name: as the user gave it.
        known: the names there are.
        more: what else could have been given, for the hint; empty if nothing.
    """
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    what = f"model {name} is unknown" + (", and no such folder exists" if more else "")
    return WeightsError(what, hint=f"{meant}known: {', '.join(known)}{more}")


def _locate_installed(model: HubModel) -> Path:
    """The folder of a downloaded model, if everything that a run needs is there and whole; an add-on needs its base."""
    folder = home(model.name)
    parts = [registry()[name] for name in (model.base, model.name) if name]
    command = f"emote download {model.name} (about {human_size(sum(part.size_bytes for part in parts))})"
    lock = read_lock(folder)
    if not lock:
        raise WeightsError(f"model {model.name} is not installed", hint=command)
    for file in (file for part in parts for file in part.free_files):
        wrong = fault(folder / file.to, lock.get(file.to))
        if wrong:
            raise WeightsError(f"model {model.name} is not whole: {file.to} is {wrong}", hint=command)
    return folder


SPEECH_MODELS = {
    "wav2vec2": ("sd15", "wav2vec2"),
    "whisper": ("echomimic", "whisper/model.safetensors"),
}
"""Speech model -> the model that it is downloaded with, and where it lies in that model's folder."""


def locate_speech_model(name: str, folder: Path | None = None) -> Path:
    """Find a speech model that is downloaded together with a model.

    Args:
        name: a key of `SPEECH_MODELS`.
        folder: of the model that has it; None: the installed model that it is downloaded with.

    Raises:
        WeightsError: `folder` is None, and that model is not installed or damaged.
    """
    owner, inside = SPEECH_MODELS[name]
    home_of_it = folder or locate(owner)
    assert home_of_it is not None, f"{owner} has files"
    return home_of_it / inside


def locate_separator(folder: Path | None) -> Path:
    """Find the vocal separator: in a model's folder, or where `emote download hallo-vocals` puts it.

    Raises:
        WeightsError: it is not installed, or damaged.
    """
    (file,) = registry()["hallo-vocals"].files
    command = f"emote download hallo-vocals (about {human_size(file.mb * 1e6)} beside hallo)"
    for place in (folder, home("hallo")):
        if place is not None and (place / file.to).is_file():
            if (locked := read_lock(place).get(file.to)) and (wrong := fault(place / file.to, locked)):
                raise WeightsError(f"the vocal separator {place / file.to} is {wrong}", hint=command)
            return place / file.to
    raise WeightsError("the vocal separator is not installed", hint=command)


def locate_metric(name: str) -> Path | None:
    """Find a file of `emote download metrics`, by its name in the folder; None where it was not fetched.

    Raises:
        WeightsError: it is damaged.
    """
    folder = home("metrics")
    locked = read_lock(folder).get(name)
    if locked is None or not (folder / name).is_file():
        return None
    if wrong := fault(folder / name, locked):
        raise WeightsError(f"{folder / name} is {wrong}", hint="emote download metrics")
    return folder / name


def _model_folder(path: Path) -> Path:
    """The folder with settings and weights that a path means."""
    if path.is_file():
        raise WeightsError(f"{path} is a file", hint=f"name the folder that holds it and {SETTINGS_NAME}")
    if lock := read_lock(path):
        for to, locked in lock.items():
            if wrong := fault(path / to, locked):
                raise WeightsError(f"{path / to} is {wrong}", hint=f"emote download ... --dir {path}")
        return path
    if (path / SETTINGS_NAME).is_file() and any(path.glob("*.safetensors")):
        return path
    newest = newest_ema(path)
    if newest is None:
        raise WeightsError(
            f"{path} holds no model: no {SETTINGS_NAME} with *.safetensors, no checkpoint of a run",
            hint=f"name a model folder, a run that has saved, or one of {', '.join(KNOWN_MODELS)}",
        )
    return newest


def checkpoint_folders(run: Path) -> list[Path]:
    """List the whole checkpoints of a run, `checkpoints/step-NNNNNNNN/`, oldest first."""
    found = [path for path in (run / "checkpoints").glob("step-*") if _step_of(path) is not None]
    return sorted(found, key=lambda path: _step_of(path) or 0)


def newest_ema(run: Path) -> Path | None:
    """Find the newest complete EMA of a run (or of the one checkpoint that is named); None where there is none."""
    named = [] if _step_of(run) is None else [run]
    for folder in reversed([*named, *checkpoint_folders(run)]):
        if (folder / "ema" / SETTINGS_NAME).is_file() and (folder / "ema" / WEIGHTS_NAME).is_file():
            return folder / "ema"
    return None


def _step_of(checkpoint: Path) -> int | None:
    match = re.fullmatch(r"step-(\d+)", checkpoint.name)
    return int(match[1]) if match else None
