"""Held-out clips: which ones, what a model gets of them, and the tiny model's renders, killed and gone on with."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from emote_cli.animation.provenance import MADE_BY, read_making, weights_hash
from emote_cli.cli import app
from emote_cli.data.manifest import ClipRecord, write_records
from emote_cli.errors import (
    DataError,
    DeviceError,
    EmoteError,
    FaceError,
    InputError,
    OutputError,
    WeightsError,
)
from emote_cli.evaluation.holdout import Clip, find_clips, has_inputs, write_inputs
from emote_cli.evaluation.renders import Maker, make_renders, only_maker
from emote_cli.media.audio import read_audio
from emote_cli.media.image import read_image
from emote_cli.media.video import probe, read_frames, write_video
from emote_cli.model.checkpoint import random_model, save_model
from emote_cli.settings import load_preset
from emote_cli.training.run_folder import read_data_settings
from emote_cli.zoo.locate import locate_bundled


@pytest.fixture
def dataset(faces: Path, tmp_path: Path) -> Path:
    """A prepared data set of the two faces: picture and sound lie apart."""
    folder = tmp_path / "dataset"
    records = []
    for name in ("one", "two"):
        for place in ("clips", "audio"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        frames = list(read_frames(faces / f"{name}.mp4"))
        write_video(folder / "clips" / f"{name}.mp4", frames, 25, preset="ultrafast")
        sound = read_audio(faces / f"{name}.mp4")
        soundfile.write(folder / "audio" / f"{name}.flac", sound.samples, sound.sample_rate_hz)
        size = frames[0].shape[0]
        records.append(
            ClipRecord(
                name, f"{name}.mov", "", 0.0, len(frames) / 25, 25.0, len(frames), size, has_audio=True
            )
        )
    write_records(folder / "manifest.jsonl", records)
    return folder


def split_file(folder: Path, text: str) -> Path:
    path = folder / "split.json"
    path.write_text(text)
    return path


def names(clips: list[Clip]) -> list[str]:
    return [clip.name for clip in clips]


def test_of_a_plain_folder_every_video_is_made_or_what_the_split_holds_out(
    faces: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(faces, data)
    shutil.copy(faces / "one.mp4", data / "one.mov")
    write_video(data / "silent.mp4", np.full((3, 64, 64, 3), 90, np.uint8), 25)
    (data / "picture.png").touch()
    found = find_clips(data, out)
    assert len(set(names(found.clips))) == len(found.clips) == 3
    assert found.silent == ["silent"]
    assert found.clips[0].truth == found.clips[0].video == found.clips[0].audio
    assert not out.exists()
    split = split_file(tmp_path, '{"any": {"heldout": ["two.mp4"], "train": "all other"}}')
    assert names(find_clips(data, out, split).clips) == ["two"]


def test_of_a_data_set_the_split_says_which(dataset: Path, tmp_path: Path) -> None:
    found = find_clips(dataset, tmp_path / "out", split_file(tmp_path, '{"heldout": ["two.mov"]}'))
    assert names(found.clips) == ["two"]
    rest = split_file(tmp_path, '{"heldout": "all other clips", "train": ["two"]}')
    assert names(find_clips(dataset, tmp_path / "out", rest).clips) == ["one"]
    assert len(find_clips(dataset, tmp_path / "out", split_file(tmp_path, '{"heldout": ["*"]}')).clips) == 2


def test_a_run_knows_which_clips_it_held_out(tmp_path: Path) -> None:
    assert read_data_settings(tmp_path) is None
    stage = tmp_path / "run" / "image"
    stage.mkdir(parents=True)
    (tmp_path / "run" / "settings.yaml").write_text("name: mini\n")
    (stage / "settings.yaml").write_text("data: set\ntrain: {data: {split: split.json, held_out: val}}\n")
    for folder in (tmp_path / "run", stage):
        settings = read_data_settings(folder)
        assert settings is not None
        assert (settings.split, settings.held_out) == ("split.json", "val")


def test_what_is_wrong_with_the_data_is_told_at_once(dataset: Path, faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    none = split_file(tmp_path, '{"heldout": ["three"]}')
    with pytest.raises(InputError, match="is no folder"):
        find_clips(tmp_path / "nothing", out)
    with pytest.raises(DataError, match="nothing says which of the 2 clips"):
        find_clips(dataset, out)
    with pytest.raises(DataError, match="none of the 2 clips") as error:
        find_clips(dataset, out, none)
    assert "named like one" in error.value.hint
    with pytest.raises(DataError, match="none of the 2 clips"):
        find_clips(faces, out, none)
    with pytest.raises(OutputError, match="lies inside"):
        find_clips(faces, faces / "out")
    mute = tmp_path / "mute"
    mute.mkdir()
    write_video(mute / "silent.mp4", np.full((3, 64, 64, 3), 90, np.uint8), 25)
    with pytest.raises(DataError, match="none of the 1 held-out clips"):
        find_clips(mute, out)
    with pytest.raises(WeightsError, match="unknown"):
        Maker.of("mimi")


def test_a_model_gets_the_first_frame_and_the_truth_has_its_sound(dataset: Path, tmp_path: Path) -> None:
    split = split_file(tmp_path, '{"heldout": ["one"]}')
    (clip,) = find_clips(dataset, tmp_path / "out", split).clips
    write_inputs(clip)
    assert clip.video is not None
    assert clip.truth is not None
    true = np.stack(list(read_frames(clip.video)))
    assert np.array_equal(read_image(clip.portrait), true[0])
    assert np.array_equal(np.stack(list(read_frames(clip.truth))), true)
    assert probe(clip.truth).has_audio
    assert has_inputs(clip)


def test_a_clip_without_a_face_cannot_be_made(faces: Path, tmp_path: Path) -> None:
    video = tmp_path / "gray.mp4"
    write_video(video, np.full((3, 64, 64, 3), 90, np.uint8), 25, audio=faces / "one.mp4")
    clip = Clip.of_video(video, "gray", tmp_path / "out", 0.12)
    ((same, answer),) = make_renders([clip], Maker.of("tiny", "cpu"))
    assert same == clip
    assert isinstance(answer, FaceError)
    assert not clip.render.exists()


def test_two_runs_make_the_same_and_a_killed_one_goes_on(faces: Path, tmp_path: Path) -> None:
    maker = Maker.of("tiny", "cpu")
    whole = find_clips(faces, tmp_path / "a").clips
    assert [answer for _, answer in make_renders(whole, maker)] == [(), ()]
    clips, left = find_clips(faces, tmp_path / "b").clips, [9]

    def kill(frames: int) -> None:
        left[0] -= frames
        if left[0] < 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(make_renders(clips, maker, on_frame=kill))
    assert [maker.check_made(clip) for clip in clips] == [True, False]
    first = clips[0].render.stat().st_mtime_ns
    todo = [clip for clip in clips if not maker.check_made(clip)]
    assert dict(make_renders(todo, maker)) == {clips[1]: ()}
    assert [clip.render.read_bytes() for clip in clips] == [clip.render.read_bytes() for clip in whole]
    assert clips[0].render.stat().st_mtime_ns == first
    assert sorted(path.name for path in (tmp_path / "b" / "renders").iterdir()) == ["one.mp4", "two.mp4"]


def test_renders_of_other_weights_or_clips_are_never_taken(faces: Path, tmp_path: Path) -> None:
    maker = Maker.of("tiny", "cpu")
    clip, other = find_clips(faces, tmp_path / "out").clips
    list(make_renders([clip], maker))
    assert maker.check_made(clip)
    with pytest.raises(OutputError, match="made by another model"):
        replace(maker, weights="trained on").check_made(clip)
    with pytest.raises(OutputError, match="another clip"):
        maker.check_made(replace(clip, audio=other.audio))
    shutil.copy(faces / "two.mp4", other.render)
    with pytest.raises(OutputError, match="made by another model"):
        maker.check_made(other)


def test_inputs_of_another_clip_are_never_taken(
    dataset: Path, tmp_path: Path, portrait_path: Path, speech_path: Path
) -> None:
    """A clip of the same name in another data set, with the same output folder."""
    maker, split = Maker.of("tiny", "cpu"), split_file(tmp_path, '{"heldout": ["one"]}')
    (clip,) = find_clips(dataset, tmp_path / "out", split).clips
    list(make_renders([clip], maker))
    assert clip.video is not None
    assert clip.truth is not None
    frames = list(read_frames(clip.video))
    write_video(clip.video, frames[::-1], 25, preset="ultrafast")
    with pytest.raises(OutputError, match="another clip"):
        maker.check_made(clip)
    clip.render.unlink()
    clip.portrait.write_bytes(b"of a killed run")
    list(make_renders([clip], maker))
    assert maker.check_made(clip)
    true = np.stack(list(read_frames(clip.video)))
    assert np.array_equal(read_image(clip.portrait), true[0])
    assert np.array_equal(np.stack(list(read_frames(clip.truth))), true)
    clip.truth.unlink()
    assert maker.check_made(clip)
    assert clip.truth.exists()


def test_the_split_of_a_run_that_is_not_here_is_told(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "settings.yaml").write_text("data: set\ntrain: {data: {split: gone.json}}\n")
    line = ["evaluate", "--data", str(dataset), "--model", str(run), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 1
    assert f"{run} was trained with gone.json, which is not here" in " ".join(result.stderr.split())
    assert "name it with --split" in result.stderr


def test_what_would_go_wrong_with_every_clip_stops_the_run(faces: Path, tmp_path: Path) -> None:
    clips = find_clips(faces, tmp_path / "out").clips
    with pytest.raises(DeviceError, match="cuda"):
        list(make_renders(clips, replace(Maker.of("tiny"), device="cuda")))


def test_only_one_run_makes_clips_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "renders").mkdir()
    with only_maker(tmp_path), pytest.raises(OutputError, match="another run"), only_maker(tmp_path):
        pass


def test_a_cluster_runs_the_same_function(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself is optional: its place is taken by a loop that sends every job through pickle, elsewhere."""
    asked: list[tuple[str, bool]] = []
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def map_jobs_ray(function, jobs, address, *, gpu):
        asked.append((address, gpu))
        for job in jobs:
            monkeypatch.chdir(elsewhere)
            yield job, pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(function))(job)))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("emote_cli.jobs.ray.map_jobs_ray", map_jobs_ray)
    clips = find_clips(faces, Path("out")).clips
    (tmp_path / "models/own").mkdir(parents=True)
    save_model(random_model(load_preset("tiny")), tmp_path / "models/own")
    maker = Maker.of("models/own", "cpu")
    answers: dict[Clip, tuple[str, ...] | EmoteError] = dict(make_renders(clips, maker, ray="here:1"))
    assert answers == dict.fromkeys(clips, ())
    assert asked == [("here:1", False)]
    assert {path.name for path in (tmp_path / "out" / "renders").iterdir()} == {"one.mp4", "two.mp4"}
    monkeypatch.chdir(tmp_path)
    assert all(maker.check_made(clip) for clip in clips)
    assert read_making(clips[0].render)["settings"]["model"] == "models/own"


