"""How to compute on this CPU: how many threads, how they wait, and whether bf16 is worth it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORTH = 1.15
"""bf16 must be this much faster than fp32: it rounds, and normalizations are converted back and forth."""

_TOPOLOGY = Path("/sys/devices/system/cpu")
_REPEATS = 5


def physical_cores() -> int:
    """Count the cores that this process may run on; two hardware threads of one core count once."""
    try:
        allowed = sorted(os.sched_getaffinity(0))
        siblings = {(_TOPOLOGY / f"cpu{n}/topology/thread_siblings_list").read_text() for n in allowed}
    except (AttributeError, OSError):  # no Linux, or a container without /sys
        return max(os.cpu_count() or 1, 1)
    return len(siblings)


def set_threads(workers: int = 1) -> None:
    """Let torch use at most one thread per physical core; a smaller number that is set already stays.

    Args:
        workers: Python's threads that compute at the same time, and share the cores.
    """
    import torch

    if torch.get_num_threads() > (most := max(physical_cores() // workers, 1)):
        torch.set_num_threads(most)


def sleep_when_idle() -> None:
    """Let waiting threads sleep soon and leave time to other programs; call it before torch is imported.

    OpenMP's threads else spin for milliseconds after each layer.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def bf16_is_faster(folder: Path | None = None) -> bool:
    """Tell whether layers of this project's sizes are faster in bf16; measured once, then read from a file.

    Args:
        folder: of the file; None: the user's cache.
    """
    import torch

    if not torch.cpu._is_avx512_bf16_supported():
        return False
    file = (folder or cache_folder()) / "cpu.json"
    machine = f"{processor()}, torch {torch.__version__}"
    known = read_note(file, machine)
    if known is None:
        known = [measure_bf16()]
        write_note(file, machine, known)
    return known[0] >= WORTH


def measure_bf16() -> float:
    """Measure how many times as fast bf16 is, by processor time of one thread (others may be at work here)."""
    import torch
    from torch import nn

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            conv, maps = nn.Conv2d(96, 96, 3, padding=1), torch.randn(4, 96, 16, 16)
            linear, tokens = nn.Linear(160, 640), torch.randn(1024, 160)

            def work() -> None:
                conv(maps)
                linear(tokens)

            plain = _best(work)
            with torch.autocast("cpu", torch.bfloat16):
                return plain / _best(work)
    finally:
        torch.set_num_threads(threads)


def _best(work: Callable[[], None]) -> float:
    """Shortest processor time of some runs."""
    work()
    times = []
    for _ in range(_REPEATS):
        begin = time.thread_time()
        for _ in range(3):
            work()
        times.append(time.thread_time() - begin)
    return min(times)


def cache_folder() -> Path:
    """Where a user's programs keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emote"


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def read_note(file: Path, key: str) -> list[float] | None:
    """Read numbers that were measured before; None: there are none."""
    numbers = _notes(file).get(key)
    is_good = isinstance(numbers, list) and numbers and all(isinstance(each, float) for each in numbers)
    return numbers if is_good else None


def write_note(file: Path, key: str, numbers: list[float]) -> None:
    """Keep numbers for the next time. Where they cannot be written, they are measured again.

    Args:
        file: JSON; made, with its folders, where it is missing.
        key: of the note.
        numbers: what was measured.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{os.getpid()}-{file.name}")
        part.write_text(json.dumps({**_notes(file), key: numbers}))
        part.replace(file)
    except OSError:
        return


def _notes(file: Path) -> dict[str, Any]:
    try:
        notes = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}
