"""A head start for the mini's ears: its audio projector learns to tell the face's motion before stage 1.

The network would first have to find out, through noise, what in the sound moves a mouth. So the audio projector learns
first that the mean audio token of a frame predicts, through one matrix, what the face does: how far jaw, lips and the
mouth's corners are from their usual place (data/lips.py), or, of motion latents, their first principal components
(`audio_components`). That is minutes on one core.
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
from emote_cli.errors import DataError
from emote_cli.model.emo import Emo
from emote_cli.settings import AudioSettings
from emote_cli.training.observer import Observer
from emote_cli.training.settings import TrainSettings
from emote_cli.types import AudioFeatures

BATCH = 128
FITTED = 20_000
"""Frames that the readout is fitted to."""
COMPARED = 8_000
"""Frames that the principal components of motion are computed from."""


@dataclass(frozen=True, slots=True)
class HeardClip:
    """Speech features of a clip and what the face did.

    Attributes:
        features: at the video frame rate.
        seen: what the ears shall tell of each frame, in units of its deviation; NaN where no face was found.
        weight: how often each of its frames is heard, relative to those of others.
    """

    features: AudioFeatures
    seen: Float[np.ndarray, "frames told"]
    weight: float = 1.0


def give_ears(
    model: Emo, settings: TrainSettings, clips: Sequence[ClipArrays | LazyClip], observer: Observer
) -> None:
    """Warm the audio projector up, and open the audio layers: zeros would not let it through.

    Args:
        model: its audio projector and audio layers are changed in place.
        settings: of the stage.
        clips: that are trained on.
        observer: hears of every step of the warm-up, and its last loss.
    """
    heard, audio = read_heard_clips(clips, settings.audio_components), model.settings.audio
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


def read_heard_clips(clips: Sequence[ClipArrays | LazyClip], components: int = 0) -> list[HeardClip]:
    """Read the sound of every clip and what the face does in it.

    Args:
        clips: of the stage.
        components: of motion latents, the first so many principal components; 0, or of latents of pictures: the
            three numbers of the lips.
    """
    opened = [clip.open() for clip in clips]
    seen = [clip.lips for clip in opened]
    if components and all(clip.portrait is not None for clip in opened):
        seen = measure_components(opened, components)
    return [
        HeardClip(clip.features, values, clip.weight / max(clip.n_frames, 1))
        for clip, values in zip(opened, seen, strict=True)
    ]


def measure_components(
    clips: Sequence[ClipArrays], components: int
) -> list[Float[np.ndarray, "frames components"]]:
    """Measure the first principal components of how faces move, in every frame of some clips.

    Each has deviation 1, less the clip's mean, which sound does not tell; NaN where no face was found.
    """
    stride = max(sum(clip.n_frames for clip in clips) // COMPARED, 1)
    some = torch.cat([_weigh_motion(clip)[stride // 2 :: stride] for clip in clips])
    middle = some.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # pca_lowrank begins with random directions
        _, sizes, ways = torch.pca_lowrank(some - middle, min(components, *some.shape), center=False, niter=3)
    unit = (sizes / math.sqrt(len(some))).clamp(min=1e-6)
    told = []
    for clip in clips:
        values = (((_weigh_motion(clip) - middle) @ ways) / unit).numpy()
        found = clip.found[: len(values)]
        values[~found] = np.nan
        told.append(values - values[found].mean(0) if found.any() else values)
    return told


def _weigh_motion(clip: ClipArrays) -> Float[Tensor, "frames cells"]:
    """How far the face is from the portrait, where it counts."""
    assert clip.portrait is not None
    assert clip.cell_weights is not None
    motion = clip.latents[np.arange(len(clip.latents))].float() - clip.portrait
    return (motion * clip.cell_weights.sqrt()).flatten(1)


Place = tuple[int, int]
"""Number of a clip, and of a frame of it."""


def places_of(clips: Sequence[HeardClip]) -> list[Place]:
    """List all frames that have both lips and sound, of clips that have a weight.

    Raises:
        DataError: there are none.
    """
    places = [
        (number, int(frame))
        for number, clip in enumerate(clips)
        if clip.weight > 0
        for frame in np.flatnonzero(np.isfinite(clip.seen[: clip.features.n_frames]).all(1))
    ]
    if not places:
        raise DataError(
            "no clip has frames with both a face and sound", "prepare videos in which people speak"
        )
    return places


def gather(
    clips: Sequence[HeardClip], places: Sequence[Place], audio: AudioSettings
) -> tuple[Float[np.ndarray, "b s l e"], Float[np.ndarray, "b told"]]:
    """Gather speech windows and what was seen, of some frames.

    Args:
        clips: all of them.
        places: which frames of which clips.
        audio: says how wide a window is.
    """
    windows = np.concatenate([clips[i].features.windows(j, 1, audio.margin) for i, j in places])
    return windows.astype(np.float32), np.stack([clips[i].seen[j] for i, j in places]).astype(np.float32)


def mean_tokens(projector: nn.Module, windows: Float[np.ndarray, "b s l e"]) -> Float[Tensor, "b d"]:
    """Compute the mean audio token of each window."""
    tokens: Tensor = projector(torch.from_numpy(windows)[:, None])
    return tokens[:, 0].mean(1)


@torch.no_grad()
def fit_readout(
    projector: nn.Module, clips: Sequence[HeardClip], audio: AudioSettings
) -> Float[Tensor, "told d"]:
    """Fit the matrix that reads the lips off a frame's mean audio token: ridge regression.

    Args:
        projector: windows of speech features -> audio tokens.
        clips: that were heard and seen.
        audio: says how wide a window is.

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
def open_audio_layers(model: Emo, readout: Float[Tensor, "told d"], seed: int) -> None:
    """Initialize the audio layers so that speech has an effect from step 0: values carry what the readout reads.

    Args:
        model: its audio layers are changed in place.
        readout: from `fit_readout`.
        seed: of the random numbers.
    """
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
    """Give log-mel windows another level, tilt, noise floor and formant scale, drawn per window."""
    shape = (len(windows), 1, 1, 1)
    tilt = np.linspace(-1, 1, windows.shape[-1])
    louder = windows + rng.normal(0, 0.12, shape) + rng.normal(0, 0.1, shape) * tilt
    floor, noisy = rng.uniform(-1.6, -0.3, shape), rng.random(shape) < 0.3
    natural = 2 * math.log(10)  # features are half a decade of amplitude: to natural logarithms and back
    louder = np.where(noisy, np.logaddexp(louder * natural, floor * natural) / natural, louder)
    return np.roll(louder, int(rng.integers(-3, 4)), -1).astype(np.float32)


def blur(windows: Float[np.ndarray, "b s l e"], rng: np.random.Generator) -> Float[np.ndarray, "b s l e"]:
    """Make windows of a speech encoder a little louder or softer, with noise: no single number is to be relied on."""
    deviation = float(windows.std())
    louder = windows * (1 + 0.1 * rng.standard_normal((len(windows), 1, 1, 1)))
    return (louder + 0.05 * deviation * rng.standard_normal(windows.shape)).astype(np.float32)


def warm_up(
    projector: nn.Module,
    clips: Sequence[HeardClip],
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
    head = nn.Linear(audio.token_width, clips[0].seen.shape[1])
    trained = [*projector.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, weight_decay=0.02)
    for step in range(steps):
        rate = 2e-3 * min(1.0, (step + 1) / 50) * (0.01 + 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng([seed, step])
        chosen = [places[k] for k in np.searchsorted(often, rng.random(BATCH) * often[-1], "right")]
        windows, target = gather(clips, chosen, audio)
        windows = disturb(windows, rng) if audio.encoder == "mel" else blur(windows, rng)
        predicted = head(mean_tokens(projector, windows))
        loss = (predicted - torch.from_numpy(target)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        on_step(step + 1, float(loss.detach()))