def test_the_command_makes_clips_once_and_measures_them(dataset: Path, tmp_path: Path) -> None:
    split, out = split_file(tmp_path, '{"heldout": ["*"]}'), tmp_path / "out"
    line = ["evaluate", "--data", str(dataset), "--split", str(split), "--out", str(out), "--device", "cpu"]
    first = CliRunner().invoke(app, line)
    assert first.exit_code == 0, first.output
    assert str(out / "report.html") in first.stdout
    measured = (out / "metrics.json").read_text()
    made = {path: path.stat().st_mtime_ns for path in (out / "renders").glob("*.mp4")}
    assert {path.stem for path in made} == {"one", "two"}
    again = CliRunner().invoke(app, line)
    assert "2 of 2 clips were made before" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert (out / "metrics.json").read_text() == measured
    video = json.loads(measured)["videos"][0]
    truth = video["truth"]
    assert video["made"] == {
        "model": "mini",
        "weights_sha256": weights_hash(locate_bundled("mini")),
        "made_by": MADE_BY,
    }
    assert "made" not in truth
    assert f"Made by mini ({MADE_BY}, weights " in (out / "report.html").read_text()
    assert truth["numbers"]["timing.sound_longer_ms"] == pytest.approx(0, abs=40)


@pytest.mark.parametrize(
    "line",
    [
        ["--data", "clips"],
        ["--model", "mini"],
        ["--data", "clips", "--out", "out", "video.mp4"],
        ["--data", "clips", "--out", "out", "--portrait", "me.jpg"],
    ],
)
def test_options_that_do_not_go_together(line: list[str]) -> None:
    assert CliRunner().invoke(app, ["evaluate", *line]).exit_code == 2
