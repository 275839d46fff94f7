"""A teacher for the mini's mouth: while the network learns to draw, audio tokens tell the true lips.

Sound tells only part of what lips do, and a network that is told half learns slowly. One matrix reads the lips off the
mean audio token of a frame; the teacher moves the tokens of a frame to where that matrix reads the frame's own lips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from emote_cli.data.dataset import ClipArrays, ClipDataset, LazyClip
from emote_cli.errors import DataError
from emote_cli.model.audio import AudioTokens
from emote_cli.model.emo import Emo
from emote_cli.settings import AudioSettings
from emote_cli.training.feed import Examples
from emote_cli.training.settings import TrainSettings
from emote_cli.types import AudioFeatures

BATCH = 128
FITTED = 20_000
"""Frames that the matrix is fitted to."""


@dataclass(frozen=True, slots=True)
class HeardLips:
    """Speech features of a clip and what the lips did.

    Attributes:
        features: at the video frame rate.
        lips: what they did (data/lips.py); NaN where no face was found.
        weight: how often each of its frames is heard, relative to those of others.
    """

    features: AudioFeatures
    lips: Float[np.ndarray, "frames 3"]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Teacher:
    """Reads the lips off the mean audio token of a frame, and moves tokens until it reads other lips.

    Attributes:
        readout: mean token -> lips.
        bias: of the readout.
        answer: readout -> how tokens differ where it differs so: their regression on it.
        spread: of the readout, as a share of the spread of the true lips.
    """

    readout: Float[Tensor, "3 d"]
    bias: Float[Tensor, " 3"]
    answer: Float[Tensor, "3 d"]
    spread: Float[Tensor, " 3"]

    def correct(
        self, tokens: AudioTokens, lips: Float[Tensor, "b f 3"], rows: Float[Tensor, " b"]
    ) -> AudioTokens:
        """Tokens that tell the true lips, in the rows marked 1 and where the lips are known.

        Predictions vary less than true lips; true lips are scaled to the same variance, so that later, with sound
        alone, the lips move as far as lips do.
        """
        readout, bias, answer = (value.to(tokens) for value in (self.readout, self.bias, self.answer))
        missing = torch.nan_to_num(lips * self.spread.to(lips) - (tokens.mean(2) @ readout.T + bias))
        return tokens + ((missing * rows[:, None, None]) @ answer)[:, :, None]


def teacher_for(model: Emo, settings: TrainSettings, examples: Examples) -> Teacher | None:
    """The teacher of the lips, if the stage has one.

    Raises:
        DataError: no frame shows a face.
    """
    if not settings.step.teach or not isinstance(examples, ClipDataset):
        return None
    return fit_teacher(model.audio_projector, heard_lips(examples.clips), model.settings.audio)


def heard_lips(clips: Sequence[ClipArrays | LazyClip]) -> list[HeardLips]:
    """Sound and lips of every clip."""
    opened = [clip.open() for clip in clips]
    return [HeardLips(clip.features, clip.lips, clip.weight / max(clip.n_frames, 1)) for clip in opened]


Place = tuple[int, int]
"""Number of a clip, and of a frame of it."""


def places_of(clips: Sequence[HeardLips]) -> list[Place]:
    """All frames that have both lips and sound, of clips that have a weight.

    Raises:
        DataError: there are none.
    """
    places = [
        (number, int(frame))
        for number, clip in enumerate(clips)
        if clip.weight > 0
        for frame in np.flatnonzero(np.isfinite(clip.lips[: clip.features.n_frames]).all(1))
    ]
    if not places:
        raise DataError("no frame with a face to listen to", "prepare clips with speech")
    return places


def gather(
    clips: Sequence[HeardLips], places: Sequence[Place], audio: AudioSettings
) -> tuple[Float[np.ndarray, "b s l e"], Float[np.ndarray, "b 3"]]:
    """Speech windows and lips of some places."""
    windows = np.concatenate([clips[i].features.windows(j, 1, audio.margin) for i, j in places])
    return windows.astype(np.float32), np.stack([clips[i].lips[j] for i, j in places]).astype(np.float32)


def mean_tokens(projector: nn.Module, windows: Float[np.ndarray, "b s l e"]) -> Float[Tensor, "b d"]:
    """The mean audio token of each window."""
    tokens: Tensor = projector(torch.from_numpy(windows)[:, None])
    return tokens[:, 0].mean(1)


@torch.no_grad()
def fit_teacher(projector: nn.Module, clips: Sequence[HeardLips], audio: AudioSettings) -> Teacher:
    """The best matrix from mean tokens to lips, by ridge regression; the same for the same weights and clips.

    Raises:
        DataError: no frame of the clips shows a face.
    """
    places = places_of(clips)
    chosen = [places[k] for k in np.linspace(0, len(places) - 1, min(FITTED, len(places))).astype(int)]
    tokens, lips = [], []
    for first in range(0, len(chosen), BATCH):
        windows, target = gather(clips, chosen[first : first + BATCH], audio)
        tokens.append(mean_tokens(projector, windows))
        lips.append(torch.from_numpy(target))
    heard, seen = torch.cat(tokens).double(), torch.cat(lips).double()
    spread, usual = heard - heard.mean(0), seen.mean(0)
    gram = spread.T @ spread + 1e-3 * len(spread) * spread.var() * torch.eye(spread.shape[1]).double()
    readout = torch.linalg.solve(gram, spread.T @ (seen - usual)).T
    read = spread @ readout.T
    answer = torch.linalg.lstsq(read, spread).solution
    ratio = read.std(0) / (seen - usual).std(0).clamp(min=1e-6)
    bias = usual * ratio - heard.mean(0) @ readout.T
    return Teacher(readout.float(), bias.float(), answer.float(), ratio.float())
