"""Hallo's way of conditioning (fudan-generative-vision/hallo), with its peculiarities as named switches.

Its network is this package's Backbone: reference joined to self-attention, four face-identity tokens in SD's
text slot, a three-branch audio module per site, TemporalModules at attention sites only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.model.conditioning import Conditioning, GuidedConditioning, KeysValues, RegionWeights
from emote_cli.model.emo import Emo
from emote_cli.settings_tree import Settings
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


class HalloVideo(NamedTuple):
    """What all chunks of a video share: computed once.

    Attributes:
        features: of the reference, a row for each of `tokens`' rows that read it.
        reference: keys and values that the conditional frames attend to.
        identity: tokens of the face.
        nobody: tokens of the zero embedding; None without guidance.
        face_region: FaceLocator's features.
        regions: where the three audio branches are heard.
        quirks: peculiarities.
    """

    features: Features
    reference: dict[str, KeysValues]
    identity: IdentityTokens
    nobody: IdentityTokens | None
    face_region: Float[Tensor, "1 c h w"] | None
    regions: RegionWeights
    quirks: HalloQuirks


def told_face(count: int, guided: bool, quirks: HalloQuirks) -> list[int]:
    """Tell which rows of ReferenceNet see the tokens of the face (1) and which those of nobody (0).

    Args:
        count: pictures: the reference, then the motion frames.
        guided: whether the rows stand there twice, first for the unconditional half.
        quirks: peculiarities.
    """
    if not guided:
        return [1] * count
    return [row % 2 if quirks.mixed_identity else row // count for row in range(2 * count)]


def encode_rows(
    model: Emo,
    pictures: ImageLatents,
    identity: IdentityTokens,
    nobody: IdentityTokens | None,
    told: list[int],
    quirks: HalloQuirks = PUBLISHED,
) -> Features:
    """Run ReferenceNet on pictures, each of which is told of the face (1) or of nobody (0).

    Args:
        model: a Hallo model.
        pictures: latents, a row for each entry of `told`.
        identity: tokens of the face.
        nobody: tokens of nobody; None without guidance: every row is told of the face.
        told: for each picture, 1 if it is told of the face, 0 if of nobody.
        quirks: what Hallo's published code does beside the network.
    """
    both = torch.cat([identity if nobody is None else nobody, identity])
    features = model.reference_net(pictures, both[told])
    if quirks.half_features:
        features = {site: maps.half().to(maps.dtype) for site, maps in features.items()}
    return features


def encode_pictures(
    model: Emo,
    pictures: ImageLatents,
    identity: IdentityTokens,
    nobody: IdentityTokens | None,
    quirks: HalloQuirks = PUBLISHED,
) -> Features:
    """Encode all of a chunk's rows at once, as Hallo's own code does; the other functions here share them out.

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
    told = told_face(len(pictures), nobody is not None, quirks)
    twice = pictures if nobody is None else pictures.repeat(2, 1, 1, 1)
    return encode_rows(model, twice, identity, nobody, told, quirks)


def encode_video(
    model: Emo,
    *,
    picture: ImageLatents,
    embedding: Float[Tensor, "1 embedding"],
    face_mask: Float[Tensor, "1 3 image_height image_width"],
    regions: RegionWeights,
    guided: bool = True,
    quirks: HalloQuirks = PUBLISHED,
) -> HalloVideo:
    """Encode everything that does not change from chunk to chunk.

    Args:
        model: a Hallo model.
        picture: latents of the reference, one row.
        embedding: of the face (ArcFace, not normalized); zeros if unknown.
        face_mask: box of the face, 0..1, three equal channels.
        regions: where the three audio branches are heard.
        guided: whether classifier-free guidance is on.
        quirks: peculiarities.
    """
    assert model.identity_projector is not None, "not a Hallo model"
    settings = model.settings.temporal
    identity = model.identity_projector(embedding)
    nobody = model.identity_projector(torch.zeros_like(embedding)) if guided else None
    told = told_face(settings.motion_frames + 1, guided, quirks)[:: settings.motion_frames + 1]
    features = encode_rows(model, picture.expand(len(told), -1, -1, -1), identity, nobody, told, quirks)
    return HalloVideo(
        features=features,
        reference=project_reference(model, features, settings.chunk_frames, quirks),
        identity=identity,
        nobody=nobody,
        face_region=model.face_locator(face_mask),
        regions=regions,
        quirks=quirks,
    )


