"""What a job would do, how long it would take and what it needs, from its first chunks."""

from __future__ import annotations

import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

from emote_cli.animation.choice import corners
from emote_cli.animation.finishing import show_chunks
from emote_cli.animation.render import Plan, load_animator

if TYPE_CHECKING:  # torch is imported late
    from emote_cli.animation.animate import Animator
else:
    Animator = Any

MEASURED = 3
"""Chunks that are made; the first takes longer, since the start is in it."""


def describe(plan: Plan, animator: Animator | None = None) -> dict[str, str]:
    """The plan in words, and the time and memory that its first chunks took on this machine.

    Args:
        plan: from `check`.
        animator: the plan's model where it is loaded already; else loading it is part of the time.

    Raises:
        EmoteError: the device is not there, or the weights do not fit.
    """
    job, scene, settings = plan.job, plan.scene, plan.scene.settings
    side = settings.image_size
    chunk = settings.temporal.chunk_frames
    n_made = round(scene.speech.duration_s * settings.fps)
    n_chunks = -(-n_made // chunk)
    seconds, gigabytes = measure(plan, n_chunks, animator)
    return {
        "portrait": f"{job.portrait}, square {corners(scene.portrait.crop_px)}",
        "face": f"{corners(scene.portrait.face.box_px)} of the {side} x {side} square",
        "sound": f"{job.audio}, {scene.speech.duration_s:.2f} s from {job.options.start:g} s on",
        "model": f"{job.model}, {settings.fps} fps, {n_chunks} chunks of {chunk} frames",
        "output": f"{job.output}, {scene.size[0]} x {scene.size[1]}, {scene.n_frames} frames at {scene.fps} fps",
        "time": f"about {seconds:.0f} s",
        "memory": f"about {gigabytes:.1f} GB",
    }


def measure(plan: Plan, n_chunks: int, animator: Animator | None = None) -> tuple[float, float]:
    """Expected seconds of the whole job but for the encoder, and peak gigabytes of this process so far."""
    begin = time.monotonic()
    animator, ends = animator or load_animator(plan), []
    for chunk in islice(show_chunks(animator, plan.scene, plan.job.options), MEASURED):
        for _ in chunk.frames:
            pass
        ends.append(time.monotonic())
    each = (ends[-1] - ends[0]) / max(len(ends) - 1, 1)
    return (ends[0] - begin) + each * (n_chunks - 1), _peak_bytes() / 1e9


def _peak_bytes() -> int:
    torch = sys.modules["torch"] if "torch" in sys.modules else None
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
