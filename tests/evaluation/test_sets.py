"""Numbers of a set: refused where it is small, equal to a hand's computation where forced, without regard to order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_footage import FRAMES, footage

from emote_cli.errors import SettingsError
from emote_cli.evaluation import report
from emote_cli.evaluation.evaluate import MEASURES, Evaluation
from emote_cli.evaluation.learned.features import Features
from emote_cli.evaluation.sets import ALL_MEASURES, SET_MEASURES, measure_set
from emote_cli.evaluation.summary import truths_of
from emote_cli.evaluation.thresholds import read_threshold

NAMES = set(SET_MEASURES)


def evaluation(name: str, seed: int, shift: float = 0.0, frames: int = 12, looked: bool = True) -> Evaluation:
    """A video whose features are drawn around `shift`."""
    rng = np.random.default_rng(seed)
    draw = [rng.normal(shift, 1, (frames, width)).astype(np.float32) for width in (7, 5)]
    features = Features("inception i3d syncnet", *draw, np.zeros(0)) if looked else None
    expressions = rng.normal(shift, 1, (FRAMES, 52))
    return Evaluation(
        Path(name), {}, {}, footage(expressions=expressions), np.ones(FRAMES // 5), features=features
    )


def many(count: int, shift: float = 0.0, start: int = 0, **how: object) -> list[Evaluation]:
    return [evaluation(f"{start}-{k:03d}.mp4", start + k, shift, **how) for k in range(count)]


def test_a_small_sample_is_refused_with_the_reason():
    refused = measure_set(many(49), many(49))
    assert refused.numbers == {}
    assert set(refused.not_measured) == NAMES
    for reason in (
        refused.not_measured["fid"],
        measure_set(many(50, frames=9), many(50)).not_measured["fid"],
    ):
        assert "too small a sample" in reason
        assert "--force-small" in reason
    assert "588 frames of 49 videos against" in refused.not_measured["fid"]


def test_one_picture_is_refused_even_if_forced():
    refused = measure_set(many(1, frames=1), many(2), force_small=True).not_measured["fid"]
    assert "has no spread" in refused
    assert "--force-small" not in refused


def test_a_large_one_is_measured():
    found = measure_set(many(50), many(50, 1.0, 100))
    assert set(found.numbers) == NAMES
    assert (
        found.samples["fvd"]
        == "600 pieces of 16 frames of 50 videos against 600 pieces of 16 frames of 50 videos of true ones"
    )
    assert found.numbers["fid"] == pytest.approx(7, rel=0.2), "a shift by 1 in 7 dimensions"


def test_a_forced_number_is_what_a_hand_computes_and_says_so():
    """Two frames each, in one dimension apart: the means' distance squared, as both spread alike."""

    def pair(name: str, at: float) -> Evaluation:
        pictures = np.array([[at - 1, 0], [at + 1, 0]], np.float32)
        one = evaluation(name, 0)
        return replace(one, features=Features("inception", pictures, np.zeros((0, 0)), np.zeros(0)))

    found = measure_set([pair("a.mp4", 3.0)], [pair("b.mp4", -2.0)], force_small=True)
    assert found.numbers["fid"] == pytest.approx(25)
    assert "2 frames of 1 video against 2 frames of 1 video of true ones, forced" in found.samples["fid"]
    assert found.not_measured["fvd"] == "not measured: emote download metrics"


def test_equal_sets_are_at_zero_and_order_makes_no_difference():
    ours, true = many(6), many(6, 0.5, 50)
    same = measure_set(ours, many(6), force_small=True)
    assert all(value == pytest.approx(0, abs=1e-6) for value in same.numbers.values())
    assert measure_set(ours[::-1], true[::-1], True).numbers == measure_set(ours, true, True).numbers


def test_without_truth_or_networks_the_reason_is_told():
    assert set(measure_set(many(3), []).not_measured) == NAMES
    assert "--truth" in measure_set(many(3), []).not_measured["fid"]
    bare = measure_set(many(3, looked=False), many(3, looked=False), force_small=True)
    assert "emote download metrics" in bare.not_measured["fid"]
    assert set(bare.numbers) == {"efid.blendshapes"}, "it needs no network"


def test_the_report_the_thresholds_and_the_comparison_know_them(tmp_path):
    true = many(2, 0.5, 50)
    ours = [replace(one, truth=other) for one, other in zip(many(2), true, strict=True)]
    of_set = measure_set(ours, truths_of(ours), force_small=True)
    for folder, found in (("a", of_set), ("b", None)):
        report.write_reports(ours, tmp_path / folder, of_set=found)
    page = (tmp_path / "a" / "report.html").read_text()
    assert "The whole set against the true one" in page
    assert "24 frames of 2 videos" in page
    written = report.as_dict(ours, None, of_set)
    assert written["set"]["numbers"] == of_set.numbers
    assert "forced" in written["set"]["samples"]["fid"]
    assert "2048 features" in written["recipes"]["fid"]
    assert "not verified" in written["recipes"]["fvd"].lower()
    assert "Not the E-FID of EMO" in written["recipes"]["efid.blendshapes"]
    rows = {name: values for name, *values in report.compare(*(tmp_path / f / "metrics.json" for f in "ab"))}
    assert rows["fid"][0] == pytest.approx(of_set.numbers["fid"])
    assert np.isnan(rows["fid"][1])
    bound = read_threshold("fid<=0.01", ALL_MEASURES)
    assert "required <= 0.01" in str(bound.failure([of_set.numbers], of_set.not_measured))
    assert "too small" in str(bound.failure([{}], measure_set(ours, true).not_measured))
    assert not set(MEASURES) & NAMES
    with pytest.raises(SettingsError, match="no measure 'fdi'"):
        read_threshold("fdi<=1", ALL_MEASURES)
