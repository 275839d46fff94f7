"""`emote train` as a user meets it, with the tiny model."""

import dataclasses
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_dataset import make_dataset
from typer.testing import CliRunner

from emote_cli.cli import app
from emote_cli.commands.train_view import view
from emote_cli.data.manifest import read_records, write_records
from emote_cli.errors import OutputError, SettingsError
from emote_cli.files import only_writer
from emote_cli.training.request import Request, claim, plan, stage_names
from emote_cli.zoo.locate import locate


def emote(*args: object):
    return CliRunner().invoke(app, ["train", *(str(a) for a in args)])


def trains(*args: object) -> str:
    result = emote(*args, "--set", "device=cpu")
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.stdout


def fails(result, message: str, hint: str = "") -> None:
    assert result.exit_code == 1, result.output + repr(result.exception)
    lines = result.stderr.strip().splitlines()
    assert message in lines[-2], result.stderr
    assert hint in lines[-1], result.stderr


@pytest.fixture(scope="module")
def stage1(dataset, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "one"
    out = trains("--stage", "1", "--model", "tiny", "--data", dataset, "--out", run, "--max-steps", 2)
    assert out == f"{run}\n"
    return run


def test_a_run_leaves_what_it_should(stage1):
    assert yaml.safe_load((stage1 / "settings.yaml").read_text())["train"]["stage"] == "image"
    ema = stage1 / "checkpoints" / "step-00000002" / "ema"
    assert locate(str(stage1)) == ema
    assert (ema / "settings.yaml").is_file()
    assert (ema / "model.safetensors").is_file()
    assert (stage1 / "log.jsonl").is_file()


def test_the_stages_follow_each_other(stage1, dataset, tmp_path):
    two, three = tmp_path / "two", tmp_path / "three"
    trains(
        "--stage", "2", "--from", stage1, "--model", "tiny", "--data", dataset, "--out", two, "--max-steps", 1
    )
    trains("--stage", "speed", "--model", two, "--data", dataset, "--out", three, "--max-steps", 1)
    assert locate(str(three)) is not None
    fails(
        emote(
            "--stage", "3", "--from", stage1, "--model", "tiny", "--data", dataset, "--out", tmp_path / "x"
        ),
        "stage 3 starts from stage 2",
        "train stage 2 first",
    )


def test_distillation_leaves_a_model_of_few_steps(dataset, tmp_path):
    run, few = tmp_path / "few", ["--set", "distill.steps=1", "--set", "distill.inner=2"]
    common = ("--data", dataset, "--out", run)
    trains("--stage", "distill", "--from", "tiny", "--model", "tiny", *common, "--max-steps", 1, *few)
    folder = locate(str(run))
    assert folder is not None
    diffusion = yaml.safe_load((folder / "settings.yaml").read_text())["diffusion"]
    assert (diffusion["steps"], diffusion["guidance"]) == (1, 1.0)
    trains("--resume", "--out", run, "--max-steps", 2)
    assert (run / "checkpoints" / "step-00000002").is_dir()
    fails(emote("--resume", "--out", run, "--set", "distill.inner=3"), "does not divide 1000 timesteps")
    odd = ("--data", dataset, "--out", tmp_path / "odd", "--model", "tiny", "--set", "distill.inner=3")
    fails(emote("--stage", "distill", "--from", "tiny", *odd), "does not divide 1000 timesteps")
    fails(emote("--stage", "distill", *odd), "stage distill starts from stage 3", "--from RUN of stage 3")


@pytest.mark.parametrize("main", [True, False])
def test_of_several_processes_one_speaks(main, capsys):
    with view(main) as shown:
        shown.on_clip(1, 1)
        shown.on_warning("something")
    assert bool(capsys.readouterr().err) is main


def test_all_stages_in_one_command(dataset, tmp_path):
    run = tmp_path / "all"
    trains("--stage", "all", "--model", "tiny", "--data", dataset, "--out", run, "--max-steps", 1)
    for stage in ("vae", "image", "video", "speed"):
        assert (run / stage / "checkpoints" / "step-00000001").is_dir()
    assert locate(str(run)) == run
    assert (run / "model.safetensors").is_file()


def test_a_run_goes_on_after_its_data_moved(dataset, tmp_path):
    place, moved, run = tmp_path / "here", tmp_path / "there", tmp_path / "run"
    shutil.copytree(dataset, place)
    trains(
        "--stage", "1", "--model", "tiny", "--data", place, "--out", run, "--max-steps", 1, "--set", "batch=1"
    )
    shutil.copytree(place, moved)
    fails(emote("--resume", "--out", run, "--data", moved), "was started with data")
    shutil.rmtree(place)
    fails(emote("--resume", "--out", run), "is no prepared data set")
    trains("--resume", "--out", run, "--data", moved, "--max-steps", 2)
    trains("--resume", "--out", run, "--max-steps", 3)


def test_resume_from_the_command_line(dataset, tmp_path):
    run = tmp_path / "run"
    trains("--stage", "1", "--model", "tiny", "--data", dataset, "--out", run, "--max-steps", 1)
    fails(
        emote("--stage", "1", "--model", "tiny", "--data", dataset, "--out", run),
        f"{run} already holds a run",
        "--resume",
    )
    fails(emote("--resume", "--out", run, "--stage", "2"), "was started with stage 1, not 2")
    with only_writer(run / ".lock", run):
        fails(
            emote("--resume", "--out", run, "--max-steps", 2), f"another run is writing to {run}", "stop it"
        )
    trains("--resume", "--out", run, "--max-steps", 2)
    assert (run / "checkpoints" / "step-00000002").is_dir()
    fails(emote("--resume", "--out", tmp_path / "none"), "holds no run to resume")


def test_a_stage_that_a_recipe_spoils_is_not_left_out(monkeypatch):
    """It was: all stages trained but that one."""
    broken = {"vae": {}, "image": {"batch": 0}, "speed": {}}
    monkeypatch.setattr("emote_cli.training.settings.read_recipe", lambda model: ("train-x.yaml", broken))
    assert stage_names("all", "tiny") == ["vae", "image", "speed"]
    with pytest.raises(SettingsError, match=r"train-x\.yaml, image: batch = 0"):
        plan(Request(stage="all", model="tiny", data="d"), Path("run"))


def test_a_run_is_claimed_until_it_ends(tmp_path):
    run, request = tmp_path / "run", Request(stage="1", data="d")
    with claim(request, run, resume=False):
        with pytest.raises(OutputError, match="another run is writing"), claim(request, run, resume=True):
            pass
        ready, tell = os.pipe()
        child = os.fork()
        if not child:
            os.write(tell, b".")
            time.sleep(60)
            os._exit(0)
        os.read(ready, 1)
    try:  # a worker that outlives the run does not keep the lock
        with claim(request, run, resume=True):
            assert (run / "request.yaml").is_file()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_dry_run_trains_nothing(dataset, tmp_path):
    run = tmp_path / "run"
    out = trains(
        "--stage", "2", "--from", "tiny", "--model", "tiny", "--data", dataset, "--out", run, "--dry-run"
    )
    assert "temporal" in out
    assert "pictures/s" in out
    assert not run.exists()


def test_dry_run_covers_every_stage(tmp_path):
    data, run = make_dataset(tmp_path / "data"), tmp_path / "run"
    out = trains("--stage", "all", "--model", "tiny", "--data", data, "--out", run, "--dry-run")
    for stage in ("vae", "image", "video", "speed"):
        assert f"stage {stage}, 3 clips" in out
    assert out.count("pictures/s") == 4
    assert "all 4 stages: " in out
    assert not run.exists()
    assert not list((data / "cache").glob("*")), "latents of the untrained autoencoder were left behind"


def test_wrong_input_is_told_in_one_line(stage1, dataset, tmp_path, monkeypatch):
    def run(*args: object):
        return emote("--data", dataset, "--out", tmp_path / "run", *args)

    fails(
        run("--stage", "2", "--model", "tiny"), "stage 2 starts from stage 1, and no checkpoint", "--from RUN"
    )
    fails(run("--stage", "1", "--model", "mini", "--from", stage1), "is a model tiny, but --model says mini")
    fails(run("--stage", "1", "--model", "nosuch"), "nosuch")
    fails(run("--stage", "4", "--model", "tiny"), "unknown stage '4'", "vae")
    fails(
        run("--stage", "1", "--model", "tiny", "--set", "learning_rat=1"),
        "unknown setting",
        "did you mean learning_rate",
    )
    fails(run("--stage", "1", "--model", "tiny", "--set", "batch=0"), "batch")
    fails(
        run("--stage", "1", "--model", "tiny", "--set", "batch=3", "--set", "accumulation=2"), "a batch of 3"
    )
    fails(run("--stage", "1", "--model", "tiny", "--unfreeze", "nosuch"), "matches no parameter")
    fails(run("--stage", "1", "--model", "tiny", "--split", tmp_path / "no.json"), "cannot read the split")
    monkeypatch.chdir(tmp_path)  # the run's settings must find it from other folders, too
    fails(run("--stage", "1", "--model", "tiny", "--split", "no.json"), str(tmp_path / "no.json"))


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (("--set", "batch=many"), "batch = many", "samples per optimizer step"),
        (("--set", "learning_rate"), "'learning_rate' is not key=value", "learning_rate=2e-5"),
        (("--set", "trackers=[a"), "cannot read the value of trackers", "quote"),
        (("--set", "data.cache=of"), "'memory', 'disk' or 'off'", "latents"),
        (
            ("--set", "model.temporal.chunk_frame=4"),
            "unknown setting 'temporal.chunk_frame'",
            "chunk_frames?",
        ),
        (("--max-minutes", "0"), "max_minutes = 0", ""),
        (("--max-minutes", "-1"), "max_minutes = -1", ""),
        (("--unfreeze", "("), "--unfreeze (", "regular expression"),
    ],
)
def test_wrong_options_are_told_in_one_line(dataset, tmp_path, options, message, hint):
    run = tmp_path / "run"
    fails(emote("--stage", "1", "--model", "tiny", "--data", dataset, "--out", run, *options), message, hint)
    assert not (run / "checkpoints").exists()


