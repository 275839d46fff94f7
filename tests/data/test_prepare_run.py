"""Whole runs: resuming, refusing, reporting. The videos are few and small."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from emote_cli.data import layout
from emote_cli.data.manifest import ClipRecord, read_records
from emote_cli.data.prepare import run as runs
from emote_cli.data.prepare import thumbnails
from emote_cli.data.prepare.report import render
from emote_cli.data.prepare.settings import PrepareSettings
from emote_cli.errors import InputError, OutputError
from emote_cli.zoo.locate import locate_bundled

from .conftest import LOOSE, swaying
from .test_prepare_video import listing

MODEL = locate_bundled("face_landmarker.task")


@pytest.fixture
def raw(tmp_path, talking):
    folder = tmp_path / "raw videos"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(talking, folder / "b.mp4")
    shutil.copy(talking, folder / "sub" / "it's.mp4")
    (folder / "bad.mp4").write_text("no video")
    return folder


def prepare(raw, dataset, settings=LOOSE, **options):
    return list(runs.run(runs.plan(raw, dataset, settings, MODEL, **options)))


def times(folder):
    return {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"
    }


def test_a_run_keeps_books_and_a_second_does_nothing(raw, tmp_path):
    dataset = tmp_path / "dataset"
    states = prepare(raw, dataset)
    assert [(s.done, s.total) for s in states] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert (states[-1].accepted, states[-1].rejected) == (2, 1)
    assert [r.id for r in read_records(dataset / "manifest.jsonl")] == ["b", "it-s"]
    assert [(r.id, r.reason) for r in read_records(dataset / "rejected.jsonl")] == [("bad", "unreadable")]
    assert (dataset / "report.html").exists()
    before = times(dataset)
    again = prepare(raw, dataset)
    assert [(s.done, s.resumed) for s in again] == [(3, 3)]
    assert times(dataset) == before


def test_names_that_are_no_text_are_booked(talking, tmp_path):
    raw, dataset = tmp_path / "raw", tmp_path / "da\udce9ta"
    raw.mkdir()
    names = ["b\udce9.mp4", "new\nline.mp4", "separator\u2028.mp4", "人物.mp4"]
    for name in names:
        shutil.copy(talking, raw / name)
    states = prepare(raw, dataset)
    assert states[-1].accepted == 4, [r.detail for r in read_records(dataset / "rejected.jsonl")]
    records = read_records(dataset / "manifest.jsonl")
    assert sorted(r.source for r in records) == sorted(names)
    assert (dataset / "manifest.jsonl").read_bytes().decode("utf-8").count("\n") == 4
    assert "人物.mp4" in (dataset / "report.html").read_text("utf-8")
    assert prepare(raw, dataset)[-1].resumed == 4


def test_what_is_missing_or_changed_is_made_again(raw, tmp_path):
    dataset = tmp_path / "dataset"
    prepare(raw, dataset)
    made = listing(dataset)
    (dataset / "clips" / "b.mp4").unlink()
    (dataset / "state" / "it-s.json").write_text("{half")
    (dataset / "clips" / ".part-b-x.mp4").write_text("left by a killed run")
    assert prepare(raw, dataset)[0].resumed == 1
    assert listing(dataset) == made
    other = LOOSE.model_copy(update={"size": 32, "min_face_px": 500})
    assert prepare(raw, dataset, other)[-1].accepted == 0
    assert list((dataset / "clips").iterdir()) == []


def test_a_video_that_is_gone_leaves_the_manifest(raw, tmp_path):
    prepare(raw, tmp_path / "dataset")
    (raw / "b.mp4").unlink()
    prepare(raw, tmp_path / "dataset")
    assert [r.id for r in read_records(tmp_path / "dataset" / "manifest.jsonl")] == ["it-s"]


def test_two_workers_make_the_same_files(raw, tmp_path):
    for workers in (1, 2):
        prepare(raw, tmp_path / "at" / str(workers) / "dataset", workers=workers)
    assert listing(tmp_path / "at" / "1") == listing(tmp_path / "at" / "2")


SCRIPT = """
import sys
from pathlib import Path
from emote_cli.data.prepare import run as runs
from emote_cli.data.prepare.settings import PrepareSettings
raw, dataset, settings, model = sys.argv[1:]
if __name__ == "__main__":
    plan = runs.plan(Path(raw), Path(dataset), PrepareSettings.model_validate_json(settings), Path(model))
    for state in runs.run(plan):
        print(state.done, flush=True)
