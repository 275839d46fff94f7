"""`emote animate` as a user meets it, with a made-up network: no torch here."""

import itertools
import json
import subprocess
from fractions import Fraction

import numpy as np
import pytest
from command_line import emote, fails

from emote_cli import __version__
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.provenance import read_making
from emote_cli.files import sha256_of
from emote_cli.media.audio import read_audio
from emote_cli.media.ffmpeg import ffmpeg_exe
from emote_cli.media.video import probe, read_frames
from emote_cli.model.checkpoint import random_model, save_model
from emote_cli.settings_tree import override
from tests.small_models import paper_settings


def test_animate_writes_the_portraits_name_in_this_folder(fake, here, portrait_path, speech_path):
    result = emote("animate", portrait_path, speech_path, "--model", "tiny")
    assert result.exit_code == 0, result.output
    assert result.stdout == "portrait.mp4\n"
    info = probe(here / "portrait.mp4")
    assert (info.width, info.height, info.fps, info.has_audio) == (32, 32, 25, True)
    assert len(list(read_frames(here / "portrait.mp4"))) == 119  # round(4.76 s * 25)
    assert [p.name for p in here.iterdir()] == ["portrait.mp4"]
    portrait = fake.calls[0]["portrait"]
    assert portrait.pixels.shape == (32, 32, 3)
    assert 0 < portrait.face.box_px.x0 < portrait.face.box_px.x1 < 32


def test_options_reach_the_animator(fake, here, portrait_path, tiny_speech):
    options = (
        "--steps 3 --guidance 2.5 --seed 7 --head-speed 0.7 --motion-region full --device cpu "
        "--dtype bf16 --no-detail --quality fast --low-memory --articulation 1.5 --smoothing 3"
    )
    result = emote("animate", portrait_path, tiny_speech, "-o", "x.mp4", "--model", "tiny", *options.split())
    assert result.exit_code == 0, result.output
    call = fake.calls[0]
    assert (call["model"], call["device"], call["dtype"]) == ("tiny", "cpu", "bf16")
    assert call["options"] == AnimateOptions(
        steps=3,
        guidance=2.5,
        seed=7,
        head_speed=0.7,
        motion_region="full",
        detail=False,
        articulation=1.5,
        smoothing=3,
        quality="fast",
    )
    assert (call["tuning"].low_memory, call["tuning"].compile, call["tuning"].variant) == (True, False, None)


def test_articulation_is_for_models_that_predict_a_change(fake, here, portrait_path, tiny_speech):
    folder = here / "paper"
    folder.mkdir()
    save_model(random_model(paper_settings()), folder)
    args = ("animate", portrait_path, tiny_speech, "-o", "x.mp4", "--model", folder)
    fails(emote(*args, "--articulation", 2), "has no articulation to set", "leave --articulation out")
    assert emote(*args).exit_code == 0


def test_public_models_do_not_smooth(fake, here, portrait_path, tiny_speech):
    folder = here / "public"
    folder.mkdir()
    save_model(random_model(override(paper_settings(), ["family.audio=text_slot"])), folder)
    args = ("animate", portrait_path, tiny_speech, "-o", "x.mp4", "--model", folder)
    fails(emote(*args, "--smoothing", 1), "cannot smooth its frames", "leave --smoothing out")
    assert emote(*args, "--smoothing", 0).exit_code == 0


def test_the_finished_head_sways_where_that_is_asked_for(fake, here, portrait_path, tiny_speech):
    args = ("animate", portrait_path, tiny_speech, "--model", "tiny", "-o", "x.mp4")
    assert emote(*args, "--idle", "--frame", "full").exit_code == 0
    assert read_making(here / "x.mp4")["settings"]["idle"] is True


