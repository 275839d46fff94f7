"""Late sound is found and moved; what is not clear stays as it is."""

import dataclasses

import numpy as np
import pytest

from emote_cli.data.prepare.sources import Source
from emote_cli.data.prepare.sync import cut_sound, measure_opening, sound_lag
from emote_cli.data.prepare.video import prepare_video
from emote_cli.media.audio import read_audio
from emote_cli.media.video import write_video
from emote_cli.types import FaceTrack, Waveform

from .conftest import swaying

FPS, RATE = 25.0, 16_000


def syllables(seconds: float, seed: int = 0) -> np.ndarray:
    """An opening per frame: about four syllables a second, of different strength and length."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(rng.uniform(0.15, 0.4, round(seconds * 6)))
    peaks = rng.uniform(0.2, 1, len(ends)) * (np.arange(len(ends)) % 2)
    return np.interp(np.arange(round(seconds * FPS)) / FPS, ends / 2, peaks)


def voice(mouth: np.ndarray, late_s: float = 0.0) -> Waveform:
    """Noise of the vowels' bands, as loud as the mouth is open."""
    n = round(len(mouth) / FPS * RATE)
    level = np.interp(np.arange(n) / RATE - late_s, (np.arange(len(mouth)) + 0.5) / FPS, mouth)
    noise = np.random.default_rng(1).normal(size=n)
    spectrum = np.fft.rfft(noise)
    hz = np.fft.rfftfreq(n, 1 / RATE)
    spectrum[(hz < 300) | (hz > 2600)] = 0
    return Waveform((np.fft.irfft(spectrum, n) * level * 0.3).astype(np.float32), RATE)


@pytest.mark.parametrize("late_s", [0.24, -0.2, 0.36])
def test_late_and_early_sound_is_found(late_s):
    mouth = syllables(10)
    lag = sound_lag(voice(mouth, late_s), mouth, 0, FPS)
    assert lag.late_s == pytest.approx(late_s)
    assert lag.agreement > 0.7


def test_sound_in_its_place_stays_there():
    mouth = syllables(10)
    assert sound_lag(voice(mouth), mouth, 0, FPS).late_s == 0
    assert sound_lag(voice(mouth, 0.04), mouth, 0, FPS).late_s == 0, "a frame more or less is nothing"


@pytest.mark.parametrize(("seconds", "most"), [(2.5, 0), (4.0, 0), (6.0, 3), (12.0, 1)])
def test_sound_of_another_hardly_ever_moves(seconds, most):
    frames = round(seconds * FPS)
    moved = [
        sound_lag(
            voice(syllables(seconds + 4, seed + 50)), syllables(seconds, seed)[:frames], 2.0, FPS
        ).late_s
        != 0
        for seed in range(24)
    ]
    assert sum(moved) <= most


def test_a_clip_in_the_middle_of_a_video():
    mouth = syllables(12)
    lag = sound_lag(voice(mouth, 0.24), mouth[100:250], 4.0, FPS)
    assert lag.late_s == pytest.approx(0.24)


def test_frames_without_a_face_do_not_count():
    mouth = syllables(10)
    seen = mouth.copy()
    seen[40:80] = np.nan
    assert sound_lag(voice(mouth, 0.24), seen, 0, FPS).late_s == pytest.approx(0.24)
    seen[:150] = np.nan
    unknown = sound_lag(voice(mouth, 0.24), seen, 0, FPS)
    assert unknown.late_s == 0
    assert np.isnan(unknown.agreement)


def test_silence_and_a_still_mouth_tell_nothing():
    mouth = syllables(6)
    for sound, lips in ((Waveform(np.zeros(6 * RATE, np.float32), RATE), mouth), (voice(mouth), mouth * 0)):
        lag = sound_lag(sound, lips, 0, FPS)
        assert lag.late_s == 0
        assert np.isnan(lag.agreement)


