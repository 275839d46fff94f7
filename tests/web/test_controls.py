"""The page's options are the command's."""

import shlex
from fractions import Fraction

import pytest

from emote_cli.animation.job import OPTIONS, Job
from emote_cli.cli import app
from emote_cli.errors import SettingsError
from emote_cli.settings import load_preset
from emote_cli.web import controls, texts


@pytest.fixture(scope="module")
def mini():
    return load_preset("mini")


def test_every_option_of_a_job_is_on_the_page_or_left_out_on_purpose():
    left_out = {
        "model", "face",  # have fields of their own
        "force", "resume", "keep_partial",  # of files and terminals
        "compile", "cuda_graphs", "solver", "audio_stream",  # rare
    }  # fmt: skip
    assert set(controls.NAMES) | left_out == set(OPTIONS)
    assert set(texts.LABELS) == set(controls.NAMES)


def test_what_nobody_changed_is_not_named(mini):
    assert controls.chosen(controls.defaults(mini), mini) == {}
    shown = {name: _as_shown(value) for name, value in controls.defaults(mini).items()}
    assert controls.chosen(shown, mini) == {}


def _as_shown(value):
    """A value as a field of the page has it."""
    return (
        value
        if isinstance(value, bool)
        else ""
        if value is None
        else value
        if isinstance(value, str)
        else f"{value:g}"
    )


def test_what_is_no_value_is_an_error(mini):
    for name, text in (
        ("fps", "fast"),
        ("steps", "many"),
        ("size", "33"),
        ("start", "1:2:3:4"),
        ("seed", "-1"),
    ):
        with pytest.raises(SettingsError):
            controls.chosen(controls.defaults(mini) | {name: text}, mini)


def test_the_command_line_makes_the_same_job(mini, tmp_path):
    values = controls.defaults(mini) | {
        "quality": "fast", "head_speed": 1.5, "idle": False, "size": "128", "fps": "29.97", "start": "1:02",
        "duration": " 3 ", "seed": "7", "smoothing": 3.0, "separate_vocals": True,
    }  # fmt: skip
    options = controls.chosen(values, mini)
    line = controls.command_line("my face.png", "a b.wav", {"model": "tiny", "face": 2} | options)
    words = shlex.split(line)
    assert words[:4] == ["emote", "animate", "my face.png", "a b.wav"]
    files = {"portrait": tmp_path / "a", "audio": tmp_path / "b", "output": tmp_path / "c"}
    job = Job.of({**files, "model": "tiny", "face": 2, **options})
    assert job == _job_of_line(words[2:], files)
    assert job.options.fps == Fraction(30000, 1001)
    assert (job.options.start, job.options.duration, job.options.size) == (62.0, 3.0, 128)


def _job_of_line(words, files):
    """What the command makes of it."""
    import typer

    group = typer.main.get_command(app)
    command = group.commands["animate"]
    context = command.make_context("animate", list(words))
    return Job.of({**context.params, **files})


def test_choices_and_scales_are_those_that_are_declared():
    assert controls.choices("quality") == ("paper", "balanced", "fast")
    assert controls.choices("seed") == ()
    assert controls.scale("head_speed") == (0, 2, 0.1)
    assert controls.scale("smoothing") == (0, 5, 1)
    assert controls.scale("steps") is None
