"""The real thing in small: the tiny model, random weights, through the public command."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emote_cli.cli import app
from emote_cli.media.image import read_image
from emote_cli.media.video import probe, read_frames


def animate(portrait: Path, speech: Path, output: Path, *options: str) -> np.ndarray:
    args = [
        "animate",
        str(portrait),
        str(speech),
        "-o",
        str(output),
        "--model",
        "tiny",
        "--device",
        "cpu",
        *options,
    ]
    result = CliRunner().invoke(app, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{output}\n"
    return np.stack(list(read_frames(output)))


@pytest.fixture(scope="module")
def first(portrait_path, tiny_speech_bytes, tmp_path_factory) -> tuple[Path, Path, np.ndarray]:
    """A speech file (three chunks and a bit of tiny's), and the video that seed 0 makes of it."""
    folder = tmp_path_factory.mktemp("first")
    speech = folder / "speech.wav"
    speech.write_bytes(tiny_speech_bytes)
    return speech, folder / "first.mp4", animate(portrait_path, speech, folder / "first.mp4")


def test_a_video_comes_out(first):
    _, path, frames = first
    assert frames.shape == (18, 32, 32, 3)  # round(0.7 s * 25)
    assert probe(path).has_audio


def test_the_same_seed_gives_the_same_frames(first, portrait_path, tmp_path):
    speech, _, frames = first
    assert np.array_equal(animate(portrait_path, speech, tmp_path / "again.mp4"), frames)


def test_another_seed_gives_other_frames(first, portrait_path, tmp_path):
    speech, _, frames = first
    assert not np.array_equal(animate(portrait_path, speech, tmp_path / "other.mp4", "--seed", "5"), frames)


def test_options_change_the_frames(first, portrait_path, tmp_path):
    speech, _, frames = first
    made = animate(portrait_path, speech, tmp_path / "x.mp4", "--steps", "3", "--size", "64")
    assert made.shape == (18, 64, 64, 3)
    assert not np.array_equal(made[:, ::2, ::2], frames)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 3, "size": 64, "detail": True, "seed": 2},
        {"frame": "full", "idle": True, "fps": Fraction(30000, 1001), "start": 0.1, "duration": 0.5},
        {"face": (150, 40, 300, 200), "size": 48, "motion_region": "full", "smoothing": 1},
    ],
    ids=lambda options: "-".join(options),
)
def test_python_gets_the_frames_of_the_command(portrait_path, tiny_speech, tmp_path, options):
    from emote_cli import AnimateOptions, Animator

    flags = []
    for name, value in options.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        flags += [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    files = ["animate", str(portrait_path), str(tiny_speech), "-o", str(tmp_path / "frames")]
    result = CliRunner().invoke(app, [*files, "--model", "tiny", "--device", "cpu", *flags])
    assert result.exit_code == 0, result.output
    shown = [read_image(path) for path in sorted((tmp_path / "frames").glob("*.png"))]
    made = Animator.load("tiny", device="cpu").stream(
        portrait_path, str(tiny_speech), AnimateOptions(**options)
    )
    assert np.array_equal(np.stack(list(made)), np.stack(shown))
