"""Nothing is imported that a job does not use: whole commands in a fresh process, and what they have loaded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ASSETS = Path(__file__).parent / "assets"
UNUSED = (
    "accelerate", "diffusers", "huggingface_hub", "jax", "librosa", "matplotlib", "numba", "onnxruntime", "pandas",
    "ray", "requests", "scenedetect", "scipy", "silero_vad", "sklearn", "sympy", "tokenizers", "torch._dynamo",
    "torch._inductor", "transformers",
)  # fmt: skip
"""What a render with the mini has no use for."""
MODULES = 1700
"""More modules than a render loads today (1,500, half of them torch's): a new dependency brings hundreds."""


def loaded(*arguments: object) -> tuple[int, list[str]]:
    """Exit code of a command, and the modules that it has loaded."""
    program = (
        "import atexit, json, sys; from emote_cli.__main__ import main\n"
        f"sys.argv = ['emote', *{[str(argument) for argument in arguments]!r}]\n"
        "atexit.register(lambda: print('\\n' + json.dumps(sorted(sys.modules))))\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, cwd=ASSETS.parents[1]
    )
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def test_a_render_loads_what_it_uses(tmp_path: Path):
    video = tmp_path / "video.mp4"
    code, modules = loaded(
        "animate", ASSETS / "portrait.png", ASSETS / "speech.wav", "--duration", "0.2", "-o", video
    )
    assert code == 0
    assert video.is_file()
    assert [name for name in UNUSED if name in modules] == []
    assert {"torch", "cv2", "emote_cli.model.emo"} <= set(modules), "it did render"
    assert len(modules) < MODULES


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["animate", ASSETS / "portrait.png", ASSETS / "missing.wav"], 1),
        (["animate", ASSETS / "portrait.png", ASSETS / "speech.wav", "--model", "nobody"], 1),
        (["info", ASSETS / "speech.wav"], 1),
        (["download", "--list"], 0),
    ],
    ids=["no sound", "no model", "info", "download"],
)
def test_what_renders_nothing_needs_no_torch(arguments: list[object], code: int):
    returned, modules = loaded(*arguments)
    assert returned == code
    without = {"torch", *UNUSED} - {"huggingface_hub"}  # its constants tell where downloads lie
    assert sorted(without & set(modules)) == []
