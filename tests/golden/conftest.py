"""Numbers of the original programs of Hallo and EchoMimic: `pytest tests/golden --golden-dir DIR`.

DIR is laid out like ../shared/golden/cases: NAME.json describes NAME.safetensors, recipe.py makes the
weights.
"""

import importlib.util
import json
import os
from pathlib import Path

import pytest

DEFAULT = Path(os.environ.get("EMOTE_SHARED", Path(__file__).parents[3] / "shared")) / "golden" / "cases"


def pytest_addoption(parser):
    parser.addoption("--golden-dir", default=None, help=f"folder of golden cases (default {DEFAULT})")


@pytest.fixture(scope="session")
def golden_dir(request) -> Path:
    folder = Path(request.config.getoption("--golden-dir", default=None) or DEFAULT)
    if not folder.is_dir():
        pytest.skip(f"no golden cases at {folder} (--golden-dir, or set EMOTE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def manifests(golden_dir: Path) -> Path:
    folder = golden_dir.parent / "manifests"
    if not folder.is_dir():
        folder = DEFAULT.parent / "manifests"
    if not folder.is_dir():
        pytest.skip(f"no manifests at {folder}")
    return folder


@pytest.fixture(scope="session")
def recipe(golden_dir: Path):
    """The module that makes every weight from its name."""
    spec = importlib.util.spec_from_file_location("golden_recipe", golden_dir / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def load_case(golden_dir: Path):
    """Name -> (description, tensors); skips where the folder lacks the case."""
    from safetensors.torch import load_file

    def load(name: str):
        if not (golden_dir / f"{name}.json").is_file():
            pytest.skip(f"{golden_dir} holds no case {name}")
        return json.loads((golden_dir / f"{name}.json").read_text()), load_file(
            golden_dir / f"{name}.safetensors"
        )

    return load


@pytest.fixture(scope="session")
def hallo(golden_dir: Path, recipe, load_case):
    """Our model at the size of the cases, its weights loaded through the rename map for Hallo's file."""
    from golden_models import hallo_model

    description, _ = load_case("modules")
    return hallo_model(description, golden_dir / "keys_tiny.tsv", recipe)


@pytest.fixture(scope="session")
def echomimic(golden_dir: Path, recipe, load_case):
    """The same for EchoMimic's files."""
    from golden_models import echomimic_model

    description, _ = load_case("echomimic_f6")
    return echomimic_model(description, golden_dir / "keys_tiny_echomimic.tsv", recipe)


def pytest_terminal_summary(terminalreporter):
    """How far each output is from the original program's."""
    from golden_models import WORST  # on the path of tests

    if WORST:
        terminalreporter.section("golden cases: largest error, share of the tolerance")
        for name, (error, share) in WORST.items():
            terminalreporter.write_line(f"{name:<64} {error:9.2e} {share:7.1%}")
