"""Which models there are: one table of their names, and what `emote download` can fetch of them (`registry.yaml`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

_PICKLES = {".pth", ".pt", ".ckpt", ".bin", ".model"}


@dataclass(frozen=True, slots=True)
class Model:
    """A name that `--model` knows; its settings are `presets/NAME.yaml`.

    Attributes:
        name: of the model.
        bundled: whether its weights come with the package.
        trainable: whether training can begin with it at stage 1, without --from.
        others_weights: whether its files are others' weights that stage 1 begins with, and no trained talking head.
        published: whether its folder holds its makers' files as they are (model/published/).
        faster: name of the same model with weights that take fewer steps; they lie in the same folder.
    """

    name: str
    bundled: bool = False
    trainable: bool = False
    others_weights: bool = False
    published: bool = False
    faster: str = ""


MODELS = (
    Model("tiny", trainable=True),
    Model("mini", bundled=True, trainable=True),
    Model("sd15", trainable=True, others_weights=True),
    Model("hallo", published=True),
    Model("echomimic", published=True, faster="echomimic-6step"),
    Model("echomimic-6step", published=True),
    Model("hallo2", published=True),
)
"""Every model by name; `tiny` is built with random weights and has no files."""

KNOWN_MODELS = tuple(model.name for model in MODELS)
BUNDLED_MODELS = tuple(model.name for model in MODELS if model.bundled)
TRAINABLE_MODELS = tuple(model.name for model in MODELS if model.trainable)
MODELS_OF_OTHERS = tuple(model.name for model in MODELS if model.others_weights)
FASTER_MODELS = {model.name: model.faster for model in MODELS if model.faster}
PUBLISHED_MODELS = tuple(model.name for model in MODELS if model.published)


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
        sha256: of the hub's file, where it is known beforehand: another file is refused.
        url: where it lies if no hub has it; `repo` and `path` then only name it.
        n_bytes: its size, with `url`.
    """

    repo: str
    path: str
    to: str
    mb: float
    licence: str
    restricted: str = ""
    sha256: str = ""
    url: str = ""
    n_bytes: int = 0

    @property
    def pickled(self) -> bool:
        """Whether the hub's file is a pickle that is converted once to safetensors."""
        return Path(self.path).suffix in _PICKLES and self.to.endswith(".safetensors")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A name that `emote download` knows. An add-on names its `base` and is put into the base's folder.

    Attributes:
        name: of the model.
        purpose: what it is for, in a few words.
        files: of which it consists.
        base: the model that it is added to; empty where it stands alone.
    """

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


@cache
def registry() -> dict[str, HubModel]:
    """Everything that can be downloaded, by name (`registry.yaml`)."""
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
def _table() -> dict[str, Any]:
    text = resources.files("emote_cli.zoo").joinpath("registry.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def human_size(n_bytes: float) -> str:
    """Write bytes for people: `5.8 GB`, `67 MB`, `3 kB`."""
    if n_bytes >= 1e9:
        return f"{n_bytes / 1e9:.1f} GB"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.0f} kB"
