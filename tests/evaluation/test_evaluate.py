"""`emote evaluate`: planted faults move their own numbers; thresholds, reports, comparison."""

import json
from pathlib import Path
from types import SimpleNamespace

import measure_mini
import numpy as np
import pytest
from made_up_footage import FPS, FRAMES, footage, waves
from typer.testing import CliRunner

from emote_cli.cli import app
from emote_cli.errors import InputError, SettingsError, WeightsError
from emote_cli.evaluation import evaluate, report
from emote_cli.evaluation.evaluate import MEASURES, find_truth, measure
from emote_cli.evaluation.findings import amplitude, chance_bound, correlate, correlate_shifted, find_peak
from emote_cli.evaluation.lips import find_closed
from emote_cli.evaluation.thresholds import read_threshold
from emote_cli.perception.sface import SFace
from emote_cli.zoo.locate import home
from emote_cli.zoo.lock import Locked, write_lock


def numbers(**changes: object) -> dict[str, float]:
    truth = footage()
    found = measure(footage(**changes), truth, np.eye(1, 7)[0], chunk_frames=12)
    return {name: value for name, value in found.items() if isinstance(value, float)}


def test_nothing_is_wrong_with_the_truth_itself() -> None:
    found = numbers()
    assert found["lips.correlation"] == pytest.approx(1)
    assert found["lips.gap.amplitude"] == pytest.approx(1)
    assert abs(found["lips.lag_ms"]) < 1
    assert found["identity.median"] == pytest.approx(1)
    assert set(found) <= set(MEASURES)


@pytest.mark.parametrize("frames", [-3, 1, 5])
def test_a_shift_is_found_within_a_frame(frames: int) -> None:
    moved = {name: np.roll(getattr(footage(), name), frames) for name in ("jaw", "gap")}
    assert abs(numbers(**moved)["lips.lag_ms"] - frames * 1000 / FPS) <= 1000 / FPS


