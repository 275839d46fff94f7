"""What a video is made of, read from files and checked: the photo, the square of it that is animated, the sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from emote_cli.animation.options import AnimateOptions, FrameKind
from emote_cli.animation.portrait import cut_portrait, list_doubts, square_for
from emote_cli.animation.portrait_identity import add_identity
from emote_cli.animation.retime import count_frames
from emote_cli.errors import InputError, SettingsError
from emote_cli.media.audio import open_audio, read_stereo
from emote_cli.media.image import read_image
from emote_cli.perception.faces import find_all_faces
from emote_cli.settings import ModelSettings
from emote_cli.types import Face, Pixels, Portrait, Sound
from emote_cli.zoo.locate import locate_bundled, locate_separator

MAX_SIDE = 4096
"""Photos with a longer side are shown smaller: players do not take larger H.264."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a video is made of, and how it is shown.

    Attributes:
        settings: the model's.
        photo: the whole picture.
        portrait: the square to animate, at the model's size.
        speech: the part of the recording to use, at 16 kHz.
        fps: frames per second of the output.
        n_frames: frames of the output.
        size: width and height of the output in pixels, even.
        faces: all that were found in the photo, largest first.
        notes: what may make the result poor, a line each.
        audio: the recording.
        separator: the network that takes the voice out of it; None: it is heard as it is.
    """

    settings: ModelSettings
    photo: Pixels
    portrait: Portrait
    speech: Sound
    fps: Fraction
    n_frames: int
    size: tuple[int, int]
    faces: tuple[Face, ...] = ()
    notes: tuple[str, ...] = ()
    audio: Path | None = None
    separator: Path | None = None

    @property
    def duration_s(self) -> float:
        """Length of the output in seconds."""
        return float(self.n_frames / self.fps)


def read_scene(
    portrait: Path,
    audio: Path,
    options: AnimateOptions,
    settings: ModelSettings,
    folder: Path | None,
    before_faces: Callable[[], object] = lambda: None,
) -> Scene:
    """Read both files, choose the face and cut it out, the quickest checks first.

    Args:
        portrait: a picture with a face.
        audio: a recording, or a video with sound.
        options: of the animation.
        settings: the model's.
        folder: where the model's files lie; None for one without.
        before_faces: is called when all but the face is found: what takes time can begin elsewhere.

    Raises:
        InputError: a file cannot be read, or the recording is too short.
        FaceError: there is no such face in the picture.
        SettingsError: the model does not have what an option sets.
        WeightsError: a network that an option needs is missing or damaged.
    """
    photo = read_image(portrait)
    speech = open_audio(
        audio, start_s=options.start, duration_s=options.duration, stream=options.audio_stream
    )
    voice = locate_separator(folder) if options.separate_vocals else None
    fps = options.fps or Fraction(settings.fps)
    check_length(speech, audio, min(fps, Fraction(settings.fps)))
    check_model_has(settings, options)
    before_faces()
    faces = find_all_faces(photo, locate_bundled("face_landmarker.task"))
    cut = cut_portrait(
        photo, portrait, settings.image_size, faces, options.face or "largest", square_for(settings)
    )
    cut, unknown = add_identity(cut, photo, folder, settings)
    several = len(faces) > 1 and options.face is None
    notes = [f"{len(faces)} faces: the largest is animated; --face chooses another"] if several else []
    notes += [*list_doubts(cut, settings.image_size), *unknown, *speech.notes]
    return Scene(
        settings=settings,
        photo=photo,
        portrait=cut,
        speech=speech,
        fps=fps,
        n_frames=count_frames(speech.n_samples, speech.sample_rate_hz, fps),
        size=shown_size(photo, options.frame, options.size, settings.image_size),
        faces=tuple(faces),
        notes=(*notes, *note_idle_options(settings, options)),
        audio=audio,
        separator=voice,
    )


def check_length(speech: Sound, audio: Path, fps: Fraction) -> None:
    """Refuse a recording that is shorter than one frame.

    Args:
        speech: the recording, or the part of it that is used.
        audio: its file, for the error.
        fps: the lower of the output's and the model's frame rate.

    Raises:
        InputError: it is shorter.
    """
    if speech.duration_s * fps < 1:
        raise InputError(
            f"{audio} is shorter than one frame: {speech.duration_s:.3f} s at {float(fps):g} fps",
            hint="give a longer recording",
        )


def listen(scene: Scene, options: AnimateOptions) -> Sound:
    """Open what the model hears: the recording, or the voice in it."""
    if scene.audio is None or scene.separator is None:
        return scene.speech
    from emote_cli.perception.vocals import RATE_HZ, VocalSeparator, voice_at

    mix = read_stereo(scene.audio, RATE_HZ, options.start, options.duration, options.audio_stream)
    speech = scene.speech
    return voice_at(VocalSeparator(scene.separator), mix, speech.sample_rate_hz, speech.n_samples)


def check_model_has(settings: ModelSettings, options: AnimateOptions) -> None:
    """Make sure that a model has what the options set.

    Raises:
        SettingsError: it has not.
    """
    if options.articulation is not None and not settings.family.reference_latents:
        raise SettingsError(
            f"{settings.name} has no articulation to set",
            hint="leave --articulation out",
        )
    if options.smoothing and settings.family.audio != "own_layer":
        raise SettingsError(f"{settings.name} cannot smooth its frames", hint="leave --smoothing out")


def note_idle_options(settings: ModelSettings, options: AnimateOptions) -> tuple[str, ...]:
    """Say which options were given that do nothing with this model, a line each."""
    if settings.autoencoder.kind == "motion" and options.detail is not None:
        word = "--detail" if options.detail else "--no-detail"
        return (
            f"{word} has no effect on {settings.name}: it moves the portrait itself, with all its detail",
        )
    return ()


def shown_size(photo: Pixels, kind: FrameKind, size: int | None, model_size: int) -> tuple[int, int]:
    """Compute width and height of the output in pixels, both even.

    Args:
        photo: the whole picture.
        kind: the square, or the whole photo.
        size: side of the square, or longest side of the photo; None is the model's, or the photo's, at most MAX_SIDE.
        model_size: side of the model's square.
    """
    if kind == "crop":
        return size or model_size, size or model_size
    height, width = photo.shape[:2]
    scale = (size or min(max(height, width), MAX_SIDE)) / max(height, width)
    return max(round(width * scale) // 2 * 2, 2), max(round(height * scale) // 2 * 2, 2)
