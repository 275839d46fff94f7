"""One job, from files to a file: every cheap check first, then the network; frames stream to the encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emote_cli import stopping
from emote_cli.animation.choice import write_preview
from emote_cli.animation.chunks import Carry, MadeChunk
from emote_cli.animation.compose import cut_portrait, doubts
from emote_cli.animation.idle import Idle
from emote_cli.animation.job import Job
from emote_cli.animation.likeness import with_identity
from emote_cli.animation.metadata import making_of, to_tags
from emote_cli.animation.options import Tuning
from emote_cli.animation.paste import Liven, as_it_is, finished_side, finisher, shown_size
from emote_cli.animation.quality import SIX_STEP, is_six_step
from emote_cli.animation.retime import count_frames, showing
from emote_cli.errors import InputError, OutputError, SettingsError
from emote_cli.media.audio import open_audio, read_stereo
from emote_cli.media.encoding import encoding_of
from emote_cli.media.image import read_image
from emote_cli.media.output import beside, check_place
from emote_cli.media.pngs import check_png_folder, is_png_folder
from emote_cli.media.segments import SegmentedWriter
from emote_cli.media.video import Soundtrack
from emote_cli.perception.faces import FaceAnalyzer, find_faces
from emote_cli.settings import ModelSettings, load_preset, load_settings
from emote_cli.types import Pixels, Portrait, Sound
from emote_cli.weights import SETTINGS_NAME, bundled, locate, separator

if TYPE_CHECKING:  # torch is imported late, after all checks
    from emote_cli.animation.animate import Animator
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
        settings: the model's.
        photo: the whole picture.
        portrait: the square to animate, at the model's size.
        speech: the part of the recording to use, at 16 kHz.
        fps: frames per second of the output.
        n_frames: frames of the output.
        size: width and height of the output in pixels.
        warnings: what may make the result poor, a line each.
        variant: another set of weights in the model's folder; None: the usual ones.
        separator: the network that takes the voice out of the sound; None: the sound is heard as it is.
    """

    job: Job
    model: Path | str
    settings: ModelSettings
    photo: Pixels
    portrait: Portrait
    speech: Sound
    fps: Fraction
    n_frames: int
    size: tuple[int, int]
    warnings: tuple[str, ...] = ()
    variant: str | None = None
    separator: Path | None = None

    @property
    def duration_s(self) -> float:
        """Length of the output in seconds."""
        return float(self.n_frames / self.fps)


def check(job: Job) -> Plan:
    """Find everything that can be wrong before torch is imported, the quickest checks first.

    Raises:
        EmoteError: the first thing that is wrong.
    """
    check_output(job)
    pixels = read_image(job.portrait)
    speech = open_audio(
        job.audio, start_s=job.options.start, duration_s=job.options.duration, stream=job.options.audio_stream
    )
    folder = locate(job.model)
    settings = load_preset(job.model) if folder is None else load_settings(folder / SETTINGS_NAME)
    variant = SIX_STEP if is_six_step(job.model, settings, job.options.quality, folder) else None
    settings = settings if variant is None else load_preset(variant)
    voice = separator(folder) if job.options.separate_vocals else None
    fps = job.options.fps or Fraction(settings.fps)
    n_frames = count_frames(speech.n_samples, speech.sample_rate_hz, fps)
    if speech.duration_s * min(float(fps), settings.fps) < 1:
        raise InputError(
            f"{job.audio} is shorter than one frame: {speech.duration_s:.3f} s at {float(fps):g} fps",
            hint="give a longer recording",
        )
    if job.options.articulation is not None and not settings.family.reference_latents:
        raise SettingsError(
            f"{settings.name} has no articulation to set", hint="leave --articulation out; it is for mini"
        )
    if job.options.smoothing and settings.family.audio != "own_layer":
        raise SettingsError(f"{settings.name} cannot smooth its frames", hint="leave --smoothing out")
    default = settings.image_size if job.options.frame == "crop" else 0
    size = shown_size(pixels, job.options.frame, job.options.size or default)
    with FaceAnalyzer(bundled("face_landmarker.task"), max_faces=20) as analyzer:
        faces = find_faces(pixels, analyzer)
    portrait = cut_portrait(pixels, job.portrait, settings.image_size, faces, job.options.face or "largest")
    portrait, unknown = with_identity(portrait, pixels, folder, settings)
    warnings = [*doubts(portrait, settings.image_size), *unknown, *speech.notes]
    if len(faces) > 1 and job.options.face is None:
        preview = beside(job.output, ".faces.png")
        if not preview.is_symlink() and (job.force or not preview.exists()):
            write_preview(preview, pixels, faces)
        warnings.insert(0, f"{len(faces)} faces: the largest is animated; {preview} numbers them for --face")
    if job.options.quality == "fast" and settings.name == "echomimic":
        warnings.append(f"accelerated weights would be faster: emote download {SIX_STEP}")
    return Plan(
        job, folder or job.model, settings, pixels, portrait, speech, fps, n_frames, size, tuple(warnings),
        variant, voice,
    )  # fmt: skip


