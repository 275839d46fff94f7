"""What can be wrong, told in one line and a hint before anything heavy is loaded."""

import os
import subprocess
import sys
import types

import pytest
from command_line import emote, fails
from typer.testing import CliRunner

from emote_cli.cli import app


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
