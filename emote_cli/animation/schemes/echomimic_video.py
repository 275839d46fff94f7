"""EchoMimic's loop: the whole video is denoised at once, in windows that overlap; only then it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.animation.memory import Guard
from emote_cli.animation.quality import Recipe
from emote_cli.animation.schemes.guidance import guide_network
from emote_cli.animation.schemes.overlap import sample_overlapping, split_into_spans
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.model.adapters.echomimic import PUBLISHED, condition, encode_reference
from emote_cli.model.conditioning import KeysValues
from emote_cli.model.emo import Emo
from emote_cli.shapes import VideoLatents
from emote_cli.types import SpeechFeatures

AT_ONCE = 256
"""Frames whose sound goes to the device together."""


@dataclass(frozen=True, slots=True)
class EchoMimicInputs:
    """What a video is made from.

    Attributes:
        pixels: the portrait in [-1, 1].
        face_mask: box of the face, 0 or 1.
        features: of the speech.
    """

    pixels: Float[Tensor, "3 size size"]
    face_mask: Float[Tensor, "size size"]
    features: SpeechFeatures


@torch.inference_mode()
def sample_video(
    model: Emo,
    inputs: EchoMimicInputs,
    noise: VideoLatents,
    how: Recipe,
    guard: Guard,
) -> VideoLatents:
    """Sample the latents of all frames.

    Args:
        model: an EchoMimic model.
        inputs: portrait and speech.
        noise: of the whole video, standard normal; it is clamped here.
        how: how to sample.
        guard: runs each heavy piece of work; it may run it a second time.
    """
    settings, quirks = model.settings, PUBLISHED
    reference, region = guard(partial(_encode, model, inputs))
    tokens = _hear(model, inputs.features, noise.shape[1], noise.device)

    def denoise(noisy: VideoLatents, time: int, frames: list[int]) -> VideoLatents:
        audio = torch.cat([tokens[:, part] for part in split_into_spans(frames)], 1)
        both = condition(
            model, reference=reference, audio=audio, face_region=region, guided=how.guidance != 1.0
        )
        predicted: VideoLatents = guard(partial(guide_network(model, both, how), noisy, time))
        return predicted

    return sample_overlapping(
        denoise,
        noise.clamp(-quirks.noise_limit, quirks.noise_limit),
        NoiseSchedule(settings.diffusion),
        steps=how.steps,
        size=settings.temporal.chunk_frames,
        solver=how.solver,
        turn_short=quirks.turned_short_videos,
    )


def _encode(model: Emo, inputs: EchoMimicInputs) -> tuple[dict[str, KeysValues], Tensor]:
    """The reference's keys and values, and the face region's features: once per video."""
    reference = encode_reference(model, model.autoencoder.encode(inputs.pixels[None]))
    return reference, model.face_locator(inputs.face_mask[None, None])


def _hear(
    model: Emo, features: SpeechFeatures, count: int, device: torch.device
) -> Float[Tensor, "1 frames audio_tokens audio_width"]:
    """Audio tokens of `count` frames, brought to the device once: a step then takes its windows from there."""
    margin, dtype = model.settings.audio.margin, model.backbone.conv_in.weight.dtype
    pieces = []
    for start in range(0, count, AT_ONCE):
        windows = features.windows(start, min(AT_ONCE, count - start), margin)
        pieces.append(model.audio_projector(torch.from_numpy(windows)[None].to(device, dtype)))
    return torch.cat(pieces, 1)
