"""Many videos at once: one that fails stops no other, and processes give the same numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emote_cli.cli import app
from emote_cli.errors import EmoteError, InputError
from emote_cli.evaluation.batch import CACHE, evaluate_all, requests_for
from emote_cli.evaluation.evaluate import Evaluation
from emote_cli.media.video import write_video


def numbers(answer: Evaluation | EmoteError) -> dict[str, float]:
    assert isinstance(answer, Evaluation)
    return answer.numbers


def test_processes_give_the_same_numbers(faces: Path) -> None:
    requests = requests_for([faces / "one.mp4", faces / "two.mp4"], faces)
    seen: list[int] = []
    here = {each: numbers(answer) for each, answer in evaluate_all(requests, on_frame=seen.append)}
    assert sum(seen) == sum(each.count_frames() for each in requests) == 24
    assert {each: numbers(answer) for each, answer in evaluate_all(requests, workers=1)} == here
    assert list(here) == requests


def test_one_that_fails_stops_no_other(faces: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "gray.mp4", np.full((3, 64, 64, 3), 90, np.uint8), 25)
    (tmp_path / "text.mp4").write_text("no video")
    line = [tmp_path / "text.mp4", tmp_path / "gray.mp4", faces / "one.mp4", "--out", tmp_path / "out"]
    result = CliRunner().invoke(app, ["evaluate", *map(str, line)])
    assert result.exit_code == 1
    assert "not measured" in result.stderr
    assert "no face in any of the 3 frames" in result.stderr
    assert f"not measured: {tmp_path / 'text.mp4'}: " in result.stderr
    measured = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [Path(row["video"]).name for row in measured["videos"]] == ["one.mp4"]
    assert list((tmp_path / "out" / CACHE).glob("one-*.npz"))


def test_one_file_under_two_names_is_told_under_both(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(faces)
    videos = [Path("one.mp4"), faces / "one.mp4"]
    answers = dict(evaluate_all(requests_for(videos)))
    assert [each.video for each in answers] == videos
    assert [answer.video for answer in answers.values() if isinstance(answer, Evaluation)] == videos


def test_all_files_are_looked_for_before_any_is_watched(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        requests_for([faces / "one.mp4", faces / "three.mp4"])
    with pytest.raises(InputError, match="no video named one"):
        requests_for([faces / "one.mp4"], tmp_path)
