"""What a job would do, how long it would take and what it needs, from its first chunks."""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from emote_cli import __version__
from emote_cli.animation.choice import format_box
from emote_cli.animation.cpu import cache_folder, processor, read_note, write_note
from emote_cli.animation.finishing import show_chunks
from emote_cli.animation.render import Plan, load_animator
from emote_cli.zoo.locate import WEIGHTS_NAME

if TYPE_CHECKING:  # torch is imported only where something is measured
    from emote_cli.animation.animator import Animator
else:
    Animator = Any

MEASURED = 3
"""Chunks that are made; the first takes longer, since the start is in it."""


class Pace(NamedTuple):
    """How fast a kind of job is on this machine.

    Attributes:
        first_s: seconds until the first chunk is finished, the start included.
        chunk_s: seconds of each later one.
        gigabytes: peak memory of the process.
    """

    first_s: float
    chunk_s: float
    gigabytes: float


def describe(plan: Plan, animator: Animator | None = None) -> dict[str, str]:
    """Tell a plan in words, and the time and memory that its first chunks took on this machine.

    Args:
        plan: of the job.
        animator: the plan's model where it is loaded already.

    Raises:
        EmoteError: the device is not there, or the weights do not fit.
    """
    job, scene, settings = plan.job, plan.scene, plan.scene.settings
    side = settings.image_size
    chunk = settings.temporal.chunk_frames
    n_made = round(scene.speech.duration_s * settings.fps)
    n_chunks = -(-n_made // chunk)
    pace, is_old = pace_of(plan, n_chunks, animator)
    seconds = pace.first_s + pace.chunk_s * (n_chunks - 1)
    return {
        "portrait": f"{job.portrait}, square {format_box(scene.portrait.crop_px)}",
        "face": f"{format_box(scene.portrait.face.box_px)} of the {side} x {side} square",
        "sound": f"{job.audio}, {scene.speech.duration_s:.2f} s from {job.options.start:g} s on",
        "model": f"{job.model}, {settings.fps} fps, {n_chunks} chunks of {chunk} frames",
        "output": f"{job.output}, {scene.size[0]} x {scene.size[1]}, {scene.n_frames} frames at {scene.fps} fps",
        "time": f"about {seconds:.0f} s" + (", as measured here before" if is_old else ""),
        "memory": f"about {pace.gigabytes:.1f} GB",
    }


def pace_of(
    plan: Plan, n_chunks: int, animator: Animator | None = None, folder: Path | None = None
) -> tuple[Pace, bool]:
    """Find how fast such a job is here, and whether that was known: the second forecast needs no network.

    Args:
        plan: of the job.
        n_chunks: of its video.
        animator: the plan's model where it is loaded already: such jobs have a start of their own.
        folder: of the file that remembers; None: the user's cache.
    """
    file, key = (folder or cache_folder()) / "pace.json", kind_of(plan) + (", loaded" if animator else "")
    known = read_note(file, key)
    if known is not None and len(known) == len(Pace._fields):
        return Pace(*known), True
    pace = measure(plan, animator)
    if n_chunks > 1:
        write_note(file, key, list(pace))
    return pace, False


def kind_of(plan: Plan) -> str:
    """Tell in a line what the pace depends on."""
    job, options, scene = plan.job, plan.job.options, plan.scene
    path = Path(plan.model) / WEIGHTS_NAME
    weights = path.stat().st_mtime_ns if path.is_file() else 0
    tuning = (plan.variant, job.device, job.dtype, job.tuning.compile, job.tuning.low_memory)
    sampling = (options.quality, options.steps, options.guidance, options.frame, scene.size, scene.fps)
    parts = (__version__, processor(), plan.model, weights, *tuning, *sampling)
    return ", ".join(str(part) for part in parts)


def measure(plan: Plan, animator: Animator | None = None) -> Pace:
    """Measure this machine's pace on the first chunks of a video; the encoder is left out."""
    begin = time.monotonic()
    animator, ends = animator or load_animator(plan), []
    for chunk in islice(show_chunks(animator, plan.scene, plan.job.options), MEASURED):
        for _ in chunk.frames:
            pass
        ends.append(time.monotonic())
    each = (ends[-1] - ends[0]) / max(len(ends) - 1, 1)
    return Pace(ends[0] - begin, each, _peak_bytes() / 1e9)


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