def test_a_cut_is_as_long_as_asked_and_silent_outside():
    sound = Waveform(np.arange(1, RATE + 1, dtype=np.float32) / RATE, RATE)
    early = cut_sound(sound, -0.25, 0.5).samples
    assert len(early) == RATE // 2
    assert not early[: RATE // 4].any()
    assert np.array_equal(early[RATE // 4 :], sound.samples[: RATE // 4])
    after = cut_sound(sound, 0.75, 0.5).samples
    assert np.array_equal(after[: RATE // 4], sound.samples[RATE * 3 // 4 :])
    assert not after[RATE // 4 :].any()
    assert not cut_sound(sound, -2, 0.5).samples.any()


def test_the_opening_is_unknown_where_no_face_is():
    n, found = 6, np.array([True, True, False, True, True, True])
    jaw = np.where(found, np.array([0, 1, 0, 0, 1, 0]), np.nan)
    points = np.random.default_rng(0).random((n, 478, 3))
    points[:, [13, 14]] = 0
    points[:, 14, 1] = jaw
    track = FaceTrack(np.zeros((n, 4)), points, np.tile(np.eye(4), (n, 1, 1)), jaw, np.zeros(n), found, FPS)
    values = measure_opening(track)
    assert np.array_equal(np.isnan(values), ~found)
    assert values[1] > 0.5 > values[0]
    nobody = dataclasses.replace(track, found=np.zeros(n, bool), jaw_open=np.full(n, np.nan))
    assert np.isnan(measure_opening(nobody)).all()


def test_prepare_moves_late_sound_to_the_lips(work, tmp_path, portrait, monkeypatch, make_wav):
    """The mouth of the test face does not move, so what it does is told here."""
    n, late = 150, 0.24
    mouth = syllables(n / FPS)
    path = tmp_path / "late.mp4"
    write_video(path, swaying(portrait, n), 25, audio=make_wav("late.wav", voice(mouth, late).samples))
    monkeypatch.setattr("emote_cli.data.prepare.video.measure_opening", lambda track: mouth)
    wide = dataclasses.replace(
        work, settings=work.settings.model_copy(update={"max_s": 8, "min_speech": 0.0})
    )
    (record,) = prepare_video(Source("late", path, path.name), wide)
    assert record.reason is None
    assert record.measured["sound_late_s"] == pytest.approx(late)
    assert record.measured["sync"] > 0.6
    sound = read_audio(work.dataset_dir / "audio" / "late.flac")
    assert len(sound.samples) == n * RATE // 25
    assert sound_lag(sound, mouth, 0, FPS).late_s == 0

    as_it_is = dataclasses.replace(wide, settings=wide.settings.model_copy(update={"fix_sync": False}))
    (record,) = prepare_video(Source("late", path, path.name), as_it_is)
    assert record.measured["sound_late_s"] == pytest.approx(late), "told, but not moved"
    sound = read_audio(work.dataset_dir / "audio" / "late.flac")
    assert sound_lag(sound, mouth, 0, FPS).late_s == pytest.approx(late)


def test_a_stretch_is_moved_to_sound_that_lies_outside_it(work, tmp_path, portrait, monkeypatch, make_wav):
    mouth, late = syllables(10), 0.24
    whole = voice(mouth, late)
    path = tmp_path / "long.mp4"
    write_video(path, swaying(portrait, 250), 25, audio=make_wav("long.wav", whole.samples))
    monkeypatch.setattr("emote_cli.data.prepare.video.measure_opening", lambda track: mouth[50:200])
    wide = dataclasses.replace(
        work, settings=work.settings.model_copy(update={"max_s": 8, "min_speech": 0.0})
    )
    (record,) = prepare_video(Source("long", path, path.name, start_s=2.0, end_s=8.0), wide)
    assert (record.reason, record.measured["length_gap_s"]) == (None, 0)
    assert record.measured["sound_late_s"] == pytest.approx(late)
    sound = read_audio(work.dataset_dir / "audio" / "long.flac").samples
    want = whole.samples[round(2.24 * RATE) : round(8.24 * RATE)]
    assert len(sound) == len(want)
    assert np.corrcoef(sound[-RATE:], want[-RATE:])[0, 1] > 0.98, "the end is sound, not silence"
