"""One job, from files to a file: every cheap check first, then the network; frames stream to the encoder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emote_cli import stopping
from emote_cli.animation.choice import write_preview
from emote_cli.animation.chunks import Carry
from emote_cli.animation.finishing import show_chunks
from emote_cli.animation.job import Job
from emote_cli.animation.options import Tuning
from emote_cli.animation.provenance import describe_making, to_tags
from emote_cli.animation.scene import Scene, read_scene
from emote_cli.animation.variants import find_variant, note_missing
from emote_cli.errors import OutputError
from emote_cli.files import beside, check_place
from emote_cli.media.encoding import encoding_of
from emote_cli.media.pngs import check_png_folder, is_png_folder
from emote_cli.media.segments import SegmentedWriter
from emote_cli.media.video import Soundtrack
from emote_cli.settings import load_preset
from emote_cli.types import Pixels
from emote_cli.zoo.locate import find_model

if TYPE_CHECKING:  # torch is imported late, after all checks
    from emote_cli.animation.animator import Animator
else:
    Animator = Any

SEGMENT_S = 10.0
"""Length of a segment, rounded to whole chunks: what a killed render loses at most."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A job that has passed all checks which need no network.

    Attributes:
        job: what was asked for.
        model: folder of the model, or the name of one without files.
        scene: what is animated.
        variant: another set of weights in the model's folder; None: the usual ones.
        warnings: what may make the result poor, or slow, a line each.
    """

    job: Job
    model: Path | str
    scene: Scene
    variant: str | None = None
    warnings: tuple[str, ...] = ()


def check(job: Job, before_faces: Callable[[], object] = lambda: None) -> Plan:
    """Find everything that can be wrong before torch is imported, the quickest checks first; writes nothing.

    Args:
        job: what is asked for.
        before_faces: see `read_scene`; `import_ahead` uses the time.

    Raises:
        EmoteError: the first thing that is wrong.
    """
    check_output(job)
    options = job.options
    folder, settings = find_model(job.model)
    variant = find_variant(job.model, settings, options.quality, folder)
    settings = settings if variant is None else load_preset(variant)
    scene = read_scene(job.portrait, job.audio, options, settings, folder, before_faces)
    warnings = (*scene.notes, *note_missing(settings, options.quality))
    return Plan(job, folder or job.model, scene, variant, warnings)


def number_faces(plan: Plan) -> Path | None:
    """Write a picture that numbers the faces, where there are several and none was chosen.

    Returns:
        Its path; None where it is not needed.

    Raises:
        OutputError: the folder is full or not writable.
    """
    if len(plan.scene.faces) < 2 or plan.job.options.face is not None:
        return None
    path = beside(plan.job.output, ".faces.png")
    if not path.is_symlink() and (plan.job.force or not path.exists()):
        write_preview(path, plan.scene.photo, list(plan.scene.faces))
    return path


def render(
    plan: Plan,
    on_frame: Callable[[int], object] = lambda count: None,
    animator: Animator | None = None,
    tell: Callable[[str], object] = lambda line: None,
    show: Callable[[Pixels], object] = lambda frame: None,
) -> Path:
    """Generate the video, segment by segment, and join them under its name once they are all there.

    Args:
        plan: from `check`.
        on_frame: called with the number of frames just written.
        animator: the plan's model where it is loaded already.
        tell: is told how much memory the model needs, and when it runs short.
        show: is given every frame.

    Returns:
        The path of the video.

    Raises:
        EmoteError: the device is not there, the weights do not fit, or the output cannot be written.
    """
    job = plan.job
    animator = animator or load_animator(plan, tell)
    made = describe_result(plan)
    writing = SegmentedWriter(
        job.output,
        plan.scene.fps,
        job={**made, "face": str(job.options.face), "device": job.device, "segment_s": SEGMENT_S},
        resume=job.resume,
        keep=job.resume or job.keep_partial,
        sound=Soundtrack(job.audio, job.options.start, job.options.duration, job.options.audio_stream),
        tags=to_tags(made),
    )
    with writing as writer:
        check_output(job)  # another run may have made it while this one loaded; from here on none can
        on_frame(writer.n_frames)
        try:
            _write_frames(plan, animator, writer, on_frame, show)
        except KeyboardInterrupt:
            if job.keep_partial:
                with stopping.saving():
                    writer.join_partial(partial_name(job.output))
            raise
    return job.output


def partial_name(output: Path) -> Path:
    """Name the file for the frames that were made before a Ctrl-C."""
    return beside(output, f".partial{output.suffix}")


def _write_frames(
    plan: Plan,
    animator: Animator,
    writer: SegmentedWriter,
    on_frame: Callable[[int], object],
    show: Callable[[Pixels], object],
) -> None:
    per_segment, unsaved = round(SEGMENT_S * plan.scene.settings.fps), 0
    state = writer.state
    after = None if state is None else Carry(int(state["frame"]), state["motion"])
    for chunk in show_chunks(animator, plan.scene, plan.job.options, after):
        for frame in chunk.frames:
            writer.write(frame)
            show(frame)
            on_frame(1)
        unsaved += chunk.n_made
        if chunk.is_last or unsaved >= per_segment:
            unsaved = 0
            writer.end_segment({"frame": np.array(chunk.carry.frame), "motion": chunk.carry.motion})


def import_ahead() -> threading.Thread:
    """Import the network's code in another thread: it takes a second or two, as the search for the face does."""

    def work() -> None:
        with suppress(Exception):  # who needs it imports it again, and hears why it fails
            import_module("emote_cli.animation.animator")

    thread = threading.Thread(target=work, name="import ahead")
    thread.start()
    return thread


def load_animator(plan: Plan, tell: Callable[[str], object] = lambda line: None) -> Animator:
    """Load the model of a plan.

    Raises:
        EmoteError: the device is not there, or the model does not fit into its memory.
    """
    from emote_cli.animation.animator import Animator

    tuning = replace(tuning_of(plan), tell=tell)
    return Animator.load(plan.model, device=plan.job.device, dtype=plan.job.dtype, tuning=tuning)


def tuning_of(plan: Plan) -> Tuning:
    """Tell how the model of a plan is loaded and run; equal for plans that can share it."""
    return replace(plan.job.tuning, variant=plan.variant)


def describe_result(plan: Plan) -> dict[str, Any]:
    """Describe the making that the video will carry."""
    scene = plan.scene
    video = {"fps": str(scene.fps), "frames": scene.n_frames, "size": list(scene.size)}
    return describe_making(plan.job, plan.model, video=video)


def check_output(job: Job) -> None:
    """Make sure that the output can be written, and overwrites nothing that was not given away.

    Raises:
        OutputError: its folder is missing or not writable, it exists, or its kind is unknown.
    """
    path = job.output
    check_place(path)
    if job.keep_partial:
        check_place(partial_name(path))
    if is_png_folder(path):
        check_png_folder(path, job.force)
    elif path.is_dir():
        raise OutputError(f"output {path} is a folder", hint=f"name a file, for example {path / 'video.mp4'}")
    else:
        encoding_of(path)
    if path.exists() and any(given.exists() and path.samefile(given) for given in (job.portrait, job.audio)):
        raise OutputError(f"output {path} is also an input", hint="choose another name with -o")
    if path.is_file() and not job.force:
        raise OutputError(f"{path} already exists", hint="--force overwrites it; -o chooses another name")