def test_the_voice_is_separated_only_where_the_network_is(
    fake, here, portrait_path, tiny_speech, monkeypatch
):
    from emote_cli.perception.vocals import VocalSeparator

    args = ("animate", portrait_path, tiny_speech, "-o", "x.mp4", "--model", "tiny", "--separate-vocals")
    with monkeypatch.context() as patch:
        patch.setattr("emote_cli.zoo.locate.home", lambda name: here / "hub" / name)
        fails(emote(*args), "the vocal separator is not installed", "emote download hallo-vocals")
        place = here / "hub" / "hallo" / "audio_separator" / "Kim_Vocal_2.onnx"
        place.parent.mkdir(parents=True)
        place.touch()

        class FakeSeparator(VocalSeparator):
            def __init__(self, path):
                assert path == place

            def voice(self, mix):
                assert mix.shape[0] == 2
                return 0.5 * mix

        patch.setattr("emote_cli.perception.vocals.VocalSeparator", FakeSeparator)
        assert emote(*args).exit_code == 0
    voice, whole = fake.calls[0]["speech"].samples, read_audio(tiny_speech).samples
    assert len(voice) == len(whole)
    assert np.corrcoef(voice, whole)[0, 1] > 0.9
    assert np.abs(voice).mean() < 0.9 * np.abs(whole).mean()


@pytest.mark.parametrize("text", ["24", "25", "29.97", "30", "60", "24000/1001"])
def test_another_frame_rate_keeps_time(fake, here, portrait_path, tiny_speech, text):
    result = emote("animate", portrait_path, tiny_speech, "-o", "x.mp4", "--model", "tiny", "--fps", text)
    assert result.exit_code == 0, result.output
    fps = {"29.97": Fraction(30000, 1001)}.get(text) or Fraction(text)
    frames = [round(float(f.mean())) for f in read_frames(here / "x.mp4")]
    assert len(frames) == round(Fraction(7, 10) * fps)
    shown = [min(int((i + 0.5) / float(fps) * 25), 17) for i in range(len(frames))]
    assert np.abs(np.array(frames) - 40 - shown).max() <= 2


def test_another_size(fake, here, portrait_path, tiny_speech):
    result = emote("animate", portrait_path, tiny_speech, "-o", "x.MP4", "--model", "tiny", "--size", "94")
    assert result.exit_code == 0, result.output
    assert (probe(here / "x.MP4").width, probe(here / "x.MP4").height) == (94, 94)


def test_sound_and_picture_are_equally_long(fake, here, portrait_path, speech_path):
    assert emote("animate", portrait_path, speech_path, "--model", "tiny").exit_code == 0
    seconds = {}
    for stream in ("v", "a"):
        command = [
            ffmpeg_exe(),
            "-i",
            "portrait.mp4",
            "-map",
            f"0:{stream}",
            "-f",
            "null",
            "-",
            "-progress",
            "-",
        ]
        text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        seconds[stream] = int(text.split("out_time_us=")[-1].split()[0]) / 1e6
    assert abs(seconds["v"] - seconds["a"]) <= 1 / 25, seconds
    assert seconds["v"] == pytest.approx(4.76)


def test_force_overwrites_and_only_force(fake, here, portrait_path, tiny_speech):
    (here / "x.mp4").write_bytes(b"precious")
    args = ("animate", portrait_path, tiny_speech, "-o", "x.mp4", "--model", "tiny")
    fails(emote(*args), "x.mp4 already exists", "--force")
    assert (here / "x.mp4").read_bytes() == b"precious"
    assert emote(*args, "--force").exit_code == 0
    assert probe(here / "x.mp4").has_audio


def test_a_part_of_the_sound(fake, here, portrait_path, speech_path):
    span = ("--start", "0:01.5", "--duration", "0.6")
    assert emote("animate", portrait_path, speech_path, "--model", "tiny", *span).exit_code == 0
    assert len(list(read_frames(here / "portrait.mp4"))) == 15
    whole, part = read_audio(speech_path).samples, fake.calls[0]["speech"].read(0, 10**6)
    assert np.array_equal(part, whole[24_000 : 24_000 + 9_600])
    heard = read_audio(here / "portrait.mp4").samples[:9_600]
    assert np.corrcoef(heard, part[: len(heard)])[0, 1] > 0.95


