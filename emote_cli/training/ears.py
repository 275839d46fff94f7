"""A head start for the mini's ears: its audio projector learns to tell the lips before stage 1.

Without a pretrained speech encoder the network would first have to find out, through noise, what in the sound moves a
mouth. So the audio projector learns first that the mean audio token of a frame predicts, through one matrix, how far
the jaw, the lips and the mouth's corners are from their usual place. That is minutes on one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from emote_cli.data.dataset import ClipArrays, LazyClip
from emote_cli.data.lips import N_LIPS
from emote_cli.model.emo import Emo
from emote_cli.settings import AudioSettings
from emote_cli.training.observer import Observer
from emote_cli.training.settings import TrainSettings
from emote_cli.training.teacher import (
    BATCH,
    HeardLips,
    Teacher,
    fit_teacher,
    gather,
    heard_lips,
    mean_tokens,
    places_of,
)


def give_ears(
    model: Emo, settings: TrainSettings, clips: Sequence[ClipArrays | LazyClip], observer: Observer
) -> None:
    """Warm the audio projector up, and open the audio layers: zeros would not let it through."""
    heard, audio = heard_lips(clips), model.settings.audio
    last: list[float] = []

    def on_step(step: int, loss: float) -> None:
        last[:] = [loss]
        observer.on_warm_up(step, settings.audio_warm_up)

    warm_up(
        model.audio_projector, heard, audio, steps=settings.audio_warm_up, seed=settings.seed, on_step=on_step
    )
    open_audio_layers(model, fit_teacher(model.audio_projector, heard, audio), settings.seed)
    observer.on_note(
        f"audio warmed up on {len(heard)} clips: loss {last[0]:.2f} (1 is no better than the mean)"
    )


@torch.no_grad()
def open_audio_layers(model: Emo, teacher: Teacher, seed: int) -> None:
    """Initialize the audio layers so that speech has an effect from step 0: values carry what the teacher reads."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, value in model.named_parameters():
            if name.endswith("audio_attn.to_out.0.weight"):
                torch.nn.init.normal_(value, std=0.04)
            elif name.endswith(("audio_attn.to_q.weight", "audio_attn.to_k.weight")):
                torch.nn.init.normal_(value, std=0.02)
            elif name.endswith("audio_attn.to_v.weight"):
                rows = torch.arange(len(value)) % len(teacher.readout)
                sign = torch.where(torch.rand(len(value), 1) < 0.5, -1.5, 1.5)
                value.copy_(teacher.readout[rows] * sign + 0.01 * torch.randn(value.shape))


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
