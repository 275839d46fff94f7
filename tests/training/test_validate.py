"""Validation videos and their figures; the log and its curves."""

import math

import numpy as np
import pytest
from PIL import Image

from emote_cli.data.manifest import read_records
from emote_cli.data.prepare.sync import correlation
from emote_cli.errors import WeightsError
from emote_cli.media.video import probe, read_frames
from emote_cli.model.checkpoint import random_model
from emote_cli.settings import load_preset
from emote_cli.training.log import RunLog, read_log
from emote_cli.training.metrics import Identity, psnr_db
from emote_cli.training.observer import StepReport
from emote_cli.training.run_folder import CURVES
from emote_cli.training.settings import ValidationSettings
from emote_cli.training.validate import Examiner, mean_known, read_held_out


def test_a_held_out_clip_begins_where_its_face_does(dataset):
    record = read_records(dataset / "manifest.jsonl")[0]
    held_out = read_held_out(dataset, record, 32, seconds=0.2)
    plain = list(read_frames(dataset / "clips" / f"{record.id}.mp4"))
    assert len(held_out.frames) == len(held_out.jaw) == 5
    assert np.array_equal(held_out.frames[0], plain[0])
    assert np.array_equal(held_out.portrait.pixels, plain[0])
    assert held_out.speech.duration_s == pytest.approx(0.2)
    assert held_out.portrait.face.box_px.width == pytest.approx(20)


def test_videos_are_generated_beside_true_with_sound(dataset, tmp_path):
    notes = []
    records = read_records(dataset / "manifest.jsonl")
    settings = ValidationSettings(every=1, clips=2, seconds=0.4)
    broken = tmp_path / "data"
    broken.mkdir()
    for name in ("clips", "audio", "tracks"):
        (broken / name).symlink_to(dataset / name)
    examiner = Examiner(broken, records, tmp_path, settings, notes.append)
    figures = examiner(random_model(load_preset("tiny")), step=7)
    assert set(figures) == {"jaw_correlation", "psnr_db"}
    assert 3 < figures["psnr_db"] < 60
    videos = sorted((tmp_path / "samples").glob("*.mp4"))
    assert [video.name for video in videos] == ["step-00000007-one.mp4", "step-00000007-two.mp4"]
    info = probe(videos[0])
    assert (info.width, info.height, info.has_audio) == (64, 32, True)
    frames = np.stack(list(read_frames(videos[0]))).astype(int)
    true = np.stack(list(read_frames(dataset / "clips" / "one.mp4"))[:10])
    assert np.abs(frames[:, :, 32:] - true).mean() < 8
    assert not notes


def test_a_missing_clip_is_noted(dataset, tmp_path):
    notes = []
    records = read_records(dataset / "manifest.jsonl")
    examiner = Examiner(tmp_path, records, tmp_path, ValidationSettings(clips=1), notes.append)
    assert examiner(random_model(load_preset("tiny")), step=1) == {}
    assert len(notes) == 1
    assert "one" in notes[0]


def test_correlation_knows_gaps_and_flat_curves():
    curve = np.sin(np.arange(20.0))
    assert correlation(curve, 2 * curve + 1) == pytest.approx(1)
    assert correlation(curve, -curve[:15]) == pytest.approx(-1)
    holes = np.where(np.arange(20) % 3 == 0, np.nan, curve)
    assert correlation(holes, curve) == pytest.approx(1)
    assert math.isnan(correlation(np.zeros(20), curve))
    assert math.isnan(correlation(np.full(20, np.nan), curve))
    assert mean_known([math.nan, 1.0, 2.0]) == 1.5


def test_psnr():
    black, gray = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)
    assert psnr_db([black], [gray]) == pytest.approx(20 * math.log10(5))
    assert psnr_db([gray], [gray]) == math.inf


def test_sface_must_be_there(tmp_path):
    with pytest.raises(WeightsError, match="no SFace model"):
        Identity(tmp_path / "none.onnx")


def report(step: int, loss: float) -> StepReport:
    return StepReport(step, loss, 1e-3, 10.0, step / 10)


def test_the_log_holds_means_and_later_lines_count(tmp_path):
    log = RunLog(tmp_path, every=2)
    for step, loss in enumerate([1.0, 3.0, 5.0, 7.0], start=1):
        log.on_step(report(step, loss))
    log.on_figures(4, {"psnr_db": math.nan, "jaw_correlation": 0.25})
    log.on_saved(tmp_path / "somewhere")
    again = RunLog(tmp_path, every=2)  # a run that goes on from step 2
    again.on_step(report(3, 6.0))
    again.on_step(report(4, 8.0))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # killed while writing
    curves = read_log(tmp_path)
    assert curves["loss"] == {2: 2.0, 4: 7.0}
    assert curves["jaw_correlation"] == {4: 0.25}
    assert "psnr_db" not in curves
    log.draw()
    with Image.open(tmp_path / CURVES) as picture:
        assert picture.width == 720
        assert picture.height > 220
