"""Which models exist, where their files lie on this disk, and whether they are whole.

What ships (`mini/`, `face_landmarker.task`) is found in an installed wheel and in an editable tree alike. Downloaded
models lie inside the hub's own cache, or in a plain folder; `installer.py` puts them there and leaves a lock file
(`emote-lock.json`) that says where each file came from and what its sha256 is.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import yaml

from emote_cli.errors import WeightsError

KNOWN_MODELS = ("tiny", "mini", "sd15", "hallo", "echomimic")
"""The names that `--model` knows; everything else is a path."""

SUMS_NAME = "SHA256SUMS"
SETTINGS_NAME = "settings.yaml"
WEIGHTS_NAME = "model.safetensors"
LOCK_NAME = "emote-lock.json"

_PACKAGE = Path(__file__).resolve().parent
_PICKLES = {".pth", ".pt", ".ckpt", ".bin"}


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a downloadable model.

    Attributes:
        repo: hub repository id.
        path: path inside the repository.
        to: path inside the model's folder; ends in .safetensors where a pickle is converted.
        mb: megabytes, as listed; a guide only.
        licence: name of its licence.
        restricted: key of the licence text that the user has to accept first; empty for free files.
    """

    repo: str
    path: str
    to: str
    mb: float
    licence: str
    restricted: str = ""

    @property
    def pickled(self) -> bool:
        """Whether the hub's file is a pickle that is converted once to safetensors."""
        return Path(self.path).suffix in _PICKLES and self.to.endswith(".safetensors")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A name that `emote download` knows. An add-on names its `base` and is put into the base's folder."""

    name: str
    purpose: str
    files: tuple[HubFile, ...]
    base: str = ""

    @property
    def main_repo(self) -> str:
        """The repository that `--revision` means."""
        return self.files[0].repo

    @property
    def licences(self) -> tuple[str, ...]:
        """Licence names, each once, in the order of the files."""
        return tuple(dict.fromkeys(file.licence for file in self.files))

    @property
    def size_bytes(self) -> int:
        """About how much is downloaded, everything included."""
        return round(sum(file.mb for file in self.files) * 1e6)

    @property
    def free_files(self) -> tuple[HubFile, ...]:
        """Files that need no accepted licence: what a run cannot do without."""
        return tuple(file for file in self.files if not file.restricted)


@dataclass(frozen=True, slots=True)
class Locked:
    """What the lock file remembers of one installed file.

    Attributes:
        repo: hub repository id.
        path: path inside the repository.
        commit: the revision it came from, 40 hex digits.
        source_hash: the hub's own hash: sha256 of a large file (LFS), git blob id of a small one.
        sha256: of the file as it lies here (after conversion).
        size: bytes, as it lies here.
        mtime_ns: modification time when it was last verified.
    """

    repo: str
    path: str
    commit: str
    source_hash: str
    sha256: str
    size: int
    mtime_ns: int


def bundled(name: str) -> Path:
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


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 lower-case hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


@cache
def registry() -> dict[str, HubModel]:
    """Everything that can be downloaded, by name (`presets/registry.yaml`)."""
    table = _table()
    models = {}
    for name, row in table["models"].items():
        rows = row["files"] + [file for part in row.get("include", []) for file in table["shared"][part]]
        files = tuple(HubFile(**file) for file in rows)
        models[name] = HubModel(name, row["purpose"], files, row.get("base", ""))
    return models


def licence_text(key: str) -> str:
    """What a `restricted` licence says, in one paragraph."""
    return str(_table()["licences"][key])


