"""The command line as a user meets it. A made-up network stands in for the real one: no torch here."""

import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import types
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from emote_cli import __version__
from emote_cli.animation.batch import load_once
from emote_cli.animation.chunks import Carry, MadeChunk
from emote_cli.animation.finishing import make_finisher
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.provenance import read_making
from emote_cli.animation.retime import count_frames
from emote_cli.cli import COMMANDS, app
from emote_cli.errors import DeviceError
from emote_cli.files import sha256_of
from emote_cli.media.audio import read_audio
from emote_cli.media.ffmpeg import ffmpeg_exe
from emote_cli.media.video import probe, read_frames
from emote_cli.model.checkpoint import random_model, save_model
from emote_cli.settings_tree import override
from tests.small_models import paper_settings

HEAVY = (
    "torch",
    "diffusers",
    "transformers",
    "mediapipe",
    "librosa",
    "cv2",
    "huggingface_hub",
    "pydantic",
    "numpy",
)


class FakeAnimator:
    """Frames that count in their brightness, as the real animator's interface promises."""

    size, fps = 32, Fraction(25)
    calls: ClassVar[list[dict]] = []

    @classmethod
    def load(cls, model, device="auto", dtype="auto", tuning=None):
        if device == "cuda":
            raise DeviceError("no CUDA device here", hint="--device cpu")
        cls.calls.append({"model": str(model), "device": device, "dtype": dtype, "tuning": tuning})
        return cls()

    def frames(self, portrait, speech, options):
        self.calls[-1].update(portrait=portrait, speech=speech, options=options)
        for index in range(count_frames(speech.n_samples, speech.sample_rate_hz, self.fps)):
            yield np.full((self.size, self.size, 3), 40 + index, np.uint8)

    def make_finisher(self, scene, options):
        return make_finisher(scene, options)

    def raw_chunks(self, portrait, speech, options, after=None):
        """Chunks of five; what they carry over is the number of frames so far."""
        count = count_frames(speech.n_samples, speech.sample_rate_hz, self.fps)
        start = 0 if after is None else after.frame
        assert after is None or after.motion == start
        source = itertools.islice(self.frames(portrait, speech, options), start, None)
        while frames := list(itertools.islice(source, 5)):
            stop = start + 5
            yield MadeChunk(start, np.stack(frames), Carry(stop, np.array([float(stop)])), stop >= count)
            start = stop


@pytest.fixture
def fake(monkeypatch) -> type[FakeAnimator]:
    module = types.ModuleType("emote_cli.animation.animator")
    module.Animator = FakeAnimator
    monkeypatch.setitem(sys.modules, "emote_cli.animation.animator", module)
    monkeypatch.setattr(FakeAnimator, "calls", [])
    load_once.cache_clear()
    return FakeAnimator


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def emote(*args: object):
    return CliRunner().invoke(app, [str(a) for a in args])


def fails(result, message: str, hint: str) -> None:
    """One line, one hint, exit 1, nothing on stdout."""
    lines = result.stderr.strip().splitlines()
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert len(lines) == 2, result.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert lines[1].startswith("hint: ")
    assert hint in lines[1]


# ---------------------------------------------------------------------------------------------- the frame


def test_help_is_quick_and_imports_nothing_heavy():
    program = (
        "import sys, json\nfrom emote_cli.cli import app\n"
        "try: app(['--help'], prog_name='emote')\n"
        f"except SystemExit as e: print(json.dumps([e.code, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        seconds.append(time.perf_counter() - begin)
    code, imported = json.loads(done.stdout.splitlines()[-1])
    assert (code, imported) == (0, [])
    assert all(name in done.stdout for name in COMMANDS)
    assert min(seconds) < 1.5, f"{min(seconds):.2f} s"  # 0.5 s on an idle machine


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    for flag in ("-h", "--help"):
        result = emote(command, flag)
        assert result.exit_code == 0, result.output
        assert f"Usage: emote {command}" in " ".join(result.stdout.split())


def test_version():
    assert emote("--version").stdout == f"emote {__version__}\n"


def test_a_mistyped_command_is_wrong_usage():
    result = emote("animat")
    assert result.exit_code == 2
    assert "animate" in result.stderr


def test_python_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "emote_cli", "--version"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, f"emote {__version__}\n")