def test_a_video_says_how_it_was_made(fake, here, portrait_path, tiny_speech):
    made = emote("animate", portrait_path, tiny_speech, "--model", "tiny", "--seed", "11", "--fps", "29.97")
    assert made.exit_code == 0, made.output
    making = json.loads(emote("info", "portrait.mp4", "--json").stdout)
    assert making["note"] == "AI-generated video"
    assert making["made_by"] == f"emote {__version__}"
    assert making["settings"]["seed"] == 11
    assert making["portrait"] == {"name": "portrait.png", "sha256": sha256_of(portrait_path)}
    assert "settings.fps: 30000/1001\n" in emote("info", "portrait.mp4").stdout


def test_like_repeats_the_settings_but_not_those_that_are_named(fake, here, portrait_path, tiny_speech):
    args = ("animate", portrait_path, tiny_speech)
    first = emote(*args, "-o", "a.mp4", "--model", "tiny", "--seed", "11", "--fps", "29.97", "--steps", "3")
    again = emote(*args, "-o", "b.mp4", "--like", "a.mp4", "--steps", "4")
    assert (first.exit_code, again.exit_code) == (0, 0), again.output
    assert fake.calls[1]["model"] == "tiny"
    assert fake.calls[1]["options"] == AnimateOptions(seed=11, steps=4, fps="29.97")
    assert probe(here / "b.mp4").fps == Fraction(30000, 1001)


def test_several_faces_are_numbered_in_a_picture(fake, here, two_people, tiny_speech):
    args = ("animate", two_people, tiny_speech, "--model", "tiny")
    before = {p.name for p in here.iterdir()}
    dry = emote(*args, "-o", "x.mp4", "--dry-run")
    assert "warning: 2 faces: the largest is animated; --face chooses another" in dry.stderr
    assert {p.name for p in here.iterdir()} == before
    result = emote(*args, "-o", "x.mp4")
    assert "warning: 2 faces" in result.stderr
    assert "x.faces.png numbers the faces for --face" in result.stderr
    assert {p.name for p in here.iterdir()} == {*before, "x.mp4", "x.faces.png"}
    result = emote(*args, "-o", "y.mp4", "--face", "2")
    assert "faces" not in result.stderr
    _, first, second = (call["portrait"].crop_px for call in fake.calls)
    assert first != second
    fails(emote(*args, "--face", "3"), "there is no face 3", "--face 1 to")


def test_a_batch_says_what_may_make_a_video_poor(fake, here, two_people, tiny_speech):
    (here / "jobs.csv").write_text(f"portrait,audio,output\n{two_people},{tiny_speech},a.mp4\n")
    result = emote("animate", "--batch", "jobs.csv", "--model", "tiny")
    assert result.exit_code == 0
    assert "warning: a.mp4: 2 faces: the largest is animated" in result.stderr
    assert (here / "a.faces.png").exists()


def test_the_whole_photo(fake, here, portrait_path, tiny_speech):
    args = ("animate", portrait_path, tiny_speech, "-o", "x.mp4", "--model", "tiny", "--frame", "full")
    result = emote(*args)
    assert result.exit_code == 0, result.output
    assert (probe(here / "x.mp4").width, probe(here / "x.mp4").height) == (512, 512)


@pytest.mark.parametrize(("name", "sound"), [("x.mov", True), ("x.webm", True), ("x.gif", False)])
def test_the_ending_says_what_it_becomes(fake, here, portrait_path, tiny_speech, name, sound):
    result = emote("animate", portrait_path, tiny_speech, "-o", name, "--model", "tiny", "--seed", "3")
    assert result.exit_code == 0, result.output
    frames = list(read_frames(here / name))
    assert (len(frames), frames[0].shape, probe(here / name).has_audio) == (18, (32, 32, 3), sound)
    assert abs(float(frames[9].mean()) - 49) < 3
    assert json.loads(emote("info", name, "--json").stdout)["settings"]["seed"] == 3


