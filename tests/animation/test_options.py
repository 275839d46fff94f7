"""Options are declared once: the same value is held to the same range, whoever gives it."""

import csv
import json
import math
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emote_cli.animation.declare import list_options, option_of, read_value
from emote_cli.animation.job import OPTIONS, REPEATABLE, Job
from emote_cli.animation.options import AnimateOptions, Tuning
from emote_cli.animation.provenance import unset_text
from emote_cli.animation.table import COLUMNS, read_rows
from emote_cli.cli import app
from emote_cli.errors import SettingsError

FILES = {"portrait": Path("a.png"), "audio": Path("a.wav"), "output": Path("a.mp4")}

WRONG = [
    ("seed", -1), ("seed", 2**63), ("steps", 0), ("steps", 1001), ("steps", 2.5), ("guidance", -0.1),
    ("guidance", math.inf), ("guidance", math.nan),
    ("head_speed", 2.1), ("articulation", 0), ("smoothing", 6), ("size", 16), ("size", 4098),
    ("size", 33), ("fps", 0), ("fps", 241), ("fps", "fast"), ("fps", "1/0"), ("start", -1), ("start", "1:2:3:4"),
    ("duration", 0), ("duration", math.inf), ("face", 0), ("face", "nose"), ("face", "3,3,1,9"),
    ("motion_region", "huge"), ("frame", "half"), ("quality", "best"), ("detail", "maybe"), ("idle", 1),
]  # fmt: skip
"""Name and value of what no option can be."""


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_python_is_held_to_the_ranges(name, value):
    with pytest.raises(SettingsError) as raised:
        AnimateOptions(**{name: value})
    assert raised.value.hint
    with pytest.raises(SettingsError):
        Job.of({**FILES, name: value})


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, v in WRONG if n not in ("idle", "detail")])
def test_the_command_is_held_to_the_ranges(name, value, tmp_path, portrait_path, tiny_speech, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    option = f"--{name.replace('_', '-')}={value}"
    result = CliRunner().invoke(app, ["animate", str(portrait_path), str(tiny_speech), option])
    assert result.exit_code in (1, 2)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, v in WRONG if (n, v) != ("idle", 1)])
def test_tables_are_held_to_the_ranges(name, value, tmp_path):
    table = tmp_path / "jobs.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["portrait", "audio", name], ["a.png", "a.wav", value]])
    (row,) = read_rows(table)
    assert row.place == f"{table}, line 2"
    assert isinstance(row.error, SettingsError)


def test_a_table_may_say_all_options(tmp_path):
    row = {
        "portrait": "a.png", "audio": "a.wav", "seed": 3, "fps": 29.97, "start": "1:30", "idle": "no", "size": "64",
        "motion_region": "full", "guidance": "2.5",
    }  # fmt: skip
    (tmp_path / "jobs.jsonl").write_text(json.dumps(row))
    (row,) = read_rows(tmp_path / "jobs.jsonl")
    job = Job.of({**row.values, "output": Path("x.mp4")})
    wanted = AnimateOptions(
        seed=3, fps=Fraction(30000, 1001), start=90.0, idle=False, size=64, motion_region="full", guidance=2.5
    )
    assert job.options == wanted
    assert set(COLUMNS) == {"portrait", "audio", "output", *(each.name for each in fields(AnimateOptions))}


def test_text_and_numbers_of_any_kind_are_understood():
    assert AnimateOptions(fps=25).fps == Fraction(25)
    assert AnimateOptions(fps="23.976").fps == Fraction(24000, 1001)
    assert AnimateOptions(face="2").face == 2
    assert AnimateOptions(face=[1, 2, 3, 4]).face == (1, 2, 3, 4)
    assert AnimateOptions(duration="0:01.5").duration == 1.5
    assert AnimateOptions(seed=np.int64(7)).seed == 7
    assert read_value(OPTIONS["compile"], "true") is True


def test_every_option_is_declared_in_one_class_and_explained():
    names = [each.name for kind in (Job, AnimateOptions, Tuning) for each in fields(kind)]
    assert len(names) == len(set(names))
    assert all(option_of(declaration).help.endswith((".", ").")) for declaration in OPTIONS.values())
    assert {each.name for each in fields(AnimateOptions)} == set(list_options(AnimateOptions))


def test_what_a_video_remembers_stays_what_it_was():
    """Videos made before must be found finished, and `--like` must understand them."""
    assert set(REPEATABLE) == {
        "model", "steps", "guidance", "seed", "head_speed", "motion_region", "detail", "articulation", "smoothing",
        "idle", "start", "duration", "fps", "frame", "size", "dtype", "quality", "separate_vocals",
        "audio_stream",
    }  # fmt: skip
    job = Job.of({**FILES, "seed": 5, "low_memory": True, "model": "tiny", "foreign": 1})
    assert (job.options.seed, job.tuning.low_memory, job.model) == (5, True, "tiny")
    assert job.repeatable()["seed"] == 5
    assert "audio_stream" not in job.repeatable()
    assert Job.of({**FILES, "audio_stream": 2}).repeatable()["audio_stream"] == 2


def test_compiling_and_moving_parts_exclude_each_other():
    with pytest.raises(SettingsError, match="cannot be used together"):
        Tuning(compile=True, low_memory=True)


def test_help_has_a_panel_for_every_kind_of_option():
    text = CliRunner().invoke(app, ["animate", "--help"], env={"COLUMNS": "120"}).stdout
    places = [text.index(f" {panel} ─") for panel in ("Output", "Motion", "Sound", "Model", "Many jobs")]
    assert places == sorted(places)
    assert all(f"--{name.replace('_', '-')}" in text for name in OPTIONS if name != "solver")


@pytest.mark.slow
def test_the_public_names_have_types(tmp_path):
    mypy = pytest.importorskip("mypy.api")
    file = tmp_path / "uses.py"
    file.write_text(
        "from emote_cli import AnimateOptions, Animator\nreveal_type(Animator.load)\nAnimateOptions(seed='x')\n"
    )
    told = mypy.run(["--follow-imports=silent", "--no-incremental", str(file)])[0]
    assert "Animator" in told.splitlines()[0]
    assert 'incompatible type "str"; expected "int"' in told


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--smoothing", "9", "smoothing is 9: out of range; smoothing: 0 to 5"),
        ("--head-speed", "2.5", "head_speed is 2.5: out of range"),
        ("--seed", "-1", "seed is -1: out of range"),
        ("--seed", "one", "seed is 'one', not a whole number"),
        ("--size", "33", "size 33 is odd"),
        ("--articulation", "nan", "articulation is nan, not a number"),
    ],
)
def test_a_wrong_number_is_told_with_its_value(option, value, words):
    result = CliRunner().invoke(app, ["animate", "a.png", "b.wav", option, value])
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())


def test_what_is_left_to_the_model_is_told_in_words():
    assert unset_text("settings.head_speed") == "not set (the model's)"
    assert unset_text("settings.duration") == "not set (all from there on)"
    assert unset_text("note") == "not set"
    unset = {name for name, each in OPTIONS.items() if each.default is None and option_of(each).repeatable}
    assert {name for name in unset if unset_text(name) == "not set"} == set()
