"""Numbers of the original programs of Hallo and EchoMimic: `pytest tests/golden --golden-dir DIR`.

DIR holds cases: NAME.json describes NAME.safetensors, recipe.py beside them makes the weights. Cases of the networks
and of the front ends may lie in two folders, `cases` and `frontends`; DIR is one of them, or the folder of both.
Lengths, sizes, seeds and names are read from the descriptions: any set that is described so can be tried.
"""

import importlib.util
import json
import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("EMOTE_SHARED", Path(__file__).parents[3] / "shared"))
DEFAULT = SHARED / "golden"
PARTS = ("cases", "frontends")


def pytest_addoption(parser):
    parser.addoption("--golden-dir", default=None, help=f"folder of golden cases (default {DEFAULT})")


def folders_of(given: Path) -> list[Path]:
    """The folders that hold the cases of a set, given by its folder or by one of its two parts."""
    whole = given.parent if given.name in PARTS else given
    places = (given, *(whole / part for part in PARTS))
    return [at for at in places if any('"case"' in path.read_text() for path in at.glob("*.json"))]


def pytest_configure(config):
    """A folder that is asked for must be there and hold cases; else every test would be skipped."""
    asked = config.getoption("--golden-dir", default=None)
    if asked is None:
        return
    folder = Path(asked).expanduser().absolute()
    if not folder.is_dir():
        raise pytest.UsageError(f"--golden-dir: {folder} is no folder")
    if not folders_of(folder):
        raise pytest.UsageError(
            f"--golden-dir: {folder} holds no cases (NAME.json, in it or in its {' or '.join(PARTS)})"
        )


@pytest.fixture(scope="session")
def golden_dir(request) -> Path:
    folder = Path(request.config.getoption("--golden-dir", default=None) or DEFAULT).expanduser().absolute()
    if not folder.is_dir():
        pytest.skip(f"no golden cases at {folder} (--golden-dir, or set EMOTE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def manifests(golden_dir: Path) -> Path:
    places = [base / "manifests" for base in (golden_dir, golden_dir.parent, DEFAULT)]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        pytest.skip(f"no manifests at {places[1]}")
    return found


@pytest.fixture(scope="session")
def folder_of(golden_dir: Path):
    """Name of a case -> the folder that holds it; skips where none does."""

    def find(name: str) -> Path:
        found = next((at for at in folders_of(golden_dir) if (at / f"{name}.json").is_file()), None)
        if found is None:
            pytest.skip(f"{golden_dir} holds no case {name}")
        return found

    return find


@pytest.fixture(scope="session")
def recipe_of(folder_of):
    """Name of a case -> the module that makes its weights from their names."""

    def load(name: str):
        path = folder_of(name) / "recipe.py"
        spec = importlib.util.spec_from_file_location("golden_recipe", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def load_case(folder_of):
    """Name -> (description, tensors); skips where the case is missing."""
    from safetensors.torch import load_file

    def load(name: str):
        folder = folder_of(name)
        description = json.loads((folder / f"{name}.json").read_text())
        return description, load_file(folder / description["file"]) if "file" in description else {}

    return load


@pytest.fixture(scope="session")
def hallo(folder_of, recipe_of, load_case):
    """Our model at the size of the cases, its weights loaded through the rename map for Hallo's file."""
    from golden_models import hallo_model

    description, _ = load_case("modules")
    return hallo_model(description, folder_of("modules") / "keys_tiny.tsv", recipe_of("modules"))


@pytest.fixture(scope="session")
def echomimic(folder_of, recipe_of, load_case):
    """The same for EchoMimic's files."""
    from golden_models import echomimic_model

    description, _ = load_case("echomimic_f6")
    recipe = recipe_of("echomimic_f6")
    folder = folder_of("echomimic_f6")
    return echomimic_model(description, folder, recipe, recipe.SEED, description["video_length"])


def pytest_terminal_summary(terminalreporter):
    """How far each output is from the original program's."""
    from golden_models import WORST  # on the path of tests

    if WORST:
        terminalreporter.section("golden cases: largest error, share of the tolerance")
        for name, (error, share) in WORST.items():
            terminalreporter.write_line(f"{name:<64} {error:9.2e} {share:7.1%}")
