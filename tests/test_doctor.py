"""`emote doctor`: what is whole is named, what is wrong is told with its remedy, and torch stays out of it."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emote_cli import __version__, machine
from emote_cli.cli import app
from emote_cli.files import sha256_of
from emote_cli.media.ffmpeg import ffmpeg_exe
from emote_cli.zoo.lock import Locked, write_lock

HEAVY = ("torch", "numpy", "diffusers", "transformers", "mediapipe", "librosa", "cv2")


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch) -> Path:
    """An empty hub cache, so that what this machine downloaded does not matter."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def doctor() -> tuple[int, dict[str, str], list[str]]:
    """Exit code, values by name, problem lines."""
    result = CliRunner().invoke(app, ["doctor"])
    rows = [line.partition(": ") for line in result.stdout.splitlines()]
    problems = [value for name, _, value in rows if name == "problem"]
    assert all("; remedy: " in problem for problem in problems)
    return result.exit_code, {name: value for name, _, value in rows if name != "problem"}, problems


def test_a_whole_machine():
    code, values, problems = doctor()
    assert code == 0, problems
    assert values["emote"].startswith(f"{__version__}, Python {sys.version.split()[0]}")
    assert f"torch {metadata.version('torch')}" in values["packages"]
    assert values["mini"].startswith("whole, ")
    assert ffmpeg_exe() in values["ffmpeg"]
    assert "hallo" in values["not downloaded"]
    assert {"memory", "disk here", "temporary files", "downloads", "CPU", "GPU"} <= set(values)


def test_it_is_quick_and_imports_nothing_heavy():
    program = (
        "import sys, json\nfrom emote_cli.cli import app\n"
        "try: app(['doctor'], prog_name='emote')\n"
        f"except SystemExit as e: print(json.dumps([e.code, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    after = os.times()
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []], done.stdout
    computed = after.children_user + after.children_system - before.children_user - before.children_system
    assert computed < 1.5, f"{computed:.2f} s"  # 0.4 s; other programs on a busy machine do not count


def test_no_ffmpeg_is_fatal(monkeypatch):
    monkeypatch.setattr(machine, "ffmpeg_exe", lambda: "/nowhere/ffmpeg")
    code, values, problems = doctor()
    assert (code, values["ffmpeg"]) == (1, "missing")
    assert ["ffmpeg does not run" in line and "imageio-ffmpeg" in line for line in problems] == [True]


def test_an_ffmpeg_without_vp9_is_told_and_not_fatal(monkeypatch):
    output = machine._output
    without = lambda *command: output(*command).replace("libvpx-vp9", "nothing")  # noqa: E731
    monkeypatch.setattr(machine, "_output", without)
    code, _, problems = doctor()
    assert code == 0
    assert ["libvpx-vp9: it writes no .webm" in line for line in problems] == [True]


def test_damaged_weights_are_fatal(tmp_path, monkeypatch):
    folder = tmp_path / "mini"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  model.safetensors\n")
    monkeypatch.setattr("emote_cli.zoo.locate.locate_bundled", lambda name: tmp_path / name)
    code, values, problems = doctor()
    assert (code, values["mini"]) == (1, "damaged")
    assert ["is damaged: its sha256 is" in line and "reinstall" in line for line in problems] == [True]


def test_a_download_that_stopped_halfway_is_named(hub):
    file = machine.home("echomimic") / "denoising_unet.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    row = Locked("r", "p", "0" * 40, "", sha256_of(file), 7, file.stat().st_mtime_ns)
    write_lock(file.parent, "echomimic", {file.name: row})
    code, values, problems = doctor()
    assert code == 0
    assert values["echomimic"].startswith("in part")
    assert [
        "echomimic is not whole: " in line and "emote download echomimic" in line for line in problems
    ] == [True]


@pytest.mark.parametrize(("limit_mb", "fatal"), [(600, True), (2000, False)])
def test_too_little_memory_is_fatal_also_in_a_container(tmp_path, monkeypatch, limit_mb, fatal):
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n")
    (tmp_path / "memory.max").write_text(f"{limit_mb * 10**6}\n")
    (tmp_path / "memory.current").write_text(f"{10**8}\n")
    free = machine.free_memory_bytes(tmp_path / "meminfo", tmp_path)
    assert free == (limit_mb - 100) * 1e6
    monkeypatch.setattr(machine, "free_memory_bytes", lambda: free)
    code, _, problems = doctor()
    assert (code == 1) is fatal
    assert len(problems) == fatal


def test_without_a_limit_all_of_the_machines_memory_counts(tmp_path):
    (tmp_path / "meminfo").write_text("MemAvailable: 1000 kB\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    assert machine.free_memory_bytes(tmp_path / "meminfo", tmp_path) == 1000 * 1024
    assert machine.free_memory_bytes(tmp_path / "none", tmp_path) is None


def test_a_gpu_that_torch_cannot_use_is_told(tmp_path, monkeypatch):
    table = tmp_path / "gpus" / "0000:01:00.0" / "information"
    table.parent.mkdir(parents=True)
    table.write_text("Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   16\n")
    assert machine.nvidia_gpus(tmp_path / "gpus") == ["NVIDIA A100-SXM4-80GB"]
    monkeypatch.setattr(machine, "nvidia_gpus", lambda: ["NVIDIA A100-SXM4-80GB"])
    monkeypatch.setattr(machine, "torch_build", lambda: "the CPU")
    code, _, problems = doctor()
    assert code == 0
    assert ["the GPU stays idle" in line for line in problems] == [True]


def test_packages_of_a_wrong_version_are_told(monkeypatch):
    monkeypatch.setattr(
        metadata,
        "requires",
        lambda name: ["numpy<1", "no-such-package>=2", 'ray>=99; extra == "ray"', "pyyaml"],
    )
    code, _, problems = doctor()
    assert code == 1
    installed = metadata.version("numpy")
    assert f'numpy is {installed}, and emote asks for numpy<1; remedy: pip install "numpy<1"' in problems
    assert any(line.startswith("no-such-package is missing") for line in problems)
    assert len(problems) == 2  # ray is optional, and not here or new enough


def test_two_opencvs_are_told(monkeypatch):
    version = machine._version
    monkeypatch.setattr(machine, "_version", lambda name: "4.9" if name == "opencv-python" else version(name))
    _, _, problems = doctor()
    assert any("2 packages bring OpenCV" in line for line in problems)


def test_a_full_disk_is_fatal(monkeypatch):
    usage = type("Usage", (), {"free": 3e6})
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage)
    code, _, problems = doctor()
    assert code == 1
    assert any(line.startswith("only 3 MB are free in ") for line in problems)
