"""What all commands share: help, version, errors, Ctrl-C, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from command_line import emote, fails

from emote_cli import __version__
from emote_cli.cli import COMMANDS

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
