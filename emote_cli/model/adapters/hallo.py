"""Hallo's way of conditioning (fudan-generative-vision/hallo), with its peculiarities as named switches.

Its network is this package's Backbone: reference joined to self-attention, four face-identity tokens in SD's
text slot, a three-branch audio module per site, TemporalModules at attention sites only.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.model.adapters import GuidedConditioning
from emote_cli.model.conditioning import Conditioning, KeysValues, MotionFeatures, RegionWeights
from emote_cli.model.emo import Emo
from emote_cli.settings import Settings
from emote_cli.shapes import ImageLatents

Features = Mapping[str, Float[Tensor, "pictures _ _ _"]]
IdentityTokens = Float[Tensor, "1 identity_tokens identity_width"]


class HalloQuirks(Settings):
    """What looks accidental in Hallo's code, but is what its weights are used with. All on: as published."""

    mixed_identity: bool = True
    """ReferenceNet's rows (all pictures, twice) see the tokens of nobody and of the face in turn."""
    alternating_reference: bool = True
    """The conditional frames read the reference of the unconditional and of the conditional half in turn."""
    half_features: bool = True
    """ReferenceNet's features are rounded to float16 on their way to the Backbone."""


PUBLISHED = HalloQuirks()


def encode_pictures(
    model: Emo,
    pictures: ImageLatents,
    identity: IdentityTokens,
    nobody: IdentityTokens | None,
    quirks: HalloQuirks = PUBLISHED,
) -> Features:
    """ReferenceNet on the reference and the motion frames, once per chunk.

    Args:
        model: a Hallo model.
        pictures: latents of the reference, then of the motion frames.
        identity: tokens of the face, one row.
        nobody: tokens of the zero embedding, one row; None without guidance.
        quirks: peculiarities.

    Returns:
        Per site one row per picture; with guidance first those of the unconditional half, then those of the
        other.
    """
    count = len(pictures)
    if nobody is None:
        features = model.reference_net(pictures, identity.expand(count, -1, -1))
    else:
        rows = torch.arange(2 * count, device=pictures.device)
        tokens = torch.cat([nobody, identity])[rows % 2 if quirks.mixed_identity else rows // count]
        features = model.reference_net(pictures.repeat(2, 1, 1, 1), tokens)
    if quirks.half_features:
        features = {site: maps.half().to(maps.dtype) for site, maps in features.items()}
    return features


def assemble(
    model: Emo,
    features: Features,
    *,
    identity: IdentityTokens,
    nobody: IdentityTokens | None,
    audio: Float[Tensor, "1 f audio_tokens audio_width"],
    face_region: Float[Tensor, "1 c h w"] | None,
    regions: RegionWeights,
    quirks: HalloQuirks = PUBLISHED,
) -> GuidedConditioning:
    """What the two halves of guidance are told in every denoising step of a chunk.

    Args:
        model: a Hallo model.
        features: of `encode_pictures`.
        identity: tokens of the face.
        nobody: tokens of the zero embedding; None without guidance.
        audio: audio tokens per frame.
        face_region: FaceLocator's features.
        regions: where the three audio branches are heard.
        quirks: peculiarities.
    """
    count = len(next(iter(features.values()))) // (1 if nobody is None else 2)
    frames = audio.shape[1]
    conditional = Conditioning(
        reference=_reference(model, features, count, frames, quirks),
        motion=_motion(features, slice(-count + 1, None)),
        audio=audio,
        face_region=face_region,
        identity=identity,
        regions=regions,
    )
    if nobody is None:
        return GuidedConditioning(conditional, None)
    unconditional = Conditioning(
        motion=_motion(features, slice(1, count)),
        audio=torch.zeros_like(audio),
        identity=nobody,
        regions=regions,
    )
    return GuidedConditioning(conditional, unconditional)


def _reference(
    model: Emo, features: Features, count: int, frames: int, quirks: HalloQuirks
) -> dict[str, KeysValues]:
    """Keys and values of the reference: one row for all frames, or one row per frame where they differ."""
    guided = len(next(iter(features.values()))) > count
    if not guided or not quirks.alternating_reference:
        return model.backbone.project_reference({site: maps[-count][None] for site, maps in features.items()})
    both = model.backbone.project_reference({site: maps[[0, count]] for site, maps in features.items()})
    turns = [(frames + frame) % 2 for frame in range(frames)]  # counted through both halves of the batch
    return {site: KeysValues(keys[turns], values[turns]) for site, (keys, values) in both.items()}


def _motion(features: Features, rows: slice) -> dict[str, MotionFeatures]:
    return {site: maps[rows][None] for site, maps in features.items()}


def condition(
    model: Emo,
    *,
    pictures: ImageLatents,
    embedding: Float[Tensor, "1 embedding"],
    audio: Float[Tensor, "1 f window layers embed"],
    face_mask: Float[Tensor, "1 3 image_height image_width"],
    regions: RegionWeights,
    guided: bool = True,
    quirks: HalloQuirks = PUBLISHED,
) -> GuidedConditioning:
    """Everything that a chunk's denoising steps are told.

    Args:
        model: a Hallo model.
        pictures: latents of the reference, then of the motion frames.
        embedding: of the face (ArcFace, not normalized); zeros if unknown.
        audio: speech features per frame and window.
        face_mask: box of the face, 0..1, three equal channels.
        regions: where the three audio branches are heard.
        guided: whether classifier-free guidance is on.
        quirks: peculiarities.
    """
    assert model.identity_projector is not None, "not a Hallo model"
    identity = model.identity_projector(embedding)
    nobody = model.identity_projector(torch.zeros_like(embedding)) if guided else None
    return assemble(
        model,
        encode_pictures(model, pictures, identity, nobody, quirks),
        identity=identity,
        nobody=nobody,
        audio=model.audio_projector(audio),
        face_region=model.face_locator(face_mask),
        regions=regions,
        quirks=quirks,
    )