def test_the_real_process_fails_as_the_runner_does(here, speech_path):
    command = [sys.executable, "-m", "emote_cli", "animate", "missing.png", str(speech_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "error: image missing.png does not exist"


@pytest.mark.parametrize("position", ["front", "end"])
def test_traceback_is_shown_when_asked_for(here, speech_path, position):
    args = ["animate", "missing.png", speech_path]
    result = emote("--traceback", *args) if position == "front" else emote(*args, "--traceback")
    assert type(result.exception).__name__ == "InputError"


def test_ctrl_c_ends_with_130_and_leaves_nothing(fake, here, portrait_path, speech_path, monkeypatch):
    def interrupted(self, portrait, speech, options):
        yield np.zeros((32, 32, 3), np.uint8)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(fake, "frames", interrupted)
    # Whoever runs the tests in the background may have told this process to ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = emote("animate", portrait_path, speech_path, "--model", "tiny")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "stopped\n")
    assert list(here.iterdir()) == []


def test_a_full_disk_is_one_line(fake, here, portrait_path, speech_path, monkeypatch):
    def full(self, portrait, speech, options):
        raise OSError(28, "No space left on device", "frames")

    monkeypatch.setattr(fake, "frames", full)
    result = emote("animate", portrait_path, speech_path, "--model", "tiny")
    fails(result, "no space left on the disk for frames", "free some space")


def test_a_bug_stays_a_bug(fake, here, portrait_path, speech_path, monkeypatch):
    def broken(self, portrait, speech, options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(fake, "frames", broken)
    result = emote("animate", portrait_path, speech_path, "--model", "tiny")
    assert isinstance(result.exception, ZeroDivisionError)
    assert list(here.iterdir()) == []


# ------------------------------------------------------------------------------------------------ animate


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


@pytest.fixture
def two_people(here, portrait_path) -> Path:
    """A picture of a larger and a smaller face."""
    from PIL import Image

    one = Image.open(portrait_path).convert("RGB")
    both = Image.new("RGB", (896, 512))
    both.paste(one, (0, 0))
    both.paste(one.resize((384, 384)), (512, 64))
    both.save(here / "two.png")
    return here / "two.png"


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


def test_a_batch_loads_the_model_once_and_outlives_a_bad_job(fake, here, portrait_path, tiny_speech):
    table = here / "jobs.csv"
    rows = f"{portrait_path},{tiny_speech},a.mp4,3\nmissing.png,{tiny_speech},b.mp4,\n"
    table.write_text(f"portrait,audio,output,seed\n{rows}")
    (here / "taken").touch()
    fails(
        emote("animate", "--batch", table, "-o", "taken"), "cannot make taken: File exists", "choose a folder"
    )
    args = ("animate", "--batch", table, "-o", "out", "--model", "tiny")
    result = emote(*args)
    assert result.exit_code == 1
    assert result.stdout == "out/a.mp4\n"
    assert f"warning: {table}, line 3: image" in result.stderr
    assert "1 made, 0 already there, 1 failed" in result.stderr
    table.write_text(table.read_text().replace("missing.png", str(portrait_path)))
    result = emote(*args)
    assert (result.exit_code, result.stdout) == (0, "out/a.mp4\nout/b.mp4\n")
    assert "1 made, 1 already there, 0 failed" in result.stderr
    assert [call["options"].seed for call in fake.calls] == [3, 0]


def test_a_batch_on_a_cluster_runs_the_same_function(fake, here, portrait_path, tiny_speech, monkeypatch):
    """Ray itself is optional: its place is taken by a loop that sends every job through pickle, elsewhere."""
    shutil.copy(portrait_path, here / "one.png")
    (here / "jobs.csv").write_text(f"portrait,audio\none.png,{tiny_speech}\nmissing.png,{tiny_speech}\n")
    elsewhere = here.parent / "elsewhere"
    elsewhere.mkdir()
    asked = []

    def map_jobs_ray(function, jobs, address, *, gpu):
        asked.append((address, gpu))
        for job in jobs:
            monkeypatch.chdir(elsewhere)
            yield job, pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(function))(job)))

    monkeypatch.setattr("emote_cli.animation.batch.map_jobs_ray", map_jobs_ray)
    result = emote("animate", "--batch", "jobs.csv", "--model", "tiny", "--ray", "here:1", "--device", "cpu")
    assert result.exit_code == 1
    assert asked == [("here:1", False)]
    assert result.stdout == f"{here / 'one.tiny-speech.mp4'}\n"
    assert "warning: jobs.csv, line 3: image" in result.stderr
    assert probe(here / "one.tiny-speech.mp4").has_audio
    assert emote("animate", portrait_path, tiny_speech, "--ray", "local").exit_code == 2