@cache
def _table() -> dict[str, dict]:  # type: ignore[type-arg]
    text = resources.files("emote_cli").joinpath("presets", "registry.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def cache_root() -> Path:
    """The hub's cache folder (HF_HOME and HF_HUB_CACHE honored)."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def home(name: str) -> Path:
    """Where a downloaded model is assembled by default: inside its repository's entry of the hub cache."""
    model = registry()[registry()[name].base or name]
    return cache_root() / f"models--{model.main_repo.replace('/', '--')}" / "emote" / model.name


def read_lock(folder: Path) -> dict[str, Locked]:
    """The lock file of a downloaded model, by path inside the folder; empty where there is none.

    Raises:
        WeightsError: if it is damaged.
    """
    path = folder / LOCK_NAME
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {to: Locked(**row) for to, row in rows.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is damaged", hint=f"delete {path}, then download again") from error


def write_lock(folder: Path, files: dict[str, Locked]) -> None:
    """Write the lock file, at once or not at all."""
    rows = {to: asdict(locked) for to, locked in sorted(files.items())}
    beside = folder / f"{LOCK_NAME}.{os.getpid()}"
    beside.write_text(json.dumps({"format": 1, "files": rows}, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, folder / LOCK_NAME)


def fault(path: Path, locked: Locked | None, full: bool = False) -> str:
    """Say in one or two words what is wrong with an installed file; empty if nothing is.

    Size and time stand in for the sha256, which is computed where they differ, or always if `full`.
    """
    if locked is None or not path.is_file():
        return "missing"
    stat = path.stat()
    if stat.st_size != locked.size:
        return f"damaged ({stat.st_size} bytes, expected {locked.size})"
    if (full or stat.st_mtime_ns != locked.mtime_ns) and sha256_of(path) != locked.sha256:
        return "damaged (wrong sha256)"
    return ""


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
        folder = bundled("mini")
        check_folder(folder)
        return folder
    if model in KNOWN_MODELS:
        return _installed(registry()[model])
    path = Path(model).expanduser()
    if not path.exists():
        raise unknown_model(model, KNOWN_MODELS, ", or the path of a model or run folder")
    return _model_folder(path)


def human_size(n_bytes: float) -> str:
    """Bytes for people: `5.8 GB`, `67 MB`, `3 kB`."""
    if n_bytes >= 1e9:
        return f"{n_bytes / 1e9:.1f} GB"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"


def unknown_model(name: str, known: tuple[str, ...], more: str = "") -> WeightsError:
    """The error for a name that is not in `known`, with the nearest that is."""
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    what = f"model {name} is unknown" + (", and no such folder exists" if more else "")
    return WeightsError(what, hint=f"{meant}known: {', '.join(known)}{more}")


def _installed(model: HubModel) -> Path:
    """The folder of a downloaded model, if everything that a run needs is there and whole."""
    folder = home(model.name)
    command = f"emote download {model.name} (about {human_size(model.size_bytes)})"
    lock = read_lock(folder)
    if not lock:
        raise WeightsError(f"model {model.name} is not installed", hint=command)
    for file in model.free_files:
        wrong = fault(folder / file.to, lock.get(file.to))
        if wrong:
            raise WeightsError(f"model {model.name} is not whole: {file.to} is {wrong}", hint=command)
    return folder


def _model_folder(path: Path) -> Path:
    """The folder with settings and weights that a path means."""
    if path.is_file():
        raise WeightsError(f"{path} is a file", hint=f"name the folder that holds it and {SETTINGS_NAME}")
    if lock := read_lock(path):
        for to, locked in lock.items():
            if wrong := fault(path / to, locked):
                raise WeightsError(f"{path / to} is {wrong}", hint=f"run emote download ... --dir {path} again")
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


def newest_ema(run: Path) -> Path | None:
    """The newest complete EMA of a run: `checkpoints/step-NNNNNNNN/ema/`; None where there is none."""
    saved = [run, *(run / "checkpoints").glob("step-*")]
    steps = {int(folder.name[5:]): folder for folder in saved if re.fullmatch(r"step-\d+", folder.name)}
    for _, folder in sorted(steps.items(), reverse=True):
        if (folder / "ema" / SETTINGS_NAME).is_file() and (folder / "ema" / WEIGHTS_NAME).is_file():
            return folder / "ema"
    return None
