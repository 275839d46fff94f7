"""What `emote evaluate` writes: the true video's own numbers, and paths that tell nothing of the machine."""

import csv
import io
import json
import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from made_up_footage import FRAMES, evaluation, footage

from emote_cli.commands import evaluate_table
from emote_cli.evaluation import report
from emote_cli.evaluation.evaluate import MEASURES, PROTOCOL, Evaluation
from emote_cli.evaluation.footage import Footage
from emote_cli.evaluation.summary import medians, seen_from


def test_each_video_has_the_numbers_of_its_true_one(evaluations: list[Evaluation], tmp_path: Path) -> None:
    told = json.loads(json.dumps(report.as_dict(evaluations, tmp_path / "out")))
    assert told["protocol"] == PROTOCOL
    assert [row["video"] for row in told["videos"]] == ["../renders/a.mp4", "../renders/<b>&.mp4"]
    for row in told["videos"]:
        assert row["truth"]["video"] == "../true/a.mp4"
        assert row["truth"]["numbers"]["sync.correlation"] == pytest.approx(1)
        assert not any("ratio" in name or name == "lips.correlation" for name in row["truth"]["numbers"])
    assert told["median_truth"]["sync.correlation"] == pytest.approx(1)
    assert told["median"]["sync.correlation"] < 0.9
    assert str(tmp_path) not in json.dumps(told)


def test_identity_color_and_sharpness_are_told_per_10_s() -> None:
    frames = 4 * FRAMES
    once = {each.name: np.asarray(getattr(footage(), each.name)) for each in fields(Footage)}
    longer = {name: np.concatenate([a] * 4) for name, a in once.items() if a.shape[:1] == (FRAMES,)}
    longer["identity"] = np.concatenate([once["identity"]] * 4)
    longer["skin_lab"] = np.linspace([60, 15, 20], [50, 15, 20], frames)
    longer["eyes_sharpness"] = np.where(np.arange(frames) < FRAMES, 80.0, np.nan)
    seen = footage(looked=np.arange(0, frames, 5), **longer)
    series = report.as_dict([evaluation(Path("a.mp4"), seen)])["videos"][0]["per_10_s"]
    assert series["start_s"] == [0, 10, 20, 30]
    assert series["identity"] == [1, 1, 1, 1]
    assert np.allclose(series["skin.L"], [58.75, 56.25, 53.75, 51.25], atol=0.01)
    assert series["sharpness.eyes"] == [80, None, None, None]


def test_the_table_of_numbers_is_read_back(evaluations: list[Evaluation], tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(report.as_csv(evaluations, tmp_path))))
    assert [(row["video"], row["kind"]) for row in rows] == [
        ("renders/a.mp4", "video"),
        ("renders/<b>&.mp4", "video"),
        ("true/a.mp4", "truth"),
    ]
    for row, each in zip(rows, [*evaluations, evaluations[0].truth], strict=True):
        assert each is not None
        assert {name: float(row[name]) for name in MEASURES if row[name]} == each.numbers


def test_paths_are_told_from_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert seen_from(Path("a/b.mp4")) == "a/b.mp4"
    assert seen_from(tmp_path / "a/b.mp4", Path("out")) == "../a/b.mp4"
    assert seen_from(Path("/elsewhere/of/mine/b.mp4")) == "mine/b.mp4"
    assert seen_from(Path("/home/bob/clients/x.mp4"), Path("/home/alice/report")) == "clients/x.mp4"
    assert seen_from(Path("/home/alice/x.mp4"), Path("/home/alice/report")) == "../x.mp4"
    assert seen_from(Path("/report/renders/x.mp4"), Path("/report")) == "renders/x.mp4"


def test_the_printed_table_has_the_true_ones_column(
    evaluations: list[Evaluation], capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate_table.show_numbers(evaluations)
    lines = capsys.readouterr().out.splitlines()
    head = next(line for line in lines if "truth" in line)
    row = next(line for line in lines if "sync.correlation" in line)
    assert head.split() == ["measure", "unit", "median", "truth", "good", "is"]
    assert row[: head.index("truth") + 5].endswith("1.000")
    assert row.split()[-1] == "higher"
    evaluate_table.show_comparison([("seams", 1.0, 1.2), ("sync.lag_ms", math.nan, 40.0)])
    out = capsys.readouterr().out
    assert "+0.200" in out
    assert "nan" not in out


def test_all_files_are_written_though_the_videos_are_gone(
    evaluations: list[Evaluation], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    paths = report.write_reports(evaluations, out, n_failed=2)
    assert sorted(path.name for path in paths) == ["metrics.csv", "metrics.json", "report.html"]
    texts = {path.name: path.read_text() for path in paths}
    assert json.loads(texts["metrics.json"])["median"] == pytest.approx(medians(evaluations))
    assert texts["report.html"].count("No frames: a.mp4 cannot be read again") == 2
    assert "2 more videos could not be measured" in texts["report.html"]
    assert json.loads(texts["metrics.json"])["failed"] == 2
    assert all(str(tmp_path) not in text for text in texts.values())
    assert report.compare(out / "metrics.json", out / "metrics.json")[0][0] == "lips.correlation"