def render(
    plan: Plan,
    on_frame: Callable[[int], object] = lambda count: None,
    animator: Animator | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> Path:
    """Generate the video, segment by segment, and join them under its name once they are all there.

    Args:
        plan: from `check`.
        on_frame: called with the number of frames just written.
        animator: the plan's model where it is loaded already.
        tell: is told how much memory the model needs, and when it runs short.

    Returns:
        The path of the video.

    Raises:
        EmoteError: the device is not there, the weights do not fit, or the output cannot be written.
    """
    job = plan.job
    animator = animator or load_animator(plan, tell)
    made = making(plan)
    writing = SegmentedWriter(
        job.output,
        plan.fps,
        job={**made, "face": str(job.options.face), "device": job.device, "segment_s": SEGMENT_S},
        resume=job.resume,
        keep=job.resume or job.keep_partial,
        sound=Soundtrack(job.audio, job.options.start, job.options.duration, job.options.audio_stream),
        tags=to_tags(made),
    )
    with writing as writer:
        on_frame(writer.n_frames)
        try:
            _write_frames(plan, animator, writer, on_frame)
        except KeyboardInterrupt:
            if job.keep_partial:
                with stopping.saving():
                    writer.join_partial(partial_name(job.output))
            raise
    return job.output


def partial_name(output: Path) -> Path:
    """Where the frames made before a Ctrl-C go."""
    return beside(output, f".partial{output.suffix}")


def _write_frames(
    plan: Plan, animator: Animator, writer: SegmentedWriter, on_frame: Callable[[int], object]
) -> None:
    settings = plan.settings
    finish = finishing(plan, animator)
    per_segment, unsaved = round(SEGMENT_S * settings.fps), 0
    state = writer.state
    after = None if state is None else Carry(int(state["frame"]), state["motion"])
    rates = (Fraction(settings.fps), plan.fps, plan.n_frames)
    for chunk in generate(plan, animator, after):
        for frame in showing(list(chunk.frames), chunk.start, chunk.is_last, *rates):
            writer.write(finish(frame, float(writer.n_frames / plan.fps)))
            on_frame(1)
        unsaved += len(chunk.frames)
        if chunk.is_last or unsaved >= per_segment:
            unsaved = 0
            writer.end_segment({"frame": np.array(chunk.carry.frame), "motion": chunk.carry.motion})


def livening(plan: Plan) -> Liven:
    """What the finished head does besides speaking, as the job or the model wants it."""
    job, settings, portrait = plan.job, plan.settings, plan.portrait
    if not (settings.idle_motion if job.options.idle is None else job.options.idle):
        return as_it_is
    side = finished_side(portrait, job.options.frame, plan.size)
    speed = settings.head_speed if job.options.head_speed is None else job.options.head_speed
    return Idle(portrait.face, side / portrait.pixels.shape[0], side, speed, job.options.seed)


def load_animator(plan: Plan, tell: Callable[[str], object] = lambda line: None) -> Animator:
    """Load the model of a plan.

    Raises:
        EmoteError: the device is not there, or the model does not fit into its memory.
    """
    from emote_cli.animation.animate import Animator

    tuning = replace(tuning_of(plan), tell=tell)
    return Animator.load(plan.model, device=plan.job.device, dtype=plan.job.dtype, tuning=tuning)


def tuning_of(plan: Plan) -> Tuning:
    """How the model of a plan is loaded and run; equal for plans that can share it."""
    return replace(plan.job.tuning, variant=plan.variant)


def finishing(plan: Plan, animator: Animator) -> Callable[[Any, float], Pixels]:
    """From what the model's chunks hold, and their times, to frames of the plan's video."""
    job, settings = plan.job, plan.settings
    options = job.options
    if settings.autoencoder.kind == "motion":
        alive = settings.idle_motion if options.idle is None else options.idle
        speed = settings.head_speed if options.head_speed is None else options.head_speed
        from emote_cli.animation.motion import MotionAnimator

        assert isinstance(animator, MotionAnimator)
        return animator.finisher(
            plan.photo, plan.portrait, options.frame, plan.size,
            head_speed=speed if alive else None, seed=options.seed,
        )  # fmt: skip
    detail = options.detail is not False
    return finisher(plan.photo, plan.portrait, options.frame, plan.size, detail, livening(plan))


def generate(plan: Plan, animator: Animator | None = None, after: Carry | None = None) -> Iterator[MadeChunk]:
    """Load the model, unless it is given, and yield its frames, chunk by chunk, at its own rate and size."""
    animator = animator or load_animator(plan)
    return animator.chunks(plan.portrait, heard(plan), plan.job.options, after)


def heard(plan: Plan) -> Sound:
    """What the model listens to: the recording, or the voice in it."""
    if plan.separator is None:
        return plan.speech
    from emote_cli.perception.vocals import RATE_HZ, VocalSeparator, voice_at

    job, speech = plan.job, plan.speech
    options = job.options
    mix = read_stereo(job.audio, RATE_HZ, options.start, options.duration, options.audio_stream)
    return voice_at(VocalSeparator(plan.separator), mix, speech.sample_rate_hz, speech.n_samples)


def making(plan: Plan) -> dict[str, Any]:
    """What the video will say of its making."""
    job = plan.job
    return making_of(
        job,
        plan.model,
        video={"fps": str(plan.fps), "frames": plan.n_frames, "size": list(plan.size)},
    )


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
