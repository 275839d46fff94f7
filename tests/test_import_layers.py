import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the checkout that lies in `folder`."""
    program = (
        f"import sys; sys.path.insert(0, {str(folder)!r});"
        "from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    )
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_all_imports_go_downward():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("training", "import emote_cli.console", "the library does not speak"),
        ("media", "import emote_cli.animation", "imports go only downward"),
        ("media", "import torch", "pixels, sound and faces need no torch"),
        ("training/objectives", "import emote_cli.training.loop", "no circles, in any room"),
    ],
)
def test_a_planted_import_is_reported(tmp_path, module, line, contract):
    shutil.copytree(
        ROOT / "emote_cli", tmp_path / "emote_cli", ignore=shutil.ignore_patterns("__pycache__", "_bundled")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "emote_cli" / module / "planted.py").write_text(line + "\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in " ".join(done.stdout.split())
