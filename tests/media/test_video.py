import subprocess
from fractions import Fraction

import numpy as np
import pytest

from emote_cli.errors import InputError, OutputError
from emote_cli.files import PART_PREFIX
from emote_cli.media.audio import read_audio
from emote_cli.media.banner import parse_banner
from emote_cli.media.ffmpeg import ffmpeg_exe
from emote_cli.media.video import probe, read_frames, write_video


def ramp(count, height=34, width=46):
    """Frames whose brightness tells their number; the left half is darker than the right."""
    for i in range(count):
        frame = np.full((height, width, 3), 40 + 7 * i, np.uint8)
        frame[:, : width // 2] -= 30
        yield frame


def numbers(frames):
    return [round((float(frame[:, -8:].mean()) - 40) / 7) for frame in frames]


def ffmpeg(*arguments):
    subprocess.run([ffmpeg_exe(), "-y", "-loglevel", "error", *map(str, arguments)], check=True)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, ramp(23), 25)
    return path


def test_all_frames_come_back_in_order_and_color(tmp_path):
    color = np.zeros((32, 48, 3), np.uint8) + np.array([200, 90, 30], np.uint8)
    path = tmp_path / "color.mp4"
    assert write_video(path, [color] * 7, Fraction(30000, 1001)) == 7
    frames = list(read_frames(path))
    assert len(frames) == 7
    assert frames[0].shape == (32, 48, 3)
    assert np.abs(np.array(frames, int) - color).max() <= 4
    assert probe(path).fps == Fraction(30000, 1001)


def test_probe_tells_size_rate_and_length(clip):
    info = probe(clip)
    assert (info.width, info.height, info.fps, info.n_frames) == (46, 34, 25, 23)
    assert not info.has_audio


def test_odd_sizes_lose_a_line_not_the_video(tmp_path):
    write_video(tmp_path / "odd.mp4", ramp(3, 35, 47), 25)
    assert probe(tmp_path / "odd.mp4").width == 46


@pytest.mark.parametrize("start", [0, 1, 7, 22])
def test_a_span_is_the_same_as_a_slice(tmp_path, start):
    path = tmp_path / "long.mp4"
    write_video(path, ramp(23), 5)
    whole = list(read_frames(path, fps=5))
    part = list(read_frames(path, fps=5, start_s=start / 5, duration_s=1.0))
    assert len(part) == min(5, 23 - start)
    np.testing.assert_array_equal(part, whole[start : start + 5])


def test_frames_are_repeated_or_dropped_to_the_asked_rate(clip):
    assert len(list(read_frames(clip, fps=50))) == 46
    slow = numbers(read_frames(clip, fps=5))
    assert len(slow) in (4, 5)
    assert slow == sorted(slow)


def test_variable_frame_rate_is_straightened(tmp_path):
    write_video(tmp_path / "a.mp4", ramp(10), 10)
    path = tmp_path / "vfr.mp4"
    # Frames 0-4 keep their times, later ones come twice as slowly: 0.5 s + 5 * 0.2 s.
    ffmpeg(
        "-i", tmp_path / "a.mp4", "-vf", "setpts='if(lt(N,5),N,5+(N-5)*2)/10/TB'", "-fps_mode", "vfr", path
    )
    seen = numbers(read_frames(path, fps=10))
    assert seen[:5] == [0, 1, 2, 3, 4]
    assert seen[5:13] == [5, 5, 6, 6, 7, 7, 8, 8]


def test_a_rotation_flag_is_obeyed(tmp_path, clip):
    path = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", clip, "-c", "copy", path)
    info = probe(path)
    frame = next(iter(read_frames(path)))
    assert (info.width, info.height) == (34, 46)
    assert frame.shape == (46, 34, 3)
    top, bottom = frame[:20].mean(), frame[-20:].mean()
    assert abs(top - bottom) > 20  # left and right of the stored picture


def test_pixels_that_are_not_square_are_stretched(tmp_path, clip):
    path = tmp_path / "wide.mp4"
    ffmpeg("-i", clip, "-vf", "setsar=2", path)
    assert probe(path).width == 92
    assert next(iter(read_frames(path))).shape == (34, 92, 3)


def test_names_that_look_like_something_else(tmp_path):
    folder = tmp_path / 'it\'s "odd", 100% & [x]'
    folder.mkdir()
    path = folder / "-i http:x %03d.mp4"
    write_video(path, ramp(3), 25)
    assert len(list(read_frames(path))) == 3