def test_whole_aac_is_copied(fake, here, portrait_path, shared):
    sound = shared / "media/speech/aac.m4a"
    assert emote("animate", portrait_path, sound, "-o", "x.mp4", "--model", "tiny").exit_code == 0

    def packets(path):
        command = [
            ffmpeg_exe(),
            "-v",
            "error",
            "-i",
            str(path),
            "-map",
            "0:a",
            "-c",
            "copy",
            "-f",
            "md5",
            "-",
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    assert packets(here / "x.mp4") == packets(sound)


def test_a_folder_of_pngs(fake, here, portrait_path, tiny_speech):
    args = ("animate", portrait_path, tiny_speech, "--model", "tiny", "-o", "frames/")
    assert emote(*args).stdout == "frames\n"
    files = sorted(path.name for path in (here / "frames").iterdir())
    assert files == [*(f"{number:06d}.png" for number in range(18)), "making.txt"]
    assert json.loads(emote("info", "frames", "--json").stdout)["video"]["frames"] == 18
    fails(emote(*args), "output frames is a folder", "--force")
    assert emote(*args, "--force", "--duration", "0.2").exit_code == 0
    assert len(list((here / "frames").iterdir())) == 6
    (here / "frames" / "mine.txt").write_text("precious")
    fails(emote(*args, "--force"), "holds other files (mine.txt)", "new folder")
    fails(emote(*args[:-1], "."), "output . cannot be replaced", "new folder")


def test_ctrl_c_can_leave_a_part_and_go_on(fake, here, portrait_path, speech_path, monkeypatch):
    monkeypatch.setattr("emote_cli.animation.render.SEGMENT_S", 1.0)
    frames = fake.frames

    def interrupted(self, portrait, speech, options):
        yield from itertools.islice(frames(self, portrait, speech, options), 60)
        raise KeyboardInterrupt

    args = ("animate", portrait_path, speech_path, "--model", "tiny", "-o", "x.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(fake, "frames", interrupted)
        result = emote(*args, "--keep-partial")
    assert result.exit_code == 130
    assert result.stderr == "kept what is made so far: x.partial.mp4; --resume continues it\nstopped\n"
    part = list(read_frames(here / "x.partial.mp4"))
    assert len(part) == 60
    assert probe(here / "x.partial.mp4").duration_s == pytest.approx(60 / 25, abs=0.05)
    fails(emote(*args, "--resume", "--seed", "4"), "begun with settings.seed 0, now it is 4", "--resume")
    assert emote(*args, "--resume").exit_code == 0
    whole = list(read_frames(here / "x.mp4"))
    assert len(whole) == 119
    assert all(np.array_equal(one, other) for one, other in zip(part[:50], whole[:50], strict=True))
    assert {path.name for path in here.iterdir()} == {"x.mp4", "x.partial.mp4"}


def test_missing_arguments_are_wrong_usage(fake, here, portrait_path):
    for arguments in ((portrait_path,), (portrait_path, "--batch", "jobs.csv"), ("--seed", 3)):
        assert emote("animate", *arguments).exit_code == 2


def test_info_of_another_file(here, tiny_speech):
    fails(emote("info", tiny_speech), "does not say how it was made", "emote animate")
    fails(emote("info", "missing.mp4"), "missing.mp4 does not exist", "check the path")


def test_a_dry_run_writes_nothing(fake, here, portrait_path, tiny_speech):
    result = emote("animate", portrait_path, tiny_speech, "--model", "tiny", "--dry-run")
    assert result.exit_code == 0, result.output
    told = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert "18 frames at 25 fps" in told["output"]
    assert set(told) == {"portrait", "face", "sound", "model", "output", "time", "memory"}
    assert list(here.iterdir()) == []
