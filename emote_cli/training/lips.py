"""A head start for the mini's ears: the audio projector learns to tell the lips before it drives the network.

Without a pretrained speech encoder the network would first have to find out, through noise, what in the sound
moves a mouth. Here the mean audio token of a frame predicts, through one matrix, how far the jaw, the lips and the
mouth's corners are from their usual place in that clip. That is minutes of training on one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from emote_cli.errors import DataError
from emote_cli.settings import AudioSettings
from emote_cli.types import AudioFeatures

UPPER_LIP, LOWER_LIP, LEFT_CORNER, RIGHT_CORNER = 13, 14, 61, 291
N_TARGETS = 3
BATCH = 128


@dataclass(frozen=True, slots=True)
class HeardLips:
    """Speech features of a clip and what the lips did.

    Attributes:
        features: at the video frame rate.
        lips: jaw opening, lip gap and mouth width per frame, less the clip's median.
        found: frames with a face.
    """

    features: AudioFeatures
    lips: Float[np.ndarray, "frames 3"]
    found: Bool[np.ndarray, " frames"]


def lip_targets(
    tracks: Mapping[str, Any],
) -> tuple[Float[np.ndarray, "frames 3"], Bool[np.ndarray, " frames"]]:
    """Jaw opening (MediaPipe), lip gap and mouth width (over the face's height), less the clip's medians.

    Args:
        tracks: the arrays of a prepared clip's `tracks/<id>.npz`.
    """
    points, boxes = tracks["landmarks_px"][..., :2], tracks["box_px"]
    height = boxes[:, 3] - boxes[:, 1]
    gap = np.linalg.norm(points[:, UPPER_LIP] - points[:, LOWER_LIP], axis=1) / height
    corners = np.linalg.norm(points[:, LEFT_CORNER] - points[:, RIGHT_CORNER], axis=1) / height
    lips = np.stack([tracks["jaw_open"], gap, corners], 1)
    found = np.isfinite(lips).all(1)
    if not found.any():
        return np.zeros_like(lips, np.float32), found
    return np.nan_to_num(lips - np.median(lips[found], 0)).astype(np.float32), found


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
) -> nn.Linear:
    """Train the projector in place.

    Args:
        projector: speech windows -> audio tokens.
        clips: what is heard and seen.
        audio: its window.
        steps: optimizer steps of 128 frames.
        seed: of the draws.
        on_step: called with the step and its loss (1 = no better than the mean).

    Returns:
        The matrix from the mean token to the three lip values, in units of their standard deviations.

    Raises:
        DataError: no frame of the clips shows a face.
    """
    places = [
        (i, j) for i, clip in enumerate(clips) for j in np.flatnonzero(clip.found[: clip.features.n_frames])
    ]
    if not places:
        raise DataError("no frame with a face to listen to", "prepare clips with speech")
    deviation = np.concatenate([clip.lips[clip.found] for clip in clips]).std(0) + 1e-6
    head = nn.Linear(audio.token_width, N_TARGETS)
    trained = [*projector.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, weight_decay=0.02)
    for step in range(steps):
        rate = 2e-3 * min(1.0, (step + 1) / 50) * (0.01 + 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng([seed, step])
        chosen = [places[k] for k in rng.integers(len(places), size=BATCH)]
        windows = np.concatenate([clips[i].features.windows(int(j), 1, audio.margin) for i, j in chosen])
        target = np.stack([clips[i].lips[j] for i, j in chosen]) / deviation
        predicted = predict(projector, head, disturbed(windows, rng))
        loss = (predicted - torch.from_numpy(target.astype(np.float32)).to(predicted)).square().mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        on_step(step + 1, float(loss.detach()))
    return head


def predict(
    projector: nn.Module, head: nn.Linear, windows: Float[np.ndarray, "b s l e"]
) -> Float[Tensor, "b 3"]:
    """The lips that the mean audio token of each window tells."""
    tokens = projector(torch.from_numpy(windows).to(head.weight)[:, None])
    out: Tensor = head(tokens[:, 0].mean(1))
    return out
