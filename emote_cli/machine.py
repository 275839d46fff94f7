"""What `emote doctor` looks at: versions, ffmpeg, devices, models, memory and disk of this machine.

Nothing heavy is imported: versions come from the packages' metadata, and what torch was built for from its version
file. A GPU is therefore named, not tried; `emote animate --dry-run` tries it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from emote_cli.errors import EmoteError
from emote_cli.media.ffmpeg import ffmpeg_exe
from emote_cli.zoo.catalog import human_size, registry
from emote_cli.zoo.locate import check_folder, home, locate, locate_bundled
from emote_cli.zoo.lock import fault, read_lock

DISTRIBUTION = "emote-cli"
NEEDED = ("torch", "numpy", "diffusers", "transformers", "mediapipe", "opencv-python-headless", "onnxruntime")
"""Packages that are named even if all is well."""

RENDER_BYTES = 0.6e9
"""Peak memory of a render with `mini`: 0.48 GB measured at 512x512."""

DISK_BYTES = 50e6
"""Less free space than this is too little even for a short video."""

ENCODERS = {"libx264": ".mp4 and .mov", "aac": ".mp4 and .mov", "libvpx-vp9": ".webm", "libopus": ".webm"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: of the thing.
        value: what was found.
        problem: what is wrong with it, in one line; empty if nothing is.
        remedy: what to do about it, in one line.
        fatal: whether the problem keeps `emote animate` with the bundled model from working.
    """

    name: str
    value: str
    problem: str = ""
    remedy: str = ""
    fatal: bool = False


def examine(version: str) -> Iterator[Finding]:
    """Look at everything that emote needs, one finding after the other; within about a second.

    Args:
        version: of emote.
    """
    system = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("emote", f"{version}, {system}")
    yield from _packages()
    yield _ffmpeg()
    yield from _devices()
    yield from _check_bundled()
    yield from _check_downloaded()
    yield _memory()
    yield from _disk()


# ------------------------------------------------------------------------------------------------ packages


def _packages() -> Iterator[Finding]:
    """Versions, and every package that is missing or has another version than emote asks for."""
    versions = {name: _version(name) for name in NEEDED}
    yield Finding(
        "packages", ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    )
    for wanted, version, fatal in _wrong_packages():
        name = re.split(r"[^\w.-]", wanted)[0]
        yield Finding(
            name,
            version or "missing",
            f"{name} is {version or 'missing'}, and emote asks for {wanted}",
            f'pip install "{wanted}"',
            fatal,
        )
    copies = [name for name in _OPENCV if _version(name)]
    if len(copies) > 1:
        yield Finding(
            "OpenCV",
            ", ".join(copies),
            f"{len(copies)} packages bring OpenCV, and they overwrite each other's files",
            f"pip uninstall {' '.join(copies)}, then pip install --force-reinstall opencv-python-headless",
        )


