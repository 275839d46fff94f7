"""The second look at a video: which frames, cut out where, and the same numbers again from what was kept."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from made_up_footage import FRAMES, footage
from stand_in_networks import Colors, stand_ins
from typer.testing import CliRunner

from emote_cli.cli import app
from emote_cli.evaluation.footage import Footage
from emote_cli.evaluation.learned.crops import frames_at_25, lip_squares
from emote_cli.evaluation.learned.features import Features, extract
from emote_cli.evaluation.learned.inception import embed_pictures
from emote_cli.evaluation.learned.networks import Networks
from emote_cli.evaluation.learned.syncnet import measure_syncnet
from emote_cli.media.image import cut_window
from emote_cli.media.video import VideoWriter, read_frames
from emote_cli.types import Box


@pytest.mark.parametrize(
    ("n_frames", "fps", "shown"),
    [
        (4, 25.0, [0, 1, 2, 3]),
        (6, 50.0, [0, 2, 4]),
        (3, 12.5, [0, 1, 1, 2, 2, 2]),
        (6, 30.0, [0, 1, 2, 4, 5]),
    ],
)
def test_other_rates_take_the_nearest_frame(n_frames, fps, shown):
    assert frames_at_25(n_frames, fps).tolist() == shown


def test_lips_are_looked_at_in_smooth_squares_that_reach_below_the_face():
    boxes = np.tile(np.array([40.0, 50, 60, 90]), (40, 1))
    boxes[20] += 1000  # one wrong detection
    boxes[5:9] = np.nan
    assert set(lip_squares(boxes)) == {Box(22, 50, 78, 106)}


def test_what_lies_outside_of_the_picture_is_gray():
    white = np.full((10, 10, 3), 255, np.uint8)
    found = cut_window(white, Box(-10, 0, 10, 20), 20, 110)
    assert found.shape == (20, 20, 3)
    assert (found[:9, 11:] == 255).all()
    assert (found[:, :9] == 110).all()
    assert (cut_window(white, Box(50, 50, 60, 60), 4) == 0).all()


def short(n_frames: int, **changes: object) -> Footage:
    """The beginning of the made-up clip."""
    whole = footage(width=128, height=96, boxes_px=np.tile(np.array([40.0, 20, 80, 60]), (FRAMES, 1)))
    values = {each.name: getattr(whole, each.name) for each in fields(Footage)}
    values |= {k: v[:n_frames] for k, v in values.items() if np.ndim(v) and len(v) == FRAMES}
    return Footage(**{**values, **changes})


@pytest.fixture(scope="module")
def clip(tmp_path_factory, speech_path):
    """60 frames of noise that gets brighter, with speech."""
    path, rng = tmp_path_factory.mktemp("clip") / "clip.mp4", np.random.default_rng(0)
    with VideoWriter(path, 25, audio=speech_path, audio_duration_s=2.4, preset="ultrafast") as writer:
        for number in range(60):
            writer.write(rng.integers(0, 100 + number, (96, 128, 3), np.uint8))
    return path


def test_each_network_sees_its_share(clip):
    found = extract(clip, short(60), stand_ins())
    assert found.networks == "inception i3d syncnet"
    assert found.pictures.shape == (50, 2048)
    assert found.pieces.shape == (3, 400)
    assert found.distances.shape == (31,)
    frames = list(read_frames(clip))
    places = np.linspace(0, 59, 50).round().astype(int)
    square = Box(26, 6, 94, 74)  # 1.7 times the face
    by_hand = embed_pictures(Colors(), np.stack([cut_window(frames[k], square, 299) for k in places[:10]]))
    np.testing.assert_allclose(found.pictures[:10], by_hand, rtol=1e-5)


def test_frames_without_a_face_and_networks_that_are_not_there_are_passed_over(clip):
    seen = np.ones(60, bool)
    seen[:16] = False
    boxes = np.where(seen[:, None], [40.0, 20, 80, 60], np.nan)
    found = extract(clip, short(60, found=seen, boxes_px=boxes), stand_ins())
    assert found.pieces.shape == (2, 400), "the first piece begins without a face"
    assert 30 < len(found.pictures) < 40
    bare = extract(clip, short(60), Networks(inception=Colors()))
    assert bare.networks == "inception"
    assert bare.sync_distances is None
    assert not bare.pieces.size


def test_faces_only_in_frames_between_those_at_25_a_second_have_no_lips(clip):
    seen = np.arange(60) % 2 == 1
    boxes = np.where(seen[:, None], [40.0, 20, 80, 60], np.nan)
    found = extract(clip, short(60, fps=50.0, found=seen, boxes_px=boxes), stand_ins())
    assert not found.distances.size
    assert "shows no face at 25" in measure_syncnet(found.sync_distances)["syncnet.lse_d"]


def test_the_command_goes_on_from_what_was_kept_with_the_same_numbers(faces: Path, tmp_path, monkeypatch):
    looks: list[Path] = []

    def count(path: Path, *rest: object) -> Features:
        looks.append(path)
        return extract(path, *rest)

    monkeypatch.setattr("emote_cli.evaluation.evaluate.open_networks", stand_ins)
    monkeypatch.setattr("emote_cli.evaluation.batch.any_fetched", lambda: True)
    monkeypatch.setattr("emote_cli.evaluation.evaluate.extract", count)
    line = ["evaluate", str(faces / "one.mp4"), str(faces / "two.mp4"), "--truth", str(faces)]

    def run(*more: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*line, *more], catch_exceptions=False)
        return result.exit_code, " ".join(result.stderr.split())

    out = tmp_path / "out"
    code, said = run("--out", str(out), "--require", "fid<=0.1")
    assert code == 1
    assert "fid was not measured: too small a sample" in said
    assert len(looks) == 2, "the true ones are the same files"
    code, said = run("--out", str(out), "--require", "fid<=0.1", "--force-small")
    assert code == 0, said
    assert len(looks) == 2
    assert "fid 0.000: 12 frames of 2 videos against 12 frames of 2 videos of true ones, forced" in said
    kept = json.loads((out / "metrics.json").read_text())["set"]
    again = tmp_path / "again"
    run("--out", str(again), "--force-small")
    assert json.loads((again / "metrics.json").read_text())["set"] == kept
    assert (
        "shorter than"
        in json.loads((out / "metrics.json").read_text())["videos"][0]["not_measured"]["syncnet.lse_d"]
    )
