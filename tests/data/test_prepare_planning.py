"""Settings, filters, cuts, segments, annotations of other data sets: everything without a face model."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emote_cli.data.manifest import ClipRecord, read_records, write_records
from emote_cli.data.prepare import layouts
from emote_cli.data.prepare.filters import RULES, judge
from emote_cli.data.prepare.layouts import find_sources
from emote_cli.data.prepare.scenes import find_cuts, plan_segments
from emote_cli.data.prepare.settings import PrepareSettings, gather_settings
from emote_cli.data.prepare.sources import safe_id
from emote_cli.errors import DataError, InputError, SettingsError
from emote_cli.media.image import resize
from emote_cli.types import Box

DEFAULTS = PrepareSettings()


# ------------------------------------------------------------------------------------------------ filters


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.reason)
def test_each_rule_catches_what_is_beyond_its_limit_only(rule):
    limit = getattr(DEFAULTS, rule.limit)
    bad, good = (limit - 0.01, limit) if rule.limit.startswith("min_") else (limit + 0.01, limit)
    assert judge({rule.value: good}, DEFAULTS) == []
    verdict = judge({rule.value: bad}, DEFAULTS)[0]
    assert verdict.reason == rule.reason
    assert rule.limit in verdict.detail


def test_what_was_not_measured_is_not_judged():
    assert judge({}, DEFAULTS) == []


def test_any_setting_changes_the_hash():
    assert PrepareSettings(crf=15).hash != DEFAULTS.hash == PrepareSettings().hash


def test_settings_come_from_file_pairs_and_options(tmp_path):
    path = tmp_path / "prepare.yaml"
    path.write_text("size: 256\nfps: 30\ncrf: 20\n")
    settings = gather_settings(path, ["fps=24", "max_yaw_deg=60"], {"crf": 9})
    assert (settings.size, settings.fps, settings.max_yaw_deg, settings.crf) == (256, 24, 60, 9)
    assert gather_settings(None, [], {}) == DEFAULTS


@pytest.mark.parametrize(
    ("pairs", "options", "words"),
    [
        (["max_yav_deg=60"], {}, "max_yav_deg"),
        (["nonsense"], {}, "nonsense"),
        ([], {"size": 100}, "size"),
        ([], {"min_s": 9.0}, "more than half"),
    ],
)
def test_bad_settings_are_named(pairs, options, words):
    with pytest.raises(SettingsError, match=words):
        gather_settings(None, pairs, options)


def test_a_settings_file_must_be_there(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        gather_settings(tmp_path / "none.yaml", [], {})


# ------------------------------------------------------------------------------------------- cuts, segments


def shots(*lengths):
    """Blurred pictures that drift a little; each shot has its own."""
    for number, length in enumerate(lengths):
        coarse = np.random.default_rng(number).integers(0, 255, (3, 4, 3), np.uint8)
        picture = resize(coarse, (96, 64)).astype(int)
        for i in range(length):
            yield np.clip(picture + i // 2, 0, 255).astype(np.uint8)


def test_cuts_are_found_where_they_are():
    assert find_cuts(shots(31, 29, 40), 25) == ([31, 60], 100)


def test_one_shot_has_no_cut():
    assert find_cuts(shots(37), 25) == ([], 37)
    assert find_cuts([], 25) == ([], 0)


def test_segments_keep_away_from_cuts():
    segments = plan_segments("x", 200, [100], DEFAULTS)
    assert [(s.id, s.start, s.stop) for s in segments] == [("x-000", 0, 98), ("x-001", 102, 200)]


def test_a_whole_video_keeps_its_name():
    assert [s.id for s in plan_segments("x", 75, [], DEFAULTS)] == ["x"]


@given(st.integers(1, 5000), st.sets(st.integers(1, 4999), max_size=9))
def test_segments_are_in_order_and_no_longer_than_allowed(n_frames, cuts):
    cuts = sorted(cut for cut in cuts if cut < n_frames)
    segments = plan_segments("x", n_frames, cuts, DEFAULTS)
    edges = [edge for s in segments for edge in (s.start, s.stop)]
    assert edges == sorted(edges)
    assert all(0 < s.n_frames <= DEFAULTS.max_s * DEFAULTS.fps for s in segments)
    assert not any(s.start < cut < s.stop for s in segments for cut in cuts)
    assert len({s.id for s in segments}) == len(segments)
    lost = n_frames - sum(s.n_frames for s in segments)
    assert lost <= 2 * DEFAULTS.cut_margin * len(cuts)


# ------------------------------------------------------------------------------------------------- sources


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_a_folder_is_searched_in_depth(tmp_path):
    touch(tmp_path, "b.MP4", "sub/deep/a.mov", "note.txt", ".hidden/c.mp4", "sub/.d.mp4")
    assert [(s.id, s.name) for s in find_sources(tmp_path)] == [("a", "sub/deep/a.mov"), ("b", "b.MP4")]


def test_names_that_clash_get_apart(tmp_path):
    touch(tmp_path, "one/a.mp4", "two/A.mp4", "two/a.mov")
    ids = [source.id for source in find_sources(tmp_path)]
    assert len({name.lower() for name in ids}) == 3
    assert ids == [source.id for source in find_sources(tmp_path)]


@given(st.text(max_size=9))
def test_ids_are_safe_file_names(text):
    name = safe_id(text)
    assert name
    assert not name.startswith((".", "-"))
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def test_folders_without_videos_are_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for folder, words in (
        (tmp_path, "no video"),
        (tmp_path / "none", "not exist"),
        (tmp_path / "a.txt", "no"),
    ):
        with pytest.raises(InputError, match=words) as raised:
            find_sources(folder)
        assert raised.value.hint


CELEBV = {
    "meta_info": {},
    "clips": {
        "ytA_0": {
            "ytb_id": "ytA",
            "duration": {"start_sec": 81.62, "end_sec": 86.17},
            "bbox": {"top": 0.1, "bottom": 0.9, "left": 0.2, "right": 0.7},
        },
        "ytB_3": {
            "ytb_id": "ytB",
            "duration": {"start_sec": 1, "end_sec": 5},
            "bbox": {"top": 0, "bottom": 1, "left": 0, "right": 1},
        },
        "ytC_1": {
            "ytb_id": "ytC",
            "duration": {"start_sec": 1, "end_sec": 5},
            "bbox": {"top": 0, "bottom": 1, "left": 0, "right": 1},
        },
    },
}


def test_celebv_hq_is_followed(tmp_path):
    (tmp_path / "celebvhq_info.json").write_text(json.dumps(CELEBV))
    (tmp_path / "other.json").write_text("[1, 2")
    touch(tmp_path, "raw/ytA.mp4", "processed/ytB_3.mp4", "stray.mp4")
    whole, ready, gone = find_sources(tmp_path)
    assert (whole.id, whole.name, whole.start_s, whole.end_s) == ("ytA_0", "raw/ytA.mp4", 81.62, 86.17)
    assert whole.face_hint == Box(0.2, 0.1, 0.7, 0.9)
    assert (whole.cut, whole.crop) == (True, True)
    assert (ready.name, ready.cut, ready.crop, ready.end_s) == ("processed/ytB_3.mp4", False, False, None)
    assert gone.id == "ytC_1"
    assert not gone.path.exists()


def test_garbled_celebv_annotations_are_named(tmp_path):
    (tmp_path / "i.json").write_text(json.dumps({"clips": {"k_0": {"ytb_id": "k", "duration": {}}}}))
    touch(tmp_path, "k.mp4")
    with pytest.raises(InputError, match="clip k_0 has no usable 'start_sec'"):
        find_sources(tmp_path)
    with pytest.raises(InputError, match="no CelebV-HQ annotation"):
        find_sources(tmp_path / ".", "celebv-hq") if (tmp_path / "i.json").unlink() is None else None


def test_hdtf_is_followed(tmp_path):
    (tmp_path / "RD_annotion_time.txt").write_text(
        "\ufeffRadio1.mp4 00:20-01:35 1:02:00-1:02:09\nRadio2.mp4 00:01-00:09"
    )
    (tmp_path / "RD_crop_wh.txt").write_text("Radio1_0.mp4 480 360 0 360\n")
    (tmp_path / "RD_resolution.txt").write_text("Radio1.mp4 1280x720\n")
    touch(tmp_path, "videos/Radio1.mp4", "RD_Radio2_000.mp4", "WDA_Else_001.mp4", "other.mp4")
    found = {source.id: source for source in find_sources(tmp_path)}
    assert set(found) == {"RD_Radio1_0", "RD_Radio1_1", "RD_Radio2_000", "WDA_Else_001", "other"}
    first, second = found["RD_Radio1_0"], found["RD_Radio1_1"]
    assert (first.name, first.start_s, first.end_s) == ("videos/Radio1.mp4", 20, 95)
    assert first.face_hint == Box(480 / 1280, 0, 840 / 1280, 0.5)
    assert (second.start_s, second.end_s, second.face_hint) == (3720, 3729, None)
    assert [found[name].crop for name in ("RD_Radio2_000", "WDA_Else_001", "other")] == [False, False, True]


def test_bad_hdtf_lines_are_named(tmp_path):
    (tmp_path / "RD_annotion_time.txt").write_text("Radio1.mp4 later\n")
    touch(tmp_path, "Radio1.mp4")
    with pytest.raises(InputError, match="'later' is not a span"):
        find_sources(tmp_path)


def test_a_layout_may_be_overruled(tmp_path):
    (tmp_path / "celebvhq_info.json").write_text(json.dumps(CELEBV))
    touch(tmp_path, "stray.mp4")
    assert layouts.guess_layout(tmp_path) == "celebv-hq"
    assert [source.id for source in find_sources(tmp_path, "folder")] == ["stray"]
    with pytest.raises(InputError, match="annotion_time"):
        find_sources(tmp_path, "hdtf")


# ----------------------------------------------------------------------------------------------- manifest


def record(**changes):
    values = {"id": "ä 1", "source": "a.mp4", "sha256": "0" * 64, "start_s": 0.0, "end_s": 2.6, "fps": 25.0}
    return ClipRecord(
        **{**values, "frames": 65, "size": 64, "has_audio": True, "measured": {"yaw": 1.5}, **changes}
    )


def test_records_come_back(tmp_path):
    path = tmp_path / "manifest.jsonl"
    records = [record(), record(id="b", reason="dark", marks=["dark"], crop_px=[1.0, 2.0, 3.0, 4.0])]
    write_records(path, records)
    assert read_records(path) == records
    assert records[0].seconds == 2.6


def test_the_same_records_leave_the_file_alone(tmp_path):
    path = tmp_path / "manifest.jsonl"
    write_records(path, [record()])
    before = path.stat().st_ino
    write_records(path, [record()])
    assert path.stat().st_ino == before
    write_records(path, [record(id="c")])
    assert path.stat().st_ino != before


def test_later_keys_are_ignored_and_garbage_is_named(tmp_path):
    path = tmp_path / "manifest.jsonl"
    write_records(path, [record()])
    path.write_text(path.read_text().replace('"id"', '"new": 1, "id"'))
    assert read_records(path) == [record()]
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(DataError, match="line 2"):
        read_records(path)
    assert read_records(tmp_path / "none.jsonl") == []


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_records(tmp_path / "m.jsonl", [record(measured={"yaw": float("nan")})])
