"""What the sections of measure.py run on, and the made-up models and videos that they run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))


@dataclass(frozen=True)
class Machine:
    """What the sections run on, and how much they do.

    Attributes:
        device: cuda; or cpu, where functions of the GPU are faked and everything is small.
        models: presets, made up with random weights.
        repeat: videos for each figure.
    """

    device: str
    models: tuple[str, ...]
    repeat: int

    @property
    def is_tiny(self) -> bool:
        """Whether the script only tries itself."""
        return self.device == "cpu"


GPU = Machine("cuda", ("hallo", "sd15", "echomimic"), 2)
TINY = Machine("cpu", ("tiny",), 1)


def prepare(machine: Machine) -> None:
    """Put fakes where there is no GPU."""
    if machine.is_tiny:
        from fake_cuda import pretend

        pretend()


def made_up(machine: Machine, model: str) -> Any:
    """An animator with random weights."""
    import torch

    from emote_cli.animation.bench import random_animator
    from emote_cli.settings import load_preset

    animator = random_animator(load_preset(model), torch.device(machine.device))
    animator.runtime.guard.lower = animator.runtime._lower  # on a CPU, too
    return animator


def video(animator: Any, chunks: int, steps: int) -> Any:
    """Frames of some chunks, with guidance."""
    import numpy as np

    from emote_cli.animation.bench import invent_scene
    from emote_cli.animation.finishing import show_frames
    from emote_cli.animation.options import AnimateOptions

    scene = invent_scene(animator.model.settings, chunks)
    return np.stack(list(show_frames(animator, scene, AnimateOptions(steps=steps, guidance=2.5))))


def wait(machine: Machine) -> None:
    """Until the GPU has done all that it was told."""
    import torch

    if machine.device == "cuda":
        torch.cuda.synchronize()


def milliseconds(machine: Machine, work: Callable[[], object]) -> float:
    """Of one of many repetitions."""
    times = 2 if machine.is_tiny else 50
    for _ in range(3):
        work()
    wait(machine)
    begin = time.perf_counter()
    for _ in range(times):
        work()
    wait(machine)
    return (time.perf_counter() - begin) / times * 1e3