def test_words_that_yaml_takes_for_truths_stay_words(dataset, tmp_path):
    """`off` and `no` are values of settings, not false."""
    trains(
        "--stage", "1", "--model", "tiny", "--data", dataset, "--out", tmp_path, "--max-steps", 1,
        "--set", "data.cache=off", "--set", "precision=no", "--set", "gradient_checkpointing=on",
    )  # fmt: skip
    settings = yaml.safe_load((tmp_path / "settings.yaml").read_text())["train"]
    assert settings["data"]["cache"] == "off"
    assert settings["precision"] == "no"
    assert settings["gradient_checkpointing"] is True


def test_a_clip_whose_track_is_damaged_is_left_out_by_name(tmp_path):
    data = make_dataset(tmp_path / "data")
    track = data / "tracks" / "two.npz"
    track.write_bytes(track.read_bytes()[:300])
    result = emote(
        "--stage", "1", "--model", "tiny", "--data", data, "--out", tmp_path / "run", "--max-steps", 1,
        "--set", "device=cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "left out: clip two" in result.stderr.replace("\n", " ")
    assert "two.npz is damaged" in result.stderr.replace("\n", " ")


def test_a_damaged_request_is_told(tmp_path):
    (tmp_path / "request.yaml").write_text("stage: [}")
    fails(emote("--resume", "--out", tmp_path), "request.yaml is damaged", "--from RUN")


def test_data_sets_that_cannot_be_used(tmp_path, dataset):
    def run(folder: Path):
        return emote("--stage", "1", "--model", "tiny", "--data", folder, "--out", tmp_path / "run")

    fails(run(tmp_path / "nowhere"), "is no prepared data set", "emote prepare")
    empty = tmp_path / "empty"
    empty.mkdir()
    write_records(empty / "manifest.jsonl", [])
    fails(run(empty), "holds no clip")
    (empty / "manifest.jsonl").write_bytes(b"\xff\xfe\x00")
    fails(run(empty), "is not a manifest", "prepare the data set again")
    (empty / "manifest.jsonl").write_text('{"video": "a.mp4"}')
    fails(run(empty), "line 1: not a clip record", "prepare the data set again")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    records = read_records(dataset / "manifest.jsonl")
    write_records(foreign / "manifest.jsonl", [dataclasses.replace(records[0], fps=30.0)])
    fails(run(foreign), "has 30 frames per second, the model works at 25", "--fps 25")


def test_the_log_and_the_curves(dataset, tmp_path):
    run = tmp_path / "run"
    trains(
        "--stage", "1", "--model", "tiny", "--data", dataset, "--out", run,
        "--max-steps", 4, "--set", "log_every=2",
    )  # fmt: skip
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4]
    assert np.isfinite(lines[0]["loss"])
    assert (run / "curves.png").stat().st_size > 500