"""


def test_killed_in_the_middle_and_run_again(raw, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    dataset, whole = tmp_path / "a" / "dataset", tmp_path / "b" / "dataset"
    arguments = [sys.executable, str(script), str(raw), str(dataset), LOOSE.model_dump_json(), str(MODEL)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.strip() == "1":
                os.kill(process.pid, signal.SIGKILL)
    _wait_for_orphans(dataset)
    assert not (dataset / "manifest.jsonl").exists()
    states = prepare(raw, dataset)
    assert states[0].resumed >= 1
    prepare(raw, whole)
    assert listing(dataset) == listing(whole)


def _wait_for_orphans(dataset):
    """The worker of a killed run finishes the video at hand, then ends."""
    quiet, before = 0, None
    while quiet < 4:
        now = listing(dataset)
        quiet, before = (quiet + 1, now) if now == before else (0, now)
        time.sleep(0.5)


def test_bad_places_are_refused_before_anything_is_written(raw, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    cases = [
        (tmp_path / "empty", tmp_path / "d", InputError, "holds no video"),
        (tmp_path / "none", tmp_path / "d", InputError, "does not exist"),
        (raw, raw / "dataset", OutputError, "inside the input folder"),
        (raw, raw, OutputError, "inside the input folder"),
        (raw, tmp_path / "file", OutputError, "is a file"),
    ]
    for source, dataset, kind, words in cases:
        with pytest.raises(kind, match=words) as raised:
            prepare(source, dataset)
        assert raised.value.hint
    assert not (tmp_path / "d").exists()


def test_a_place_that_cannot_be_made(raw, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot make"):
        prepare(raw, tmp_path / "file" / "dataset")


def test_one_run_at_a_time(raw, tmp_path):
    plan = runs.plan(raw, tmp_path / "dataset", LOOSE, MODEL)
    first = runs.run(plan)
    next(first)
    with pytest.raises(OutputError, match="another run"):
        next(runs.run(plan))
    first.close()
    next(runs.run(plan))


def test_an_output_error_stops_the_run(raw, tmp_path):
    run = runs.run(runs.plan(raw, tmp_path / "dataset", LOOSE, MODEL))
    next(run)
    shutil.rmtree(tmp_path / "dataset" / "state")
    with pytest.raises(OutputError):
        list(run)


# ------------------------------------------------------------------------------------------------- report


def record(name, reason=None, **measured):
    return ClipRecord(
        id=name,
        source="<script>.mp4",
        sha256="",
        start_s=0.0,
        end_s=3.0,
        fps=25.0,
        frames=75,
        size=64,
        has_audio=True,
        reason=reason,
        detail="too <dark>" if reason else "",
        marks=[reason] if reason else [],
        measured=measured,
    )


def test_the_report_needs_nothing_but_itself(tmp_path, rng):
    layout.make_folders(tmp_path)
    strip = thumbnails.ThumbStrip(7)
    for i in range(7):
        strip.add(i, rng.integers(0, 255, (48, 64, 3), "uint8"))
    strip.write(layout.thumb_path(tmp_path, "a"), None)
    page = render(tmp_path, [record("a", yaw_deg=3.0), record("b", "dark", yaw_deg=50.0)], PrepareSettings())
    assert "data:image/jpeg;base64," in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<script" not in page
    assert "too &lt;dark&gt;" in page
    assert 'class="limit"' in page
    assert "the face is too dark" in page


def test_an_empty_data_set_has_a_report_too(tmp_path):
    assert "No filter caught anything" in render(tmp_path, [], PrepareSettings())


# ------------------------------------------------------------------------------------------------ command


def test_the_command_prepares_and_names_the_report(raw, tmp_path):
    from typer.testing import CliRunner

    from emote_cli.cli import app

    loose = [f"--set={name}={value}" for name, value in LOOSE.model_dump(exclude_defaults=True).items()]
    dataset = tmp_path / "dataset"
    done = CliRunner().invoke(app, ["prepare", str(raw), str(dataset), *loose, "--workers", "2"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(dataset / "report.html")
    assert "accepted 2 clips" in done.stderr
    rows = (dataset / "manifest.jsonl").read_text().splitlines()
    assert json.loads(rows[0])["size"] == 64


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--set", "sise=64"], "did you mean size"), (["--settings", "none.yaml"], "none.yaml cannot be read")],
)
def test_the_command_says_what_is_wrong(raw, tmp_path, arguments, words):
    from typer.testing import CliRunner

    from emote_cli.cli import app

    done = CliRunner().invoke(app, ["prepare", str(raw), str(tmp_path / "d"), *arguments])
    assert done.exit_code == 1
    assert words in done.stderr


def test_a_long_clip_keeps_few_frames_for_its_strip(portrait):
    strip = thumbnails.ThumbStrip(600)
    for i, frame in enumerate(list(swaying(portrait, 3)) * 200):
        strip.add(i, frame)
    assert len(strip._frames) == thumbnails.THUMB_FRAMES
