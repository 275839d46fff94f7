import hashlib
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from emote_cli.data.prepare import filters
from emote_cli.data.prepare.filters import REASONS
from emote_cli.data.prepare.footage import Footage
from emote_cli.data.prepare.sources import Source
from emote_cli.data.prepare.video import prepare_video
from emote_cli.media.audio import read_audio
from emote_cli.media.ffmpeg import ffmpeg_exe
from emote_cli.media.image import crop_and_resize
from emote_cli.media.video import probe, read_frames, write_video
from emote_cli.types import Box

from .conftest import N_FRAMES, swaying


def source(path, **changes):
    return replace(Source(path.stem, path, path.name), **changes)


def prepared(work, path, **changes):
    records = prepare_video(source(path, **changes), work)
    assert len(records) == 1
    return records[0]


def settings(work, **changes):
    return replace(work, settings=work.settings.model_copy(update=changes))


def listing(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_good_clip_becomes_picture_sound_and_track(work, talking):
    record = prepared(work, talking)
    assert (record.reason, record.frames, record.size, record.fps) == (None, N_FRAMES, 64, 25)
    assert record.has_audio
    assert record.sha256 == hashlib.sha256(talking.read_bytes()).hexdigest()
    frames = list(read_frames(work.dataset_dir / "clips" / "talk.mp4"))
    assert np.array(frames).shape == (N_FRAMES, 64, 64, 3)
    sound = read_audio(work.dataset_dir / "audio" / "talk.flac")
    assert len(sound.samples) == N_FRAMES * 16_000 // 25
    track = np.load(work.dataset_dir / "tracks" / "talk.npz")
    assert track["landmarks_px"].shape == (N_FRAMES, 478, 3)
    assert {
        len(track[name]) for name in ("box_px", "pose_4x4", "head_speed_deg_s", "jaw_open", "blink", "found")
    } == {N_FRAMES}
    assert track["found"].all()


def test_the_track_lies_on_the_face_of_the_clip(work, talking):
    from emote_cli.perception.faces import FaceAnalyzer

    record = prepared(settings(work, size=128), talking)
    track = np.load(work.dataset_dir / "tracks" / "talk.npz")
    frames = list(read_frames(work.dataset_dir / "clips" / "talk.mp4"))
    with FaceAnalyzer(work.face_model) as analyzer:
        face = analyzer.analyze(frames[13])[0]
    np.testing.assert_allclose(
        track["landmarks_px"][13, :, :2].mean(0), face.landmarks_px[:, :2].mean(0), atol=1.5
    )
    mouth, box = track["mouth_box_px"][13], track["box_px"][13]
    assert box[0] < mouth[0] < mouth[2] < box[2]
    # The crop is the union of the boxes, expanded; the clip shows what lies there in the video.
    seen = list(read_frames(talking))[13]
    want = crop_and_resize(seen, Box(*record.crop_px), 128)
    assert np.abs(want.astype(int) - frames[13]).mean() < 3


def test_the_sound_is_that_of_the_picture(work, talking):
    """The second half of a video carries the second half of its sound."""
    half = settings(work, min_s=0.3, max_s=0.6)
    records = prepare_video(source(talking), half)
    assert [record.id for record in records] == ["talk-000", "talk-001"]
    assert sum(record.frames for record in records) == N_FRAMES
    whole = read_audio(talking).samples
    start = round(records[1].start_s * 16_000)
    part = read_audio(work.dataset_dir / "audio" / "talk-001.flac").samples
    n = min(len(part), len(whole) - start)
    assert np.corrcoef(part[:n], whole[start : start + n])[0, 1] > 0.99
    first = list(read_frames(talking))[records[0].frames]
    want = crop_and_resize(first, Box(*records[1].crop_px), 64)
    seen = next(iter(read_frames(work.dataset_dir / "clips" / "talk-001.mp4")))
    assert np.abs(want.astype(int) - seen).mean() < 4


def test_the_same_video_gives_the_same_files(work, talking):
    prepared(work, talking)
    once = listing(work.dataset_dir)
    prepared(work, talking)
    assert listing(work.dataset_dir) == once
    assert len(once) == 4


def test_long_videos_are_read_twice_and_come_out_the_same(talking):
    kept, again = (Footage(talking, 25, keep_bytes=limit) for limit in (10**9, 0))
    small = [list(footage.small_frames()) for footage in (kept, again)]
    assert len(small[0]) == len(small[1]) == N_FRAMES
    for footage in (kept, again):
        footage.frames(0, 3)
    pairs = zip(kept.frames(5, 16), again.frames(5, 16), strict=True)
    assert all((a == b).all() for a, b in pairs)
    assert len(list(again.frames(5, 16))) == 11


def test_a_stretch_of_a_video(work, talking):
    record = prepared(work, talking, start_s=0.2, end_s=1.0)
    assert (record.start_s, record.end_s, record.frames) == (0.2, 1.0, 20)
    assert len(read_audio(work.dataset_dir / "audio" / "talk.flac").samples) == 20 * 640


def test_clips_that_others_cropped_are_taken_whole(work, talking):
    assert prepared(work, talking, crop=False, cut=False).crop_px == [0, 0, 160, 160]


# ------------------------------------------------------------------------------------------- what is wrong


def without_sound(work):
    return settings(work, audio=False)


def test_no_sound_is_a_reason_unless_allowed(work, tmp_path, portrait):
    path = tmp_path / "mute.mp4"
    write_video(path, swaying(portrait, 21), 25)
    assert prepared(work, path).reason == filters.NO_AUDIO
    record = prepared(without_sound(work), path)
    assert (record.reason, record.has_audio) == (None, False)
    assert not (work.dataset_dir / "audio" / "mute.flac").exists()


def test_files_that_cannot_be_read(work, tmp_path, talking):
    text, cut, gone = (tmp_path / name for name in ("text.mp4", "cut.mp4", "gone.mp4"))
    text.write_text("no video\n" * 50)
    cut.write_bytes(talking.read_bytes()[:300])
    assert prepared(work, text).reason == filters.UNREADABLE
    assert str(tmp_path) not in prepared(work, text).detail
    assert prepared(work, cut).reason == filters.UNREADABLE
    assert prepared(work, gone).reason == filters.MISSING_FILE


def test_a_video_that_breaks_off(work, tmp_path, portrait):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_video(whole, swaying(portrait, 60), 25)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    record = prepared(without_sound(work), cut)
    assert record.reason == filters.TRUNCATED
    assert "of 2.40 s can be decoded" in record.detail


def test_two_frames_are_too_short(work, tmp_path, portrait):
    path = tmp_path / "two.mp4"
    write_video(path, swaying(portrait, 2), 25)
    record = prepared(without_sound(work), path)
    assert record.reason == filters.TOO_SHORT
    assert "0.08 s long (min_s: at least 0.7)" in record.detail


def test_no_face_is_a_reason_even_if_all_are_kept(work, tmp_path, rng):
    path = tmp_path / "noise.mp4"
    write_video(path, rng.integers(0, 255, (20, 64, 64, 3), np.uint8), 25)
    for keep in (False, True):
        record = prepared(settings(work, audio=False, keep_all=keep), path)
        assert record.reason == filters.NO_FACE
    assert (work.dataset_dir / "thumbs" / "noise.jpg").exists()
    assert not (work.dataset_dir / "clips" / "noise.mp4").exists()


def test_a_frozen_picture(work, tmp_path, portrait):
    path = tmp_path / "still.mp4"
    write_video(path, [next(swaying(portrait, 1))] * 20, 25)
    assert prepared(settings(work, audio=False, max_frozen=0.5), path).reason == "frozen"


def test_sound_and_picture_of_different_length(work, tmp_path, portrait, speech_path):
    path = tmp_path / "long.mp4"
    write_video(path, swaying(portrait, 20), 25, audio=speech_path)
    assert prepared(work, path).reason == "length_mismatch"


def test_silence_is_no_speech(work, tmp_path, portrait, make_wav):
    path = tmp_path / "silence.mp4"
    write_video(path, swaying(portrait, 20), 25, audio=make_wav("s.wav", np.zeros(12_800, np.float32)))
    assert prepared(work, path).reason == "no_speech"


def test_a_cut_ends_a_clip(work, tmp_path, portrait):
    path = tmp_path / "cut.mp4"
    shots = [*swaying(portrait, 30), *(255 - frame for frame in swaying(portrait, 30))]
    write_video(path, shots, 25)
    records = prepare_video(source(path), without_sound(work))
    assert [(round(r.start_s * 25), round(r.end_s * 25)) for r in records] == [(0, 28), (32, 60)]
    assert records[0].reason is None
    whole = prepared(without_sound(work), path, cut=False)
    assert whole.reason in (filters.CUT_INSIDE, filters.NO_FACE)
    assert filters.CUT_INSIDE in whole.marks


def test_keep_all_marks_what_a_filter_catches(work, talking):
    record = prepared(settings(work, keep_all=True, min_face_px=500, min_brightness=250), talking)
    assert record.reason is None
    assert record.marks == ["low_resolution", "dark"]
    assert (work.dataset_dir / "clips" / "talk.mp4").exists()
    dropped = prepared(settings(work, min_face_px=500, min_brightness=250), talking)
    assert (dropped.reason, dropped.marks) == ("low_resolution", ["low_resolution", "dark"])


@pytest.mark.parametrize("angle", [90, 180])
def test_phone_videos_come_upright(work, tmp_path, talking, angle):
    path = tmp_path / "turned.mp4"
    turn = {90: "transpose=1", 180: "hflip,vflip"}[angle]
    command = [ffmpeg_exe(), "-loglevel", "error", "-i", str(talking)]
    subprocess.run([*command, "-vf", turn, str(tmp_path / "lying.mp4")], check=True)
    flag = [ffmpeg_exe(), "-loglevel", "error", "-display_rotation", str(angle)]
    subprocess.run([*flag, "-i", str(tmp_path / "lying.mp4"), "-c", "copy", str(path)], check=True)
    assert prepared(work, path).reason is None


def test_another_frame_rate_becomes_ours(work, tmp_path, portrait):
    path = tmp_path / "ntsc.mp4"
    write_video(path, swaying(portrait, 40), 30000 / 1001)
    record = prepared(without_sound(work), path)
    assert record.frames == round(40 * 1001 / 30000 * 25)
    assert probe(work.dataset_dir / "clips" / "ntsc.mp4").fps == 25


def test_every_reason_that_occurs_is_explained():
    codes = {value for name, value in vars(filters).items() if name.isupper() and isinstance(value, str)}
    assert codes | {rule.reason for rule in filters.RULES} == set(REASONS)
