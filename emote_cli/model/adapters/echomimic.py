"""EchoMimic's way of conditioning (antgroup/echomimic, its audio-driven form).

Its network is this package's Backbone: reference joined to self-attention, audio in SD's text slot and three
times as loud, TemporalModules everywhere, no motion frames and no identity tokens.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.model.conditioning import Conditioning, GuidedConditioning, KeysValues, ReferenceFeatures
from emote_cli.model.emo import Emo
from emote_cli.settings_tree import Settings
from emote_cli.shapes import ImageLatents


class EchoMimicQuirks(Settings):
    """What looks accidental in EchoMimic's code, but is what its weights are used with."""

    half_features: bool = True
    """ReferenceNet's features are rounded to float16 on their way to the Backbone."""
    turned_short_videos: bool = True
    """A video shorter than one window is turned like a longer one: in step k it begins with its frame 2k."""
    noise_limit: float = 1.5
    """The noise that the video starts from is clamped to this on both sides of zero."""


PUBLISHED = EchoMimicQuirks()


def encode_reference(
    model: Emo, latents: ImageLatents, quirks: EchoMimicQuirks = PUBLISHED
) -> dict[str, KeysValues]:
    """Compute keys and values of the reference at every site: once per video.

    Args:
        model: an EchoMimic model.
        latents: of the portrait.
        quirks: what its published code does beside the network.
    """
    features: ReferenceFeatures = model.reference_net(latents)
    if quirks.half_features:
        features = {site: maps.half().to(maps.dtype) for site, maps in features.items()}
    return model.backbone.project_reference(features)


def condition(
    model: Emo,
    *,
    reference: dict[str, KeysValues],
    audio: Float[Tensor, "1 f audio_tokens audio_width"],
    face_region: Float[Tensor, "1 c h w"],
    guided: bool = True,
) -> GuidedConditioning:
    """Build what the two halves of guidance are told.

    Args:
        model: an EchoMimic model.
        reference: of `encode_reference`.
        audio: Whisper's vectors per frame; any number of them (published: 50).
        face_region: FaceLocator's features.
        guided: whether classifier-free guidance is on (the accelerated weights need none).
    """
    conditional = Conditioning(reference=reference, audio=audio, face_region=face_region)
    unconditional = Conditioning(audio=torch.zeros_like(audio), hears_audio=(False,)) if guided else None
    return GuidedConditioning(conditional, unconditional)