def test_sound_is_muxed_from_the_start_and_as_long_as_it_is(tmp_path, tiny_speech):
    path = tmp_path / "talk.mp4"
    write_video(path, ramp(18), 25, audio=tiny_speech)
    assert probe(path).has_audio
    assert len(list(read_frames(path))) == 18
    before, after = read_audio(tiny_speech).samples, read_audio(path).samples
    assert abs(len(before) - len(after)) < 800
    n = min(len(before), len(after))
    assert np.corrcoef(before[:n], after[:n])[0, 1] > 0.9


def test_sound_longer_than_the_picture_does_not_add_frames(tmp_path, tiny_speech):
    write_video(tmp_path / "short.mp4", ramp(5), 25, audio=tiny_speech)
    assert len(list(read_frames(tmp_path / "short.mp4"))) == 5


def test_nothing_is_left_after_ctrl_c(tmp_path):
    def interrupted():
        yield from ramp(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "x.mp4", interrupted(), 25)
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_until_the_new_one_is_complete(clip):
    old = clip.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_video(clip, (1 // 0 for _ in range(3)), 25)
    assert clip.read_bytes() == old
    assert not list(clip.parent.glob(f"{PART_PREFIX}*"))


def test_frames_of_another_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match="frame 1 has shape"):
        write_video(
            tmp_path / "x.mp4", [np.zeros((32, 32, 3), np.uint8), np.zeros((32, 34, 3), np.uint8)], 25
        )


def test_no_frames_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no frame"):
        write_video(tmp_path / "x.mp4", [], 25)


def test_the_folder_must_exist(tmp_path):
    with pytest.raises(OutputError, match="cannot write") as raised:
        write_video(tmp_path / "none" / "x.mp4", ramp(2), 25)
    assert raised.value.hint


def test_one_thread_gives_the_same_bytes(tmp_path):
    for name in "ab":
        write_video(tmp_path / f"{name}.mp4", ramp(5), 25, threads=1)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_bad_inputs_say_what_is_wrong(tmp_path, tiny_speech):
    text = tmp_path / "text.mp4"
    text.write_text("this is no video\n" * 9)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    cases = {
        tmp_path / "none.mp4": "does not exist",
        tmp_path: "is a folder",
        empty: "is empty",
        text: "is not readable",
        tiny_speech: "no video stream",
    }
    for path, words in cases.items():
        with pytest.raises(InputError, match=words) as raised:
            list(read_frames(path))
        assert raised.value.hint
        assert str(path) in raised.value.message


def test_a_span_behind_the_end_is_an_error(clip):
    with pytest.raises(InputError, match="has no frame from 9 s on"):
        list(read_frames(clip, start_s=9, duration_s=1, fps=25))


def test_a_file_that_breaks_off_gives_what_is_there(tmp_path, rng):
    path = tmp_path / "cut.mp4"
    write_video(path, rng.integers(0, 256, (23, 34, 46, 3), np.uint8), 25)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    assert 0 < len(list(read_frames(path))) < 23


def test_a_file_whose_index_is_gone_is_an_error(tmp_path, clip):
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cut\.mp4"):
        list(read_frames(path))


def test_stopping_early_ends_ffmpeg(clip):
    frames = read_frames(clip)
    next(frames)
    frames.close()


BANNER = """Input #0, mov, from 'x.mp4':
  Duration: 01:02:03.50, start: 0.000000, bitrate: 9 kb/s
  Stream #0:0[0x1](und): Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv), 1920x1080 [SAR 1:1 DAR 16:9], 1 kb/s, 29.97 fps, 29.97 tbr, 30k tbn
    Side data:
      displaymatrix: rotation of -90.00 degrees
  Stream #0:1[0x2](und): Audio: aac (LC), 48000 Hz, stereo
  Stream #0:2: Video: png, rgba(pc), 600x600, 90k tbr, 90k tbn (attached pic)
"""  # noqa: E501


def test_what_ffmpeg_prints_is_understood():
    info = parse_banner(BANNER)
    assert info.size == (1080, 1920)
    assert info.fps == Fraction(30000, 1001)
    assert info.duration_s == 3723.5
    assert info.has_audio


def test_a_cover_picture_is_no_video():
    sound = "\n".join(line for line in BANNER.splitlines() if "h264" not in line)
    assert parse_banner(sound).size is None
    assert parse_banner("Duration: N/A").duration_s is None