def test_a_batch_of_a_folder_and_of_json_lines(fake, here, portrait_path, tiny_speech):
    shutil.copy(portrait_path, here / "one.png")
    shutil.copy(tiny_speech, here / "one.wav")
    (here / "jobs.jsonl").write_text('{"portrait": "one.png", "audio": "one.wav", "output": "j.mp4"}\n')
    assert emote("animate", "--batch", here, "--model", "tiny").stdout == "one.one.mp4\n"
    assert emote("animate", "--batch", "jobs.jsonl", "--model", "tiny").stdout == "j.mp4\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("portrait,audio\n", "holds no job"),
        ("portrait,sound\na.png,b.wav\n", "jobs.csv, line 1 (separator: comma): column 'sound' is unknown"),
        ("portrait;output\na.png;b.mp4\n", "line 1 (separator: semicolon): column audio is missing"),
        (
            "\n\nhello\tworld\tseed\n",
            "line 3 (separator: tab): neither column names (portrait, audio, ...) nor a job",
        ),
        ("portrait,audio,audio\na.png,b.wav,c.wav\n", "column audio is there twice"),
        ("[" * 100_000, "nested too deeply"),
        ("", "is empty"),
        ("PK\3\4\0", "is no text"),
    ],
)
def test_a_wrong_table(fake, here, text, message):
    (here / "jobs.csv").write_text(text)
    fails(emote("animate", "--batch", "jobs.csv"), message, "")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"seed": "x"}, "seed is 'x', not a whole number"),
        ({"seed": -1}, "seed is -1: out of range"),
        ({"seed": 2**70}, "out of range"),
        ({"steps": 0}, "steps is 0: out of range"),
        ({"steps": 1001}, "out of range"),
        ({"guidance": "nan"}, "guidance is nan, not a number"),
        ({"guidance": "inf"}, "guidance is inf, not a number"),
        ({"guidance": "1e9"}, "out of range"),
        ({"head_speed": 99}, "head_speed is 99"),
        ({"duration": "-1"}, "out of range"),
        ({"start": "1:x"}, "not a time"),
        ({"size": 10**9}, "out of range"),
        ({"fps": "1e9"}, "out of range"),
        ({"smoothing": 6}, "out of range"),
        ({"quality": "best"}, "quality is 'best', not one of"),
        ({"audio": ""}, "audio is missing"),
        ({"audio": "b\0.wav"}, "cannot be opened"),
        ({"nonsense": 1}, "nonsense is unknown"),
        ({"portrait": {"a": 1}}, "portrait is not a single value"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_the_others_are_made(
    fake, here, portrait_path, tiny_speech, row, message
):
    good = {"portrait": str(portrait_path), "audio": str(tiny_speech)}
    rows = [{**good, "output": "a.mp4"}, {**good, "output": "b.mp4", **row}, {**good, "output": "c.mp4"}]
    (here / "jobs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    result = emote("animate", "--batch", "jobs.jsonl", "--model", "tiny")
    assert (result.exit_code, result.stdout) == (1, "a.mp4\nc.mp4\n")
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: jobs.jsonl, line 2: ")
    assert message in warnings[0]


def test_no_exception_of_one_job_ends_the_batch(fake, here, portrait_path, tiny_speech, monkeypatch):
    frames, asked = fake.frames, []

    def sometimes(self, portrait, speech, options):
        asked.append(options.seed)
        if options.seed in (2, 3):
            raise (RuntimeError("a\nbug"), RecursionError())[options.seed - 2]
        return frames(self, portrait, speech, options)

    monkeypatch.setattr(fake, "frames", sometimes)
    rows = "".join(f"{portrait_path},{tiny_speech},{seed}.mp4,{seed}\n" for seed in (1, 2, 3, 4))
    (here / "jobs.csv").write_text("portrait,audio,output,seed\n" + rows)
    result = emote("animate", "--batch", "jobs.csv", "--model", "tiny")
    assert (result.exit_code, result.stdout, asked) == (1, "1.mp4\n4.mp4\n", [1, 2, 3, 4])
    assert "line 3: RuntimeError" in result.stderr
    assert sorted(p.name for p in here.iterdir()) == ["1.mp4", "4.mp4", "jobs.csv"]


@pytest.mark.parametrize(
    "content",
    [
        b"portrait,audio,output,seed,start,duration\n{p},{s},a.mp4,1,0,0:00.4\n",
        b"\xef\xbb\xbfPortrait;Audio;Output;Seed;Start;Duration\r\n{p};{s};a.mp4;1;0;0,4\r\n;;;;;\r\n",
        b"portrait\taudio\toutput\tseed\tduration\n{p}\t{s}\ta.mp4\t1\t0.4\n\n\n",
        b"sep=;\r\nportrait;audio;output;seed;duration\r\n{p};{s};a.mp4;1;0,4\r\n",
        b",portrait,audio,output,seed,duration\n0,{p},{s},a.mp4,1.0,0.4\n",  # pandas, with its index
        b" PORTRAIT , Audio ,output, Seed,DURATION,,\n {p} , {s} ,a.mp4, 1 ,0.4,,\n,,,,,,\n",
        b'"portrait","audio","output","seed","duration","size"\n"{p}","{s}","a.mp4","1","0.4",""\n',
        b"portrait|audio|output|seed|duration\n{p}|{s}|a.mp4|1|0.4\n",
        "portrait\taudio\toutput\tseed\tduration\r\n{p}\t{s}\ta.mp4\t1\t0,4\r\n".encode("utf-16"),
        b'{"portrait": "{p}", "audio": "{s}", "output": "a.mp4", "seed": 1.0, "duration": 0.4}\n\n',
        b'[{"portrait": "{p}", "audio": "{s}", "output": "a.mp4", "seed": 1, "duration": "0:00.4"}]',
    ],
)
def test_tables_as_programs_write_them(fake, here, portrait_path, tiny_speech, content):
    shutil.copy(portrait_path, here / "p.png")
    shutil.copy(tiny_speech, here / "s.wav")
    for name in ("jobs.csv", "jobs.txt"):
        (here / name).write_bytes(
            content.decode("utf-16").replace("{p}", "p.png").replace("{s}", "s.wav").encode("utf-16")
            if content[:2] == b"\xff\xfe"
            else content.replace(b"{p}", b"p.png").replace(b"{s}", b"s.wav")
        )
        result = emote("animate", "--batch", name, "--model", "tiny", "-o", name[-3:])
        assert (result.exit_code, result.stdout) == (0, f"{name[-3:]}/a.mp4\n"), result.output
    assert {call["options"].seed for call in fake.calls} == {1}
    assert len(list(read_frames(here / "csv" / "a.mp4"))) == 10


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_without_a_head(fake, here, portrait_path, tiny_speech, separator):
    shutil.copy(portrait_path, here / "p.png")
    shutil.copy(tiny_speech, here / "s.wav")
    (here / "jobs.csv").write_text(f"p.png{separator}s.wav\n\np.png{separator}s.wav{separator}b.mp4\n")
    result = emote("animate", "--batch", "jobs.csv", "--model", "tiny")
    assert (result.exit_code, result.stdout) == (0, "p.s.mp4\nb.mp4\n"), result.output


@pytest.mark.parametrize(
    "output", ["../evil.mp4", "{outside}/evil.mp4", "sub/../../evil.mp4", "link/evil.mp4"]
)
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_tables_output_stays_in_its_folder(fake, here, portrait_path, tiny_speech, output, force):
    outside = here.parent / "outside"
    for folder in (outside, here / "out" / "sub"):
        folder.mkdir(parents=True)
    (here / "out" / "link").symlink_to(outside)
    canaries = [outside / "evil.mp4", here / "evil.mp4"]
    for canary in canaries:
        canary.write_bytes(b"mine")
    row = {"portrait": str(portrait_path), "audio": str(tiny_speech)}
    rows = [{**row, "output": output.format(outside=outside)}, {**row, "output": "sub/good.mp4"}]
    (here / "jobs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    args = ("animate", "--batch", "jobs.jsonl", "--model", "tiny", "-o", "out", *force)
    result = emote(*args)
    assert (result.exit_code, result.stdout) == (1, "out/sub/good.mp4\n")
    assert "lies outside of out" in result.stderr
    assert [canary.read_bytes() for canary in canaries] == [b"mine", b"mine"]
    if force:
        assert emote(*args, "--outputs-anywhere").exit_code == 0
        assert sum(canary.read_bytes() == b"mine" for canary in canaries) == 1


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


# -------------------------------------------------------------------------------------- what can be wrong


@pytest.fixture
def bad(here, rng, make_wav) -> Path:
    """A folder of things that are not what they seem."""
    (here / "text.png").write_text("not a picture")
    (here / "text.wav").write_text("not a sound")
    (here / "empty.wav").write_bytes(b"")
    (here / "sub").mkdir()
    from PIL import Image

    Image.fromarray(rng.integers(0, 255, (97, 89, 3), np.uint8)).save(here / "noise.png")
    make_wav(here / "short.wav", np.zeros(300))
    make_wav(here / "none.wav", np.zeros(0))
    return here


@pytest.mark.parametrize(
    ("changed", "message", "hint"),
    [
        ({"portrait": "missing.png"}, "image missing.png does not exist", "check the path"),
        ({"portrait": "text.png"}, "text.png is not an image", "JPEG"),
        ({"portrait": "sub"}, "is a folder", "name a file"),
        ({"portrait": "noise.png"}, "no face found in noise.png (89x97)", "from the front"),
        ({"audio": "missing.wav"}, "recording missing.wav does not exist", "check the path"),
        ({"audio": "text.wav"}, "text.wav is not readable", "ffmpeg"),
        ({"audio": "empty.wav"}, "empty.wav is empty", "again"),
        ({"audio": "none.wav"}, "none.wav", ""),
        ({"audio": "short.wav"}, "short.wav is shorter than one frame: 0.019 s at 25 fps", "longer"),
        ({"audio": "noise.png"}, "noise.png is not readable: it is no recording", "video or audio file"),
        ({"-o": "nowhere/x.mp4"}, "output folder nowhere does not exist", "make it"),
        ({"-o": "sub"}, "output sub is a folder", "name a file"),
        ({"-o": "x.avi"}, "cannot write x.avi: the name must end in .mp4", "-o video.mp4"),
        ({"--model": "minni"}, "model minni is unknown", "did you mean mini?"),
        ({"--device": "cuda"}, "no CUDA device", "--device cpu"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None,
)
def test_one_line_and_a_hint(fake, bad, portrait_path, tiny_speech, changed, message, hint):
    before = sorted(p.name for p in bad.iterdir())
    values = {"portrait": portrait_path, "audio": tiny_speech, "-o": "x.mp4", "--model": "tiny", **changed}
    options = [part for name, value in values.items() if name.startswith("-") for part in (name, value)]
    fails(emote("animate", values["portrait"], values["audio"], *options), message, hint)
    assert sorted(p.name for p in bad.iterdir()) == before


@pytest.mark.parametrize(
    "name",
    [
        *"- x.MP4. .mp4 frames. a.b. link.mp4 dead.mp4 deadfolder pipe.mp4".split(),
        "x" * 252 + ".mp4",
        "长" * 90,
    ],
)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_outputs_are_said_not_guessed(fake, here, portrait_path, tiny_speech, name, force):
    target = here.parent / "target.mp4"
    target.write_bytes(b"mine")
    (here / "link.mp4").symlink_to(target)
    (here / "dead.mp4").symlink_to(here / "nothing.mp4")
    (here / "deadfolder").symlink_to(here / "nofolder")
    os.mkfifo(here / "pipe.mp4")
    before = sorted(p.name for p in here.iterdir())
    result = emote("animate", portrait_path, tiny_speech, "--model", "tiny", "-o", name, *force)
    fails(result, "", "link" if "dead" in name or "link" in name else "-o")
    assert sorted(p.name for p in here.iterdir()) == before
    assert target.read_bytes() == b"mine"
    assert fake.calls == []


def test_long_names_are_no_trouble(fake, here, portrait_path, tiny_speech):
    name = "长" * 83 + ".mp4"
    result = emote("animate", portrait_path, tiny_speech, "--model", "tiny", "-o", name, "--keep-partial")
    assert result.exit_code == 0, result.output
    assert [p.name for p in here.iterdir()] == [name]


@pytest.mark.parametrize("charset", ["cp1252", "latin-1", "ascii", "utf-8"])
@pytest.mark.parametrize("name", ["人物.mp4", "b\udce9.mp4", "smile 🙂.mp4"])
def test_no_name_costs_finished_work(fake, here, portrait_path, tiny_speech, charset, name):
    arguments = ["animate", str(portrait_path), str(tiny_speech), "--model", "tiny", "-o", name]
    result = CliRunner(charset=charset).invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert (here / name).is_file()
    assert ".mp4" in result.stdout
    again = CliRunner(charset=charset).invoke(app, arguments)
    assert again.exit_code == 1
    assert "already exists" in again.stderr


def test_a_full_disk_is_named(fake, here, portrait_path, tiny_speech, monkeypatch):
    usage = types.SimpleNamespace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    result = emote("animate", portrait_path, tiny_speech, "--model", "tiny", "-o", here / "a.mp4")
    fails(result, f"no space left in {here}", "free some")


def test_what_another_run_made_meanwhile_is_not_overwritten(
    fake, here, portrait_path, tiny_speech, monkeypatch
):
    load = fake.load

    def slow(*args, **options):
        (here / "x.mp4").write_bytes(b"of another run")
        return load(*args, **options)

    monkeypatch.setattr(fake, "load", slow)
    args = ("animate", portrait_path, tiny_speech, "--model", "tiny", "-o", "x.mp4")
    fails(emote(*args), "x.mp4 already exists", "--force")
    assert (here / "x.mp4").read_bytes() == b"of another run"
    assert [p.name for p in here.iterdir()] == ["x.mp4"]


def test_an_input_is_never_overwritten(fake, here, portrait_path, tiny_speech):
    sound = here / "talk.mp4"
    tiny_speech.rename(sound)
    fails(
        emote("animate", portrait_path, sound, "-o", sound, "--force", "--model", "tiny"),
        "is also an input",
        "-o",
    )
    assert sound.stat().st_size > 0


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable(fake, here, portrait_path, tiny_speech):
    locked = here / "locked"
    locked.mkdir(mode=0o500)
    result = emote("animate", portrait_path, tiny_speech, "-o", locked / "x.mp4", "--model", "tiny")
    fails(result, "is not writable", "another")


@pytest.mark.parametrize(
    "option",
    "--fps 0,--fps fast,--size 33,--fps 1/0,--steps 0,--head-speed 3,--seed -1,--guidance -1,--size 16,"
    "--motion-region huge,--face 0,--face nose,--start x,--duration 1:2:3:4,--ray x,--device tpu,--dtype int8".split(
        ","
    ),
)
def test_senseless_options_are_wrong_usage(fake, here, portrait_path, tiny_speech, option):
    result = emote("animate", portrait_path, tiny_speech, *option.split())
    assert result.exit_code == 2, result.output
    assert list(here.iterdir()) == []
    assert fake.calls == []


def test_checks_come_before_the_network(here, portrait_path, tiny_speech):
    """In a real process: a wrong input is told without torch having been imported."""
    program = (
        "import sys\nfrom emote_cli.cli import app\n"
        f"args = ['animate', {str(portrait_path)!r}, {str(tiny_speech)!r}, '--size', '33', "
        "'--model', 'tiny']\n"
        "try: app(args)\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr
