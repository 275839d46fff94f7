"""A head start for the mini's ears: its audio projector learns to tell the lips before stage 1.

Without a pretrained speech encoder the network would first have to find out, through noise, what in the sound moves a
mouth. So the audio projector learns first that the mean audio token of a frame predicts, through one matrix, how far
the jaw, the lips and the mouth's corners are from their usual place. That is minutes on one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from emote_cli.data.dataset import ClipArrays, LazyClip
from emote_cli.data.lips import N_LIPS
from emote_cli.errors import DataError
from emote_cli.model.emo import Emo
from emote_cli.settings import AudioSettings
from emote_cli.training.observer import Observer
from emote_cli.training.settings import TrainSettings
from emote_cli.types import AudioFeatures

BATCH = 128
FITTED = 20_000
"""Frames that the readout is fitted to."""


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


def give_ears(
    model: Emo, settings: TrainSettings, clips: Sequence[ClipArrays | LazyClip], observer: Observer
) -> None:
    """Warm the audio projector up, and open the audio layers: zeros would not let it through."""
    heard, audio = read_heard_lips(clips), model.settings.audio
    last: list[float] = []

    def on_step(step: int, loss: float) -> None:
        last[:] = [loss]
        observer.on_warm_up(step, settings.audio_warm_up)

    warm_up(
        model.audio_projector, heard, audio, steps=settings.audio_warm_up, seed=settings.seed, on_step=on_step
    )
    open_audio_layers(model, fit_readout(model.audio_projector, heard, audio), settings.seed)
    observer.on_note(
        f"audio warmed up on {len(heard)} clips: loss {last[0]:.2f} (1 is no better than the mean)"
    )


def read_heard_lips(clips: Sequence[ClipArrays | LazyClip]) -> list[HeardLips]:
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
def fit_readout(
    projector: nn.Module, clips: Sequence[HeardLips], audio: AudioSettings
) -> Float[Tensor, "3 d"]:
    """Fit the matrix that reads the lips off a frame's mean audio token: ridge regression.

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
    spread = heard - heard.mean(0)
    gram = spread.T @ spread + 1e-3 * len(spread) * spread.var() * torch.eye(spread.shape[1]).double()
    return torch.linalg.solve(gram, spread.T @ (seen - seen.mean(0))).T.float()


@torch.no_grad()
def open_audio_layers(model: Emo, readout: Float[Tensor, "3 d"], seed: int) -> None:
    """Initialize the audio layers so that speech has an effect from step 0: values carry what the readout reads."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, value in model.named_parameters():
            if name.endswith("audio_attn.to_out.0.weight"):
                torch.nn.init.normal_(value, std=0.04)
            elif name.endswith(("audio_attn.to_q.weight", "audio_attn.to_k.weight")):
                torch.nn.init.normal_(value, std=0.02)
            elif name.endswith("audio_attn.to_v.weight"):
                rows = torch.arange(len(value)) % len(readout)
                sign = torch.where(torch.rand(len(value), 1) < 0.5, -1.5, 1.5)
                value.copy_(readout[rows] * sign + 0.01 * torch.randn(value.shape))


def disturb(windows: Float[np.ndarray, "b s l e"], rng: np.random.Generator) -> Float[np.ndarray, "b s l e"]:
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
        windows, target = gather(clips, chosen, audio)
        if audio.encoder == "mel":
            windows = disturb(windows, rng)
        predicted = head(mean_tokens(projector, windows))
        loss = (predicted - torch.from_numpy(target)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        on_step(step + 1, float(loss.detach()))
