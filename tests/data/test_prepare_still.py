"""Still portraits: clips of one frame, judged as videos are."""

import shutil

import cv2
import numpy as np
import pytest
import torch

from emote_cli.data.manifest import read_records
from emote_cli.data.prepare import run as runs
from emote_cli.data.selection import DataSettings, read_dataset, select
from emote_cli.media.video import read_frames
from emote_cli.training.pairs import Pairs, read_pairs
from emote_cli.zoo.locate import locate_bundled

from .conftest import LOOSE, swaying

MODEL = locate_bundled("face_landmarker.task")


@pytest.fixture(scope="module")
def raw(tmp_path_factory, talking, portrait):
    """A video, two portraits of one name, a picture without a face, and a file that is none."""
    folder = tmp_path_factory.mktemp("raw")
    face = next(swaying(portrait, 1))
    for name in ("ann.png", "more/ann.webp"):
        (folder / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(folder / name), face[..., ::-1])
    assert cv2.imwrite(str(folder / "wall.jpg"), np.full((90, 90, 3), 130, np.uint8))
    (folder / "no.png").write_text("no picture")
    shutil.copy(talking, folder / "talk.mp4")
    return folder


@pytest.fixture(scope="module")
def dataset(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "dataset"
    states = list(runs.run(runs.plan(raw, folder, LOOSE, MODEL)))
    assert (states[-1].accepted, states[-1].rejected) == (3, 2)
    return folder


def test_stills_stand_beside_videos(dataset):
    records = {record.source: record for record in read_dataset(dataset)}
    assert {source: record.frames for source, record in records.items()} == {
        "ann.png": 1,
        "more/ann.webp": 1,
        "talk.mp4": 27,
    }
    still = records["ann.png"]
    assert not still.has_audio
    assert (still.start_s, still.end_s) == (0, 0.04)
    assert {"face_px", "brightness", "yaw_deg"} <= still.measured.keys()
    assert not {"frozen", "jump", "seconds", "speech"} & still.measured.keys()
    (frame,) = read_frames(dataset / "clips" / f"{still.id}.mp4")
    assert frame.shape == (64, 64, 3)
    track = np.load(dataset / "tracks" / f"{still.id}.npz")
    assert track["landmarks_px"].shape == (1, 478, 3)
    assert 0 < track["landmarks_px"][..., :2].min()
    assert track["landmarks_px"][..., :2].max() < 64
    assert not (dataset / "audio" / f"{still.id}.flac").exists()
    assert (
        "ann.png" in (dataset / "report.html").read_text()
        or still.id in (dataset / "report.html").read_text()
    )


def test_stills_are_rejected_with_reasons(dataset, raw):
    reasons = {record.source: record.reason for record in read_records(dataset / "rejected.jsonl")}
    assert reasons == {"no.png": "unreadable", "wall.jpg": "no_face"}
    strict = LOOSE.model_copy(update={"min_face_px": 500})
    last = list(runs.run(runs.plan(raw, dataset.parent / "strict", strict, MODEL)))[-1]
    assert last.accepted == 0


def test_a_second_run_does_nothing(dataset, raw):
    assert [(s.done, s.resumed) for s in runs.run(runs.plan(raw, dataset, LOOSE, MODEL))] == [(5, 5)]


def test_only_the_painter_learns_from_stills(dataset):
    records = read_dataset(dataset)
    pairs = read_pairs(
        dataset, records, [1.0] * len(records), 3, 0, on_clip=lambda done: None, on_bad=pytest.fail
    )
    assert sorted(len(clip) for clip in pairs.clips)[:2] == [1, 1]
    assert len(pairs.clips) == 3
    still = next(clip for clip in pairs.clips if len(clip) == 1)
    drawn = Pairs([still], np.ones(1), 0).example(0)
    assert not torch.equal(drawn.portrait, drawn.target), "its mouth is closed by a warp"
    split = dataset / "split.json"
    split.write_text('{"train": ["talk.mp4"], "heldout": ["*ann*"]}')
    chosen = select(records, DataSettings(split=str(split)))
    assert chosen.held_out == [], "validation shows videos"