def encode_motion(model: Emo, video: HalloVideo, motion: ImageLatents | None) -> Features:
    """Encode the motion frames: rows of the unconditional half (with guidance), then of the other.

    Before the first chunk (None) the portrait stands in for all of them, and its rows are there already.

    Args:
        model: a Hallo model.
        video: what is encoded once per video.
        motion: latents of the n frames before this chunk; None before the first chunk.
    """
    count, guided = model.settings.temporal.motion_frames + 1, video.nobody is not None
    told = told_face(count, guided, video.quirks)
    known = told[::count]
    wanted = [whose for row, whose in enumerate(told) if row % count]
    if motion is None:
        assert set(wanted) <= set(known), "the portrait was not encoded for everybody"
        rows = [known.index(whose) for whose in wanted]
        return {site: maps[rows] for site, maps in video.features.items()}
    twice = motion.repeat(2, 1, 1, 1) if guided else motion
    return encode_rows(model, twice, video.identity, video.nobody, wanted, video.quirks)


def project_reference(
    model: Emo, features: Features, frames: int, quirks: HalloQuirks
) -> dict[str, KeysValues]:
    """Compute keys and values of the reference: one row for all frames, or two that they read in turn.

    Args:
        model: a Hallo model.
        features: the reference's rows: with guidance that of the unconditional half and that of the other.
        frames: of a chunk.
        quirks: peculiarities.
    """
    guided = len(next(iter(features.values()))) == 2
    if not guided or not quirks.alternating_reference:
        return model.backbone.project_reference({site: maps[-1:] for site, maps in features.items()})
    if frames % 2:  # turns are counted through both halves of the batch: frame 0 is number `frames`
        features = {site: maps.flip(0) for site, maps in features.items()}
    return model.backbone.project_reference(features)


def condition(
    model: Emo,
    video: HalloVideo,
    *,
    motion: ImageLatents | None,
    audio: Float[Tensor, "1 f window layers embed"],
) -> GuidedConditioning:
    """Build what the two halves of guidance are told in every denoising step of a chunk.

    Args:
        model: a Hallo model.
        video: of `encode_video`.
        motion: latents of the motion frames; None before the first chunk.
        audio: speech features per frame and window.
    """
    return assemble(model, video, encode_motion(model, video, motion), model.audio_projector(audio))


def assemble(
    model: Emo,
    video: HalloVideo,
    motion: Features,
    audio: Float[Tensor, "1 f audio_tokens audio_width"],
) -> GuidedConditioning:
    """Join the conditioning of a chunk from encoded motion frames and audio tokens.

    Args:
        model: a Hallo model.
        video: what is encoded once per video.
        motion: from `encode_motion`.
        audio: tokens of the chunk's frames.

    Returns:
        With guidance both halves, else the conditional one only.
    """
    n = model.settings.temporal.motion_frames
    rows = len(next(iter(video.reference.values())).keys)
    conditional = Conditioning(
        reference=video.reference,
        reference_in_turn=rows > 1,
        motion={site: maps[-n:][None] for site, maps in motion.items()},
        audio=audio,
        face_region=video.face_region,
        identity=video.identity,
        regions=video.regions,
    )
    if video.nobody is None:
        return GuidedConditioning(model.backbone.hear_once(conditional), None)
    unconditional = Conditioning(
        motion={site: maps[:n][None] for site, maps in motion.items()},
        audio=torch.zeros_like(audio),
        hears_audio=(False,),
        identity=video.nobody,
        regions=video.regions,
    )
    return GuidedConditioning(model.backbone.hear_once(conditional), model.backbone.hear_once(unconditional))