_OPENCV = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def _wrong_packages() -> Iterator[tuple[str, str, bool]]:
    """Requirement, installed version (empty: none), and whether emote cannot do without it."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        lines = list(NEEDED)
    for line in lines:
        wanted = Requirement(line)
        optional = wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})
        version = _version(wanted.name)
        if version and not wanted.specifier.contains(version, prereleases=True):
            yield f"{wanted.name}{wanted.specifier}", version, not optional
        elif not version and not optional:
            yield f"{wanted.name}{wanted.specifier}", "", True


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


# ------------------------------------------------------------------------------------------------ programs, devices


def _ffmpeg() -> Finding:
    try:
        program = ffmpeg_exe()
        version = _output(program, "-version").split("Copyright")[0].removeprefix("ffmpeg version ").strip()
        encoders = _output(program, "-hide_banner", "-encoders")
    except (EmoteError, OSError, subprocess.SubprocessError) as error:
        remedy = "pip install --force-reinstall imageio-ffmpeg, or point IMAGEIO_FFMPEG_EXE at an ffmpeg"
        return Finding("ffmpeg", "missing", f"ffmpeg does not run: {error}", remedy, fatal=True)
    lacking = [name for name in ENCODERS if not re.search(rf"^ [A-Z.]{{6}} {name}\b", encoders, re.MULTILINE)]
    value = f"{version} ({program})"
    if not lacking:
        return Finding("ffmpeg", value)
    endings = " and ".join(dict.fromkeys(ENCODERS[name] for name in lacking))
    problem = f"this ffmpeg has no {', '.join(lacking)}: it writes no {endings}"
    fatal = any(".mp4" in ENCODERS[name] for name in lacking)
    return Finding("ffmpeg", value, problem, "unset IMAGEIO_FFMPEG_EXE, or name another ffmpeg", fatal)


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=10, check=True)
    return done.stdout.decode("utf-8", errors="replace")


def _devices() -> Iterator[Finding]:
    yield Finding("CPU", f"{_cores()} cores")
    built_for, gpus = torch_build(), nvidia_gpus()
    if gpus and built_for == "the CPU":
        problem = "torch is built for the CPU only, so the GPU stays idle"
        remedy = "install a CUDA build of the same version: https://pytorch.org/get-started"
        yield Finding("GPU", ", ".join(gpus), problem, remedy)
    elif gpus:
        yield Finding("GPU", f"{', '.join(gpus)}; torch is built for {built_for}")
    elif sys.platform == "darwin" and platform.machine() == "arm64":
        yield Finding("GPU", "Apple (--device mps)")
    else:
        yield Finding("GPU", f"none found; torch is built for {built_for}")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def torch_build() -> str:
    """What torch is built for, as its version file says it: `CUDA 12.8`, `ROCm 6.2`, or `the CPU`."""
    spec = find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    text = file.read_text(encoding="utf-8") if file and file.is_file() else ""
    for name, label in (("cuda", "CUDA"), ("hip", "ROCm")):
        if found := re.search(rf"^{name}\b[^=]*= *'([^']+)'", text, re.MULTILINE):
            return f"{label} {found[1]}"
    return "the CPU"


def nvidia_gpus(table: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """Names of the NVIDIA GPUs that the driver knows (on Linux)."""
    texts = [file.read_text(errors="replace") for file in sorted(table.glob("*/information"))]
    return [found[1] for text in texts if (found := re.search(r"^Model:\s*(.+?)\s*$", text, re.MULTILINE))]


# ------------------------------------------------------------------------------------------------ models


def _check_bundled() -> Iterator[Finding]:
    try:
        folder = locate("mini")
        assert folder is not None
        size = human_size(sum(file.stat().st_size for file in folder.iterdir()))
        yield Finding("mini", f"whole, {size} ({folder})")
    except EmoteError as error:
        yield Finding("mini", "damaged", error.message, "reinstall emote-cli", fatal=True)
    for what, name in (("ears", "whisper"), ("EchoMimic's face detector", "mtcnn")):
        try:
            folder = locate_bundled(name)
            check_folder(folder)
            yield Finding(what, f"whole ({folder})")
        except EmoteError as error:
            yield Finding(what, "damaged", error.message, "reinstall emote-cli", fatal=True)
    try:
        path = locate_bundled("face_landmarker.task")
        yield Finding("face detector", f"{human_size(path.stat().st_size)} ({path})")
    except EmoteError as error:
        yield Finding("face detector", "missing", error.message, "reinstall emote-cli", fatal=True)


def _check_downloaded() -> Iterator[Finding]:
    """Every downloaded model with its check (size and time of each file against its lock)."""
    absent = []
    for model in registry().values():
        folder = home(model.name)
        try:
            lock = read_lock(folder)
        except EmoteError as error:
            yield Finding(model.name, "damaged", error.message, error.hint)
            continue
        faults = {file.to: fault(folder / file.to, lock.get(file.to)) for file in model.free_files}
        wrong = {to: what for to, what in faults.items() if what}
        if not wrong:
            yield Finding(model.name, f"whole ({folder})")
        elif set(faults.values()) == {"missing"}:
            absent.append(model.name)
        else:
            to, what = next(iter(wrong.items()))
            problem = f"{model.name} is not whole: {to} is {what}"
            yield Finding(model.name, f"in part ({folder})", problem, f"emote download {model.name}")
    if absent:
        yield Finding("not downloaded", ", ".join(absent))


# ------------------------------------------------------------------------------------------------ memory, disk


def free_memory_bytes(
    meminfo: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")
) -> float | None:
    """Memory that a new program can have here, a container's limit respected; None where nobody says.

    Args:
        meminfo: Linux's table of the machine's memory.
        group: folder with the limit of this process's control group (version 2).
    """
    text = meminfo.read_text() if meminfo.is_file() else ""
    found = re.search(r"^MemAvailable: *(\d+) kB", text, re.MULTILINE)
    if found is None:
        return None
    free = float(found[1]) * 1024
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and (allowed := limit.read_text().strip()).isdigit():
        free = min(free, max(float(allowed) - float(used.read_text()), 0.0))
    return free


def _memory() -> Finding:
    free = free_memory_bytes()
    if free is None:
        return Finding("memory", "unknown")
    value = f"{human_size(free)} free"
    if free >= RENDER_BYTES:
        return Finding("memory", value)
    problem = f"only {human_size(free)} of memory are free, and mini needs {human_size(RENDER_BYTES)}"
    return Finding(
        "memory", value, problem, "close other programs, or raise the container's limit", fatal=True
    )


def _disk() -> Iterator[Finding]:
    """This folder, the folder for temporary files, and the one that downloads go to."""
    here = Path.cwd()
    if os.access(here, os.W_OK):
        yield _space("disk here", here, "free some space, or write elsewhere with -o")
    else:
        yield Finding("disk here", str(here), f"{here} is not writable", "write elsewhere with -o")
    try:
        yield _space(
            "temporary files", Path(tempfile.gettempdir()), "free some space, or point TMPDIR elsewhere"
        )
    except OSError as error:
        problem = f"there is no folder for temporary files: {error.strerror}"
        yield Finding(
            "temporary files", "none", problem, "point TMPDIR at a folder that you may write to", True
        )
    downloads = next(path for path in (home("sd15"), *home("sd15").parents) if path.exists())
    yield Finding("downloads", f"{human_size(shutil.disk_usage(downloads).free)} free ({downloads})")


def _space(name: str, folder: Path, remedy: str) -> Finding:
    free = shutil.disk_usage(folder).free
    value = f"{human_size(free)} free ({folder})"
    if free >= DISK_BYTES:
        return Finding(name, value)
    return Finding(name, value, f"only {human_size(free)} are free in {folder}", remedy, fatal=True)
