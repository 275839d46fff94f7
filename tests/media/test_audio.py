import gc

import numpy as np
import pytest
import soundfile

from emote_cli.errors import InputError, OutputError
from emote_cli.media.audio import cut_or_pad, open_audio, read_audio, write_flac
from emote_cli.media.video import write_video
from emote_cli.types import Waveform
from tests.conftest import write_wav


def tone(seconds, rate_hz=16_000, pitch_hz=440):
    return (0.5 * np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(
        np.float32
    )


def test_what_is_written_is_read(tmp_path):
    samples = tone(0.37)
    write_flac(tmp_path / "a.flac", Waveform(samples, 16_000))
    back = read_audio(tmp_path / "a.flac")
    assert back.sample_rate_hz == 16_000
    assert back.samples.dtype == np.float32
    np.testing.assert_allclose(back.samples, samples, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.flac"]


def test_loud_sound_is_limited_not_wrapped(tmp_path):
    write_flac(tmp_path / "a.flac", Waveform(np.array([3.0, -3.0] * 50, np.float32), 16_000))
    np.testing.assert_allclose(read_audio(tmp_path / "a.flac").samples[:2], [1, -1], atol=1e-3)


def test_other_rates_are_converted_in_pitch_and_length(tmp_path):
    write_wav(tmp_path / "a.wav", tone(1, 44_100), 44_100)
    back = read_audio(tmp_path / "a.wav")
    assert abs(len(back.samples) - 16_000) <= 2
    assert np.abs(np.fft.rfft(back.samples)).argmax() * 16_000 / len(back.samples) == pytest.approx(
        440, abs=2
    )


def test_stereo_becomes_the_mean(tmp_path):
    import soundfile

    left = tone(0.3)
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], 1), 16_000)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav").samples, left / 2, atol=2e-3)


def test_a_span_is_the_same_as_a_slice(tmp_path):
    samples = np.random.default_rng(3).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    write_flac(tmp_path / "a.flac", Waveform(samples, 16_000))
    part = read_audio(tmp_path / "a.flac", start_s=0.25, duration_s=0.5)
    np.testing.assert_allclose(part.samples, samples[4_000:12_000], atol=1e-4)


def test_cut_or_pad_gives_exactly_so_many():
    wave = Waveform(np.ones(11, np.float32), 16_000)
    assert cut_or_pad(wave, 7).samples.tolist() == [1] * 7
    assert cut_or_pad(wave, 13).samples.tolist() == [1] * 11 + [0, 0]


def test_bad_inputs_say_what_is_wrong(tmp_path):
    silent = tmp_path / "silent.mp4"
    write_video(silent, [np.zeros((32, 32, 3), np.uint8)] * 3, 25)
    text = tmp_path / "text.wav"
    text.write_text("not a sound\n" * 5)
    header = tmp_path / "header.wav"
    write_wav(header, np.zeros(0, np.float32))
    broken = tmp_path / "broken.wav"
    soundfile.write(broken, np.array([0.1, np.nan, 0.2] * 400), 16_000, subtype="FLOAT")
    cases = {
        broken: "not numbers",
        tmp_path / "none.wav": "does not exist",
        text: "is not readable",
        silent: "no audio stream",
        header: "no samples|not readable|could not be decoded|no audio stream",
    }
    for path, words in cases.items():
        with pytest.raises(InputError, match=words) as raised:
            read_audio(path)
        assert raised.value.hint


def test_a_beginning_after_the_end_is_told(tmp_path):
    write_wav(tmp_path / "short.wav", np.ones(16_000, np.float32) / 4)
    with pytest.raises(InputError, match=r"short.wav ends before 750 s") as raised:
        read_audio(tmp_path / "short.wav", start_s=750)
    assert "--start" in raised.value.hint


def test_the_folder_must_exist(tmp_path):
    with pytest.raises(OutputError):
        write_flac(tmp_path / "none" / "a.flac", Waveform(tone(0.1), 16_000))


def test_a_recording_that_nobody_holds_is_closed(tmp_path):
    recording = open_audio(write_wav(tmp_path / "a.wav", tone(0.1)))
    file = recording._file
    del recording
    gc.collect()
    assert file.closed
