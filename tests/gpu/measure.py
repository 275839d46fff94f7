# ruff: noqa: T201
"""Everything that only a GPU can show, in one run: `PYTHONPATH=. python tests/gpu/measure.py [FOLDER] [SECTION ...]`.

Needs no downloaded weights: models are made up at full size. Each section (sections.py) is a process of its own with a
time limit, so that one that fails or hangs costs no other; what it found lies in FOLDER (default gpu-results) as
NAME.json or NAME.txt as soon as it is known. What matters most comes first. `--minutes 9` begins nothing after that
time, stops what runs over it, and ends with the command that does the rest. At the end come a table of all figures,
also as summary.txt, and the goals.

With `--tiny` the script tries itself on a CPU: a small model, and fakes for the functions of a GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sections
from machine import GPU, TINY, Machine, prepare

LIMIT_S = 570
"""For one section."""
GOALS = {"paper": 0.25, "balanced": 0.10, "fast": 0.045}
"""Seconds per frame."""
PEAK_GB, LOW_PEAK_GB = 7.0, 5.0

Attempt = Callable[[str, Path, float], str]
"""Section, folder and seconds -> how it ended: `done`, or what went wrong."""


def write_section(machine: Machine, name: str, folder: Path) -> None:
    """Run one section in this process, and write what it found."""
    found = sections.plan(machine)[name]()
    if isinstance(found, str):
        (folder / f"{name}.txt").write_text(found)
    else:
        (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def attempt_here(machine: Machine) -> Attempt:
    """Run sections in this process; nothing stops them."""

    def attempt(name: str, folder: Path, seconds: float) -> str:
        try:
            write_section(machine, name, folder)
        except Exception as error:
            traceback.print_exc()
            return f"failed ({type(error).__name__}: {error})"
        return "done"

    return attempt


def attempt_apart(machine: Machine) -> Attempt:
    """Run each section in a process of its own, and stop it when its time is over."""

    def attempt(name: str, folder: Path, seconds: float) -> str:
        line = [sys.executable, __file__, str(folder), name, "--here", *["--tiny"] * machine.is_tiny]
        try:
            code = subprocess.run(line, timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            return f"not through after {seconds:.0f} s"
        return "done" if code == 0 else f"failed ({code})"

    return attempt


def run(names: list[str], folder: Path, attempt: Attempt, minutes: float) -> list[str]:
    """Run sections as long as there is time: the names of those that were not begun."""
    begin = time.monotonic()
    for number, name in enumerate(names):
        left = minutes * 60 - (time.monotonic() - begin)
        if left <= 0:
            return names[number:]
        since = time.monotonic()
        ended = attempt(name, folder, min(left, LIMIT_S))
        print(f"{name}: {ended}, {time.monotonic() - since:.0f} s", flush=True)
        (folder / "summary.txt").write_text("\n".join(summarize(folder)) + "\n")
    return []


def summarize(folder: Path) -> Iterator[str]:
    """The figures of all sections that are there, a line each."""
    for file in sorted(folder.glob("*.json")):
        found, kind = json.loads(file.read_text()), file.stem.split("-")[0]
        tell = {"bench": tell_bench, "guidance": tell_guidance, "memory": tell_memory}.get(kind, tell_plainly)
        if "runs-out" in file.stem:
            tell = tell_plainly
        for line in tell(found):
            yield f"{file.stem:<24} {line}"


def tell_bench(report: dict[str, Any]) -> Iterator[str]:
    """A line per quality, with the goals."""
    most = LOW_PEAK_GB if report["low_memory"] else PEAK_GB
    for row in report["rows"]:
        yield (
            f"{row['quality']:<9} {row['seconds_per_frame']:.4f} s per frame (goal {GOALS[row['quality']]}), "
            f"{row['tflop_per_frame']:.3g} TFLOP per frame, {row['tflops']:.0f} TFLOP/s, {row['share']:.0%} of "
            f"the device's, peak {row['peak_gb']:.2f} GB (goal {most})"
        )


def tell_guidance(found: dict[str, Any]) -> Iterator[str]:
    """A line per model and way."""
    for model, ways in found.items():
        for way, figures in ways.items():
            yield f"{model:<9} {way:<19} {figures['ms']:.1f} ms a step, peak {figures['peak_gb']:.2f} GB"


def tell_memory(found: dict[str, Any]) -> Iterator[str]:
    """Peaks, and what was said before."""
    parts = ", ".join(f"{name} {peak:.2f}" for name, peak in found["eager"]["parts_peak_gb"].items())
    yield f"GB in use at the peak of each part: {parts}"
    for way in ("eager", "recorded"):
        yield f"{way}: peak {found[way]['after']['peak_reserved_gb']:.2f} GB, pools {found[way]['pools_gb']}"
    said = ", ".join(f"{name} {value:.1f}" for name, value in found["said_gb"].items())
    yield f"said before: {said} GB; recordings took {found['recordings_took_gb']:.2f} GB"


def tell_plainly(found: dict[str, Any]) -> Iterator[str]:
    """As it is."""
    for name, value in found.items():
        yield f"{name}: {json.dumps(value)}"


def main() -> None:
    """Run the sections that are asked for, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("gpu-results"))
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    parser.add_argument("--tiny", action="store_true", help="try the script on a CPU")
    parser.add_argument("--minutes", type=float, default=60.0, help="begin nothing after them")
    parser.add_argument("--here", action="store_true", help="run sections in this process")
    parser.add_argument("--list", action="store_true", help="print the names of all sections")
    told = parser.parse_args()
    machine = TINY if told.tiny else GPU
    known = list(sections.plan(machine))
    if told.list:
        print(*known, sep="\n")
        return
    unknown = [name for name in told.sections if name not in known]
    if unknown:
        sys.exit(f"unknown section {unknown[0]}; --list prints all")
    import torch

    if not (told.tiny or torch.cuda.is_available()):
        sys.exit("no GPU is at hand: this script measures one")
    told.folder.mkdir(parents=True, exist_ok=True)
    if told.here:
        prepare(machine)
        for name in told.sections:
            write_section(machine, name, told.folder)
        return
    left = run(told.sections or known, told.folder, attempt_apart(machine), told.minutes)
    print(*summarize(told.folder), sep="\n")
    if left:
        print(f"not begun; goes on with: python tests/gpu/measure.py {told.folder} {' '.join(left)}")


if __name__ == "__main__":
    main()
