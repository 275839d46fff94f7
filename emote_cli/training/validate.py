"""Validation videos, generated | true with sound, by the code of `emote animate`; and their figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from emote_cli.animation.animator import Animator
from emote_cli.animation.device import Precision
from emote_cli.animation.finishing import show_frames
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.retime import count_frames
from emote_cli.animation.runtime import Runtime
from emote_cli.animation.scene import Scene
from emote_cli.data.layout import audio_path, clip_path
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.prepare.sync import correlation
from emote_cli.data.tracks import read_tracks
from emote_cli.errors import EmoteError
from emote_cli.media.audio import read_audio
from emote_cli.media.video import VideoWriter, read_frames
from emote_cli.model.emo import Emo
from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.perception.geometry import box_to_crop, points_to_crop
from emote_cli.training.metrics import Identity, faces_of, jaw_curve, psnr_db
from emote_cli.training.run_folder import SAMPLES
from emote_cli.training.settings import ValidationSettings
from emote_cli.types import Box, Face, Pixels, Portrait, Waveform
from emote_cli.zoo.locate import locate_bundled


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A clip to be reproduced from its first frame and its sound.

    Attributes:
        id: of the clip.
        portrait: its first frame with a face.
        frames: the true ones, from that frame on.
        speech: from the same moment on.
        jaw: the true curve.
        audio: the file to mux.
        start_s: where in it the video begins.
    """

    id: str
    portrait: Portrait
    frames: list[Pixels]
    speech: Waveform
    jaw: np.ndarray
    audio: Path
    start_s: float


def read_held_out(folder: Path, record: ClipRecord, size: int, seconds: float) -> HeldOut:
    """Read the beginning of a clip.

    Args:
        folder: the prepared data set.
        record: of the clip.
        size: side in pixels to which frames are scaled.
        seconds: how much of it, from the first frame with a face on.

    Raises:
        EmoteError: it is damaged.
    """
    tracks = read_tracks(folder, record)
    first = int(np.flatnonzero(tracks["found"])[0])
    start_s, path = first / record.fps, audio_path(folder, record.id)
    count = min(round(seconds * record.fps), record.frames - first)
    clip = read_frames(clip_path(folder, record.id), size=(size, size))
    frames = list(islice(clip, first, first + count))
    whole = Box(0, 0, record.size, record.size)
    face = Face(
        box_px=box_to_crop(Box(*(float(v) for v in tracks["box_px"][first])), whole, size),
        landmarks_px=points_to_crop(tracks["landmarks_px"][first], whole, size),
        pose_4x4=tracks["pose_4x4"][first],
        blendshapes={"jawOpen": float(tracks["jaw_open"][first])},
    )
    return HeldOut(
        id=record.id,
        portrait=Portrait(frames[0], face, whole, path),
        frames=frames,
        speech=read_audio(path, start_s=start_s, duration_s=len(frames) / record.fps),
        jaw=tracks["jaw_open"][first : first + count],
        audio=path,
        start_s=start_s,
    )


class Examiner:
    """Makes the validation videos of a run.

    Args:
        folder: the prepared data set.
        records: clips to choose from, held out ones if there are any.
        run: videos go to its `samples/`.
        settings: how many, how long.
        on_note: told of clips that cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        records: Sequence[ClipRecord],
        run: Path,
        settings: ValidationSettings,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.folder, self.run, self.settings, self.on_note = folder, run, settings, on_note
        self.records = [record for record in records if record.has_audio][: settings.clips]
        self.identity = None if settings.sface is None else Identity(Path(settings.sface))

    def __call__(self, model: Emo, step: int) -> dict[str, float]:
        """Videos and mean figures of a model in evaluation mode; clips that cannot be read are left out."""
        device = next(model.parameters()).device
        animator = Animator(Runtime(model, device, Precision(torch.float32)))
        rows = []
        (self.run / SAMPLES).mkdir(parents=True, exist_ok=True)
        for record in self.records:
            try:
                held_out = read_held_out(self.folder, record, animator.size, self.settings.seconds)
            except (EmoteError, OSError, IndexError, KeyError) as error:
                self.on_note(f"not validated: clip {record.id}: {error}")
                continue
            scene = Scene(
                settings=model.settings,
                photo=held_out.portrait.pixels,
                portrait=held_out.portrait,
                speech=held_out.speech,
                fps=animator.fps,
                n_frames=count_frames(
                    held_out.speech.n_samples, held_out.speech.sample_rate_hz, animator.fps
                ),
                size=(animator.size, animator.size),
            )
            made = list(show_frames(animator, scene, AnimateOptions()))
            self._write(held_out, made, step, animator)
            rows.append(self._figures(held_out, made))
        names = rows[0] if rows else ()
        return {name: mean_known([row[name] for row in rows]) for name in names}

    def _write(self, held_out: HeldOut, made: list[Pixels], step: int, animator: Animator) -> None:
        path = self.run / SAMPLES / f"step-{step:08d}-{held_out.id}.mp4"
        with VideoWriter(path, animator.fps, audio=held_out.audio, audio_start_s=held_out.start_s) as writer:
            for ours, true in zip(made, held_out.frames, strict=False):
                writer.write(np.concatenate([ours, true], axis=1))

    def _figures(self, held_out: HeldOut, made: list[Pixels]) -> dict[str, float]:
        with FaceAnalyzer(locate_bundled("face_landmarker.task"), max_faces=1, video=True) as analyzer:
            faces = faces_of(made, analyzer)
        figures = {
            "jaw_correlation": correlation(jaw_curve(faces), held_out.jaw),
            "psnr_db": psnr_db(made, held_out.frames),
        }
        if self.identity is not None:
            portrait = held_out.portrait
            figures["identity"] = self.identity.likeness(portrait.pixels, portrait.face, made, faces)
        return figures


def mean_known(values: Sequence[float]) -> float:
    """Compute the mean of the values that are numbers; NaN without any."""
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan
