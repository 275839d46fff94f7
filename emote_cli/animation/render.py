"""One job, from files to a file: every cheap check first, then the network; frames stream to the encoder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from emote_cli.animation.compose import cut_portrait
from emote_cli.animation.retime import count_frames, retime
from emote_cli.errors import InputError, OutputError, SettingsError
from emote_cli.media.audio import read_audio
from emote_cli.media.image import read_image, resize
from emote_cli.media.video import VideoWriter
from emote_cli.perception.faces import FaceAnalyzer, FaceRegion
from emote_cli.settings import ModelSettings, load_preset, load_settings
from emote_cli.types import Portrait, Waveform
from emote_cli.weights import SETTINGS_NAME, bundled, locate

OUTPUT_SUFFIXES = (".mp4",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to animate, with what, into what. None means: as the model was made for.

    Attributes:
        portrait: a picture with a face.
        audio: a recording, or a video with sound.
        output: the video to write.
        force: whether an existing output may be replaced.
        model: a known name or the path of a model or run folder.
        steps: denoising steps.
        guidance: guidance scale; 1 is off.
        seed: of the noise.
        head_speed: degrees per frame at 30 fps, 0..2.
        motion_region: how far the head may move.
        fps: frames per second of the output.
        size: side of the output in pixels, even.
        device: auto, cpu, cuda or mps.
        dtype: auto, float32, bfloat16 or float16.
    """

    portrait: Path
    audio: Path
    output: Path
    force: bool = False
    model: str = "mini"
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    head_speed: float | None = None
    motion_region: FaceRegion = "wide"
    fps: Fraction | None = None
    size: int | None = None
    device: str = "auto"
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class Plan:
    """A job that has passed all checks which need no network.

    Attributes:
        job: what was asked for.
        model: folder of the model, or the name of one without files.
        settings: the model's.
        portrait: the square to animate, at the model's size.
        speech: the whole recording at 16 kHz.
        fps: frames per second of the output.
        n_frames: frames of the output.
        size: side of the output in pixels.
    """

    job: Job
    model: Path | str
    settings: ModelSettings
    portrait: Portrait
    speech: Waveform
    fps: Fraction
    n_frames: int
    size: int

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
    speech = read_audio(job.audio)
    folder = locate(job.model)
    settings = load_preset(job.model) if folder is None else load_settings(folder / SETTINGS_NAME)
    fps = job.fps or Fraction(settings.fps)
    n_frames = count_frames(len(speech.samples), speech.sample_rate_hz, fps)
    if speech.duration_s * min(float(fps), settings.fps) < 1:
        raise InputError(
            f"{job.audio} is shorter than one frame: {speech.duration_s:.3f} s at {float(fps):g} fps",
            hint="give a longer recording",
        )
    size = job.size or settings.image_size
    if size % 2:
        raise SettingsError(f"size {size} is odd", hint=f"H.264 needs an even size: {size - 1} or {size + 1}")
    with FaceAnalyzer(bundled("face_landmarker.task")) as analyzer:
        portrait = cut_portrait(pixels, job.portrait, settings.image_size, analyzer)
    return Plan(job, folder or job.model, settings, portrait, speech, fps, n_frames, size)


def render(plan: Plan, on_frame: Callable[[], object] = lambda: None) -> Path:
    """Generate the video and write it under its name once it is whole.

    Args:
        plan: from `check`.
        on_frame: called after each frame written.

    Returns:
        The path of the video.

    Raises:
        EmoteError: the device is not there, the weights do not fit, or the output cannot be written.
    """
    from emote_cli.animation.animate import AnimateOptions, Animator

    job = plan.job
    animator = Animator.load(plan.model, device=job.device, dtype=job.dtype)
    options = AnimateOptions(
        steps=job.steps,
        guidance=job.guidance,
        seed=job.seed,
        head_speed=job.head_speed,
        motion_region=job.motion_region,
        solver=None,
    )
    made = animator.frames(plan.portrait, plan.speech, options)
    with VideoWriter(job.output, plan.fps, audio=job.audio) as writer:
        for frame in retime(made, Fraction(animator.fps), plan.fps, plan.n_frames):
            writer.write(resize(frame, (plan.size, plan.size)))
            on_frame()
    return job.output


def check_output(job: Job) -> None:
    """Make sure that the output can be written, and overwrites nothing that was not given away.

    Raises:
        OutputError: its folder is missing or not writable, it exists, or its kind is unknown.
    """
    path = job.output
    if path.is_dir():
        raise OutputError(f"output {path} is a folder", hint=f"name a file, for example {path / 'video.mp4'}")
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        known = ", ".join(OUTPUT_SUFFIXES)
        raise OutputError(
            f"cannot write {path.name}: the name must end in {known}", hint="for example -o video.mp4"
        )
    if not path.parent.is_dir():
        raise OutputError(
            f"output folder {path.parent} does not exist", hint="make it first, or choose another"
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"output folder {path.parent} is not writable", hint="choose another folder with -o"
        )
    if path.exists() and any(given.exists() and path.samefile(given) for given in (job.portrait, job.audio)):
        raise OutputError(f"output {path} is also an input", hint="choose another name with -o")
    if path.exists() and not job.force:
        raise OutputError(f"{path} already exists", hint="--force overwrites it; -o chooses another name")
