"""A head start for the mini's ears, and a teacher for its mouth.

Without a pretrained speech encoder the network would first have to find out, through noise, what in the sound
moves a mouth. So the audio projector first learns to tell the lips: the mean audio token of a frame predicts, through
one matrix, how far the jaw, the lips and the mouth's corners are from their usual place. That is minutes on one core.

What the sound tells of the lips is never all of it, and a network that is told half learns slowly. While it learns to
draw, the teacher moves the tokens of a frame to where that matrix reads the frame's own lips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from emote_cli.data.lips import N_LIPS
from emote_cli.errors import DataError
from emote_cli.model.audio import AudioTokens
from emote_cli.settings import AudioSettings
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

        What is read from sound alone is less spread than what lips do; the true lips are brought to that spread,
        so that later, with sound alone, the lips move as far as lips do.
        """
        readout, bias, answer = (value.to(tokens) for value in (self.readout, self.bias, self.answer))
        missing = torch.nan_to_num(lips * self.spread.to(lips) - (tokens.mean(2) @ readout.T + bias))
        return tokens + ((missing * rows[:, None, None]) @ answer)[:, :, None]


def disturbed(
    windows: Float[np.ndarray, "b s l e"], rng: np.random.Generator
) -> Float[np.ndarray, "b s l e"]:
    """Log-mel windows with another level, tilt, noise floor and formant scale, drawn per window."""
    shape = (len(windows), 1, 1, 1)
    tilt = np.linspace(-1, 1, windows.shape[-1])
    louder = windows + rng.normal(0, 0.12, shape) + rng.normal(0, 0.1, shape) * tilt
    floor, noisy = rng.uniform(-1.6, -0.3, shape), rng.random(shape) < 0.3
    natural = 2 * math.log(10)  # features are half a decade of amplitude: to natural logarithms and back
    louder = np.where(noisy, np.logaddexp(louder * natural, floor * natural) / natural, louder)
    return np.roll(louder, int(rng.integers(-3, 4)), -1).astype(np.float32)


def warm_up(
    projector: nn.Module,
    clips: Sequence[HeardLips],
    audio: AudioSettings,
    *,
    steps: int,
    seed: int = 0,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train the projector in place.

    Args:
        projector: speech windows -> audio tokens.
        clips: what is heard and seen.
        audio: its window.
        steps: optimizer steps of 128 frames.
        seed: of the draws.
        on_step: called with the step and its loss (about 1 = no better than the mean).

    Raises:
        DataError: no frame of the clips shows a face.
    """
    places = places_of(clips)
    often = np.cumsum([clips[number].weight for number, _ in places])
    head = nn.Linear(audio.token_width, N_LIPS)
    trained = [*projector.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, weight_decay=0.02)
    for step in range(steps):
        rate = 2e-3 * min(1.0, (step + 1) / 50) * (0.01 + 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng([seed, step])
        chosen = [places[k] for k in np.searchsorted(often, rng.random(BATCH) * often[-1], "right")]
        windows, target = gathered(clips, chosen, audio)
        predicted = head(mean_tokens(projector, disturbed(windows, rng)))
        loss = (predicted - torch.from_numpy(target)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        on_step(step + 1, float(loss.detach()))


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


def gathered(
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
        windows, target = gathered(clips, chosen[first : first + BATCH], audio)
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