def test_frozen_lips_another_face_and_blur_move_their_own_number() -> None:
    sound = numbers()
    frozen = numbers(jaw=np.full(FRAMES, 0.1) + 1e-3 * waves(9), gap=np.full(FRAMES, 0.1) + 1e-3 * waves(8))
    assert frozen["lips.gap.amplitude"] < 0.05
    assert frozen["identity.median"] == sound["identity.median"]
    other = numbers(identity=np.tile(np.eye(1, 7, 3), (FRAMES // 5, 1)))
    assert other["identity.median"] < 0.1
    assert other["lips.correlation"] == sound["lips.correlation"]
    blurred = numbers(mouth_sharpness=np.full(FRAMES, 10.0))
    changed = {name for name in sound if abs(sound[name] - blurred[name]) > 1e-6}
    assert changed
    assert all("sharp" in name or "mouth" in name for name in changed)


def test_a_jump_every_chunk_is_a_seam() -> None:
    change = footage().change.copy()
    change[12::12] += 3
    assert numbers(change=change)["seams"] > 1.5 > numbers()["seams"]


def test_curves_are_compared_where_both_are_known() -> None:
    a, b = waves(4), waves(4)
    a[10:20] = np.nan
    assert correlate(a, b) == pytest.approx(1)
    assert amplitude(2 * b, b) == pytest.approx(2)
    place, height = find_peak(correlate_shifted(np.roll(b, 2), b, 6))
    assert abs(place - 2) < 0.3
    assert height > 0.9


def test_thresholds_are_read_and_kept() -> None:
    assert read_threshold("seams<=1.1", MEASURES).failure([{"seams": 1.05}], {}) is None
    assert "required" in str(read_threshold("seams <= 1.1", MEASURES).failure([{"seams": 1.2}], {}))
    assert "not measured: why" in str(
        read_threshold("identity.median>0.9", MEASURES).failure([{}], {"identity.median": "why"})
    )
    for wrong in ("seams", "seam<=1", "seams==1", "seams<=1.1.1"):
        with pytest.raises(SettingsError):
            read_threshold(wrong, MEASURES)


def test_half_of_the_videos_must_have_a_required_number() -> None:
    bound = read_threshold("seams<=1.1", MEASURES)
    few = bound.failure([{"seams": 1.0}] + 9 * [{}], {})
    assert few == "seams was measured in 1 of 10 videos"
    assert bound.failure([{"seams": 1.0}, {}], {}) is None
    assert bound.failure([{"seams": 1.0}, {"seams": 1.4}], {}) == "seams is 1.200, required <= 1.1"


def test_required_lags_do_not_cancel_each_other() -> None:
    lags = [{"sync.lag_ms": lag} for lag in (300.0, -300.0)]
    assert read_threshold("sync.lag_ms<=40", MEASURES).failure(lags, {}) == (
        "sync.lag_ms is 300.000 away from 0, required <= 40"
    )
    assert read_threshold("sync.lag_ms>=-40", MEASURES).failure(lags, {}) is None, "the sign asks for it"


def test_a_folder_of_true_videos_goes_by_names(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.mp4", "b.wav"):
        (tmp_path / name).touch()
    assert find_truth(Path("x/a.mov"), tmp_path) == tmp_path / "a.mp4"
    with pytest.raises(InputError, match="no video named b"):
        find_truth(Path("b.mp4"), tmp_path)


def test_two_reports_are_compared(tmp_path: Path) -> None:
    for name, value in (("a", 0.5), ("b", 0.7)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"protocol": 1, "median": {"seams": value}}))
    assert report.compare(tmp_path / "a.json", tmp_path / "b.json") == [("seams", 0.5, 0.7)]
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InputError, match=r"no metrics\.json"):
        report.compare(tmp_path / "a.json", tmp_path / "b.json")


def test_without_a_video_the_command_says_so() -> None:
    result = CliRunner().invoke(app, ["evaluate"])
    assert result.exit_code != 0


@pytest.mark.parametrize("lag_ms", [-120, 40, 200])
def test_the_lag_to_the_sound_is_found_within_a_frame_or_not_told(lag_ms: int) -> None:
    heard = np.roll(footage().heard, -round(lag_ms * FPS / 1000))
    found = measure(footage(heard=heard))
    assert abs(float(found["sync.lag_ms"]) - lag_ms) <= 1000 / FPS
    assert "not found" in str(measure(footage(heard=waves(77)))["sync.lag_ms"])


@pytest.mark.parametrize("frames", [-17, 17])
def test_a_lag_beyond_those_that_are_looked_for_is_not_told(frames: int) -> None:
    assert "0.6 s or beyond" in str(measure(footage(heard=np.roll(footage().heard, frames)))["sync.lag_ms"])
    far = np.roll(footage().jaw, frames - int(np.sign(frames)) * 3)
    assert "0.48 s or beyond" in str(measure(footage(jaw=far, gap=far), footage())["lips.lag_ms"])


def test_seams_of_unknown_length_are_found_in_both_halves_or_not_known() -> None:
    change = footage().change.copy()
    assert "not known" in str(measure(footage())["seams"])
    change[12:125:12] += 3
    assert "not known" in str(measure(footage(change=change))["seams"])
    change[132::12] += 3
    found = measure(footage(change=change))
    assert found["seams.period"] == 12
    assert float(found["seams"]) > 1.5


def test_closed_lips_are_relative_to_the_face() -> None:
    shut = waves(1) < 0.4
    full = np.where(shut, 0.035, 0.2)  # never below 0.035, as under a beard
    assert (find_closed(full) == shut).all()
    assert not find_closed(np.full(FRAMES, 0.2)).any()
    assert find_closed(np.full(FRAMES, 0.008)).all()


def test_the_cards_table_alone_is_replaced(tmp_path: Path) -> None:
    rows = [
        {"video": f"renders/grid/{n}.mp4", "numbers": {"seams": value}}
        for n, value in (("a", 1.0), ("b", 1.2))
    ]
    card = tmp_path / "README.md"
    card.write_text(f"by hand\n{measure_mini.BEGIN}\nold\n{measure_mini.END}\nalso by hand\n")
    for _ in range(2):
        measure_mini.fill_card(card, measure_mini.card_table({"videos": rows}))
    text = card.read_text()
    assert text.startswith("by hand\n")
    assert text.endswith("also by hand\n")
    assert "old" not in text
    assert text.count("| seams (`seams`) | 1.100 (1.000 to 1.200) |") == 1
    card.write_text("no marks\n")
    with pytest.raises(SystemExit, match="needs one line"):
        measure_mini.fill_card(card, "")


def test_blinks_are_counted_in_the_persons_own_range() -> None:
    lids = np.full(FRAMES, 0.2) + 0.02 * waves(5)
    for place, share in ((30, 0.1), (80, 0.7), (130, 0.3), (200, 0.1)):
        lids[place : place + 4] *= share
    assert numbers(lids=lids)["blinks.per_minute"] == pytest.approx(4 * 60 / (FRAMES / FPS))
    assert numbers(lids=2.5 * lids)["blinks.per_minute"] == pytest.approx(24)
    lids[200:230] *= 0.1  # shut for longer than a blink
    assert numbers(lids=lids)["blinks.per_minute"] == pytest.approx(18)


def test_the_best_of_all_lags_passes_by_chance_once_in_a_hundred_times() -> None:
    curves = [waves(seed) for seed in range(1, 16)]
    pairs = [(a, b) for k, a in enumerate(curves) for b in curves[:k]]
    found = [find_peak(correlate_shifted(a, b, 15))[1] > chance_bound(a, b, 15) for a, b in pairs]
    assert np.mean(found) <= 0.03
    assert chance_bound(curves[0], curves[0], 15) < 0.5


def test_what_was_kept_is_of_one_sface_and_names_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, watched = tmp_path / "private" / "a.mp4", []
    video.parent.mkdir()
    video.write_text("a video")
    monkeypatch.setattr(evaluate, "watch", lambda *given: watched.append(given) or footage())
    for key in ("one", "two", "one"):
        sface = object.__new__(SFace)  # its file is not in every checkout
        sface.key = key
        evaluate.watch_or_load(video, sface, tmp_path / "kept")
    assert [sface.key for _, sface, _ in watched] == ["one", "two"]
    for path in (tmp_path / "kept").iterdir():
        with np.load(path) as kept:
            assert "private" not in str(kept["key"])


def test_a_damaged_sface_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert evaluate.open_sface() is None
    folder = home("metrics")
    folder.mkdir(parents=True)
    (folder / evaluate.SFACE_NAME).write_bytes(b"cut off")
    write_lock(folder, "metrics", {evaluate.SFACE_NAME: Locked("a/b", "c", "d", "e", "f", 1000, 0)})
    with pytest.raises(WeightsError, match=r"damaged \(7 bytes"):
        evaluate.open_sface()


def test_what_no_video_has_a_number_for_is_told_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    from emote_cli.commands.evaluate_table import show_unmeasured

    first = SimpleNamespace(
        numbers={"seams": 1.0}, not_measured={"a.b": "no sound", "c.d": "no sound", "e.f": "-"}
    )
    second = SimpleNamespace(numbers={"e.f": 2.0}, not_measured={})
    show_unmeasured([first, second])
    assert capsys.readouterr().err.splitlines() == ["a.b, c.d: no sound"]
