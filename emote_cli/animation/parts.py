"""One long video in parts: the sound is cut in the middle of pauses, and each part is made as a video of its own.

Chunks of a video follow on each other, so one video cannot be spread over machines. Parts can: each starts from the
portrait, where nobody speaks. What it costs: the head may jump at a cut.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from emote_cli import stopping
from emote_cli.animation.batch import load_once
from emote_cli.animation.job import Job
from emote_cli.animation.provenance import to_tags
from emote_cli.animation.render import Plan, check, describe_result, render, tuning_of
from emote_cli.errors import EmoteError, SettingsError
from emote_cli.files import working_name
from emote_cli.jobs.ray import map_jobs_ray
from emote_cli.media.image import read_image
from emote_cli.media.segments import SegmentedWriter
from emote_cli.media.video import Soundtrack
from emote_cli.perception.features import QUIETEST_RMS, SPEECH_RMS, speech_gain
from emote_cli.types import Sound

PAUSE_S = 0.4
"""Shortest silence that is a pause."""
PART_S = 10.0
"""Shortest part."""
QUIET = 0.05
"""Level, over that of the louder half of the recording, below which it is silent."""
_HOP_S = 0.02


def find_pauses(sound: Sound) -> Iterator[tuple[float, float]]:
    """Find the beginning and the end of every pause of the speech, in seconds."""
    hop = round(_HOP_S * sound.sample_rate_hz)
    limit, begin, place = max(QUIET * SPEECH_RMS / speech_gain(sound), QUIETEST_RMS), None, 0
    for place in range(0, sound.n_samples, hop):
        piece = sound.read(place, place + hop)
        if float(np.sqrt((piece.astype(np.float64) ** 2).mean())) < limit:
            begin = place if begin is None else begin
            continue
        if begin is not None and place - begin >= PAUSE_S * sound.sample_rate_hz:
            yield begin / sound.sample_rate_hz, place / sound.sample_rate_hz
        begin = None


def plan_parts(sound: Sound, fps: Fraction, n_frames: int) -> list[range]:
    """The frames of each part: cuts in the middle of pauses, no part shorter than `PART_S`.

    Args:
        sound: of the whole video.
        fps: of the output.
        n_frames: of the output.
    """
    cuts = [0]
    least = PART_S * fps
    for begin, end in find_pauses(sound):
        frame = round((begin + end) / 2 * fps)
        if frame - cuts[-1] >= least and n_frames - frame >= least:
            cuts.append(frame)
    return [range(start, stop) for start, stop in zip(cuts, [*cuts[1:], n_frames], strict=True)]


def render_parts(
    plan: Plan, ray: str | None = None, on_frame: Callable[[int], object] = lambda count: None
) -> Path:
    """Make a video part by part, here or on a Ray cluster, and join the parts.

    Args:
        plan: from `check`.
        ray: address of a cluster, or `local`; None: one part after the other here.
        on_frame: called with the number of frames of a part that is made.

    Returns:
        The path of the video.

    Raises:
        EmoteError: a part could not be made; the first one that was not.
        SettingsError: the job asks for what parts cannot do.
    """
    job, scene = plan.job, plan.scene
    if job.resume or job.keep_partial:
        raise SettingsError(
            "a render with --split cannot be continued", hint="leave out --resume and --keep-partial"
        )
    parts = plan_parts(scene.speech, scene.fps, scene.n_frames)
    folder = working_name(job.output, ".parts").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    stopping.mark_unfinished(folder)
    try:
        jobs = [_part_job(plan, part, folder / f"part-{number:04d}") for number, part in enumerate(parts)]
        for one in _make(jobs, ray, gpu=job.device != "cpu"):
            on_frame(len(parts[jobs.index(one)]))
        _join(plan, [one.output for one in jobs])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        stopping.mark_finished(folder)
    return job.output


def _part_job(plan: Plan, frames: range, output: Path) -> Job:
    """A part as a job: a folder of pictures without loss. Each has another seed, so that heads do not move alike."""
    job, fps = plan.job, plan.scene.fps
    start, duration = job.options.start + float(frames.start / fps), float(len(frames) / fps)
    options = replace(
        job.options, start=start, duration=duration, fps=fps, seed=job.options.seed + int(output.name[-4:])
    )
    return replace(
        job,
        portrait=job.portrait.absolute(),
        audio=job.audio.absolute(),
        output=output,
        force=True,
        options=options,
    )


def _make(jobs: Iterable[Job], ray: str | None, gpu: bool) -> Iterator[Job]:
    """Make all parts; yields each as it is done."""
    if ray is None:
        try:
            for job in jobs:
                make_part(job)
                yield job
        finally:
            load_once.cache_clear()
        return
    for job, answer in map_jobs_ray(make_part, jobs, ray, gpu=gpu):
        if isinstance(answer, BaseException):
            raise answer if isinstance(answer, EmoteError) else EmoteError(f"the worker failed: {answer}")
        yield job


def make_part(job: Job) -> Path:
    """Make one part, with the model that this process has loaded."""
    plan = check(job)
    return render(plan, animator=load_once(plan.model, job.device, job.dtype, tuning_of(plan)))


def _join(plan: Plan, folders: list[Path]) -> None:
    job, made = plan.job, describe_result(plan)
    sound = Soundtrack(job.audio, job.options.start, job.options.duration, job.options.audio_stream)
    pictures = [path for folder in folders for path in sorted(folder.glob("*.png"))]
    writing = SegmentedWriter(job.output, plan.scene.fps, job=made, sound=sound, tags=to_tags(made))
    with writing as writer:
        for frame in map(read_image, pictures):
            writer.write(frame)
        writer.end_segment({})
