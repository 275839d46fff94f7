"""What the Backbone is told: plain tensors in one object, with a null form for each part.

The same null serves dropout in training and guidance in animation: no reference, zero audio tokens, zero
motion features (also used before the first chunk), zero face-region features, zero speed tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.shapes import ImageLatents

ReferenceFeatures = Mapping[str, Float[Tensor, "pictures _ _ _"]]
"""Site (`down_blocks.0.attentions.1`) -> the normalized input of ReferenceNet's self-attention there."""


MotionFeatures = Float[Tensor, "b n _ _ _"]
"""Features of n motion frames at one site."""


class KeysValues(NamedTuple):
    """Keys and values of a cross-attention, computed once and used by every denoising step."""

    keys: Float[Tensor, "rows k d"]
    values: Float[Tensor, "rows k d"]


class RegionWeights(NamedTuple):
    """Where each of the three branches of Hallo's audio modules is heard, and how loud.

    Attributes:
        masks: per level, finest first: weights of the full, face and lip branch at every place of the
            picture.
        scales: of the three branches.
    """

    masks: tuple[Float[Tensor, "3 _"], ...]
    scales: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Reference(NamedTuple):
    """The reference, encoded once per video.

    Attributes:
        latents: of the picture.
        features: of ReferenceNet, by site.
        projected: keys and values of the Backbone's reference attention, by site.
    """

    latents: ImageLatents
    features: ReferenceFeatures
    projected: Mapping[str, KeysValues]


class Heard(NamedTuple):
    """Cached keys and values of one site's audio and identity tokens; None: computed per step.

    Attributes:
        slot: of what enters SD's text slot.
        audio: of the own audio layer.
        branches: of the three branches of Hallo's audio module.
    """

    slot: KeysValues | None = None
    audio: KeysValues | None = None
    branches: tuple[KeysValues, ...] = ()


NOT_HEARD = Heard()


class GuidedConditioning(NamedTuple):
    """What the two halves of classifier-free guidance are told.

    Attributes:
        conditional: everything.
        unconditional: no reference and no audio; None where guidance is off.
    """

    conditional: Conditioning
    unconditional: Conditioning | None


@dataclass(frozen=True, slots=True)
class Conditioning:
    """Everything a denoising step needs besides the noisy latents.

    Attributes:
        reference: site -> keys and values of the reference, one row per batch row (or per frame). Empty: no
            reference.
        sees_reference: which batch rows attend to the reference; None means all.
        reference_in_turn: whether frame i reads row i of the reference, modulo their number (Hallo); else the row
            of its batch row.
        reference_latents: for models that take them as extra channels, else None.
        motion: site -> features of the n motion frames; zeros when there are none yet. Empty: no motion
            frames.
        audio: audio tokens per frame; zeros are the null.
        hears_audio: which batch rows hear the audio; None means all. The others' tokens are zeros: attention to
            them is its output's bias, and not computed.
        face_region: FaceLocator's features, added after conv_in; None and zeros are the null.
        speed: speed tokens, one per frame; zeros are the null. None leaves the speed layers out.
        identity: face-identity tokens for models that have them, else None.
        regions: where each branch of Hallo's audio modules is heard; None for other families.
        temporal: whether TemporalModules run (not in stage 1, which sees single frames).
        heard: site -> keys and values of identity and audio, of `Backbone.hear_once`; empty: made in each step.
    """

    reference: Mapping[str, KeysValues] = field(default_factory=dict)
    sees_reference: tuple[bool, ...] | None = None
    reference_in_turn: bool = False
    reference_latents: ImageLatents | None = None
    motion: Mapping[str, MotionFeatures] = field(default_factory=dict)
    audio: Float[Tensor, "b f audio_tokens audio_width"] | None = None
    face_region: Float[Tensor, "region_rows region_width h w"] | None = None
    speed: Float[Tensor, "b f speed_width"] | None = None
    identity: Float[Tensor, "b identity_tokens identity_width"] | None = None
    regions: RegionWeights | None = None
    temporal: bool = True
    hears_audio: tuple[bool, ...] | None = None
    heard: Mapping[str, Heard] = field(default_factory=dict)

    def drop(
        self,
        *,
        reference: tuple[bool, ...] | None = None,
        audio: tuple[bool, ...] | None = None,
        motion: tuple[bool, ...] | None = None,
        face_region: tuple[bool, ...] | None = None,
        speed: tuple[bool, ...] | None = None,
    ) -> Conditioning:
        """Replace parts of chosen batch rows by what stands for "not told". For dropout in training, and for guidance.

        Args:
            reference: of each batch row, whether it is dropped; None drops none. The same for all others.
            audio: becomes zeros.
            motion: becomes zeros.
            face_region: becomes zeros.
            speed: becomes zeros.
        """
        return replace(
            self,
            sees_reference=_and_not(self.sees_reference, reference),
            reference_latents=_zero_rows(self.reference_latents, reference),
            motion={site: _zero_rows_of(maps, motion) for site, maps in self.motion.items()},
            audio=_zero_rows(self.audio, audio),
            face_region=_zero_rows(self.face_region, face_region),
            speed=_zero_rows(self.speed, speed),
            heard={},
        )

    def seeing(self, batch: int) -> tuple[bool, ...]:
        """Which batch rows attend to the reference."""
        return (bool(self.reference),) * batch if self.sees_reference is None else self.sees_reference

    def hearing(self, batch: int) -> tuple[bool, ...]:
        """Which batch rows hear the audio."""
        return (True,) * batch if self.hears_audio is None else self.hears_audio

    def null(self, batch: int) -> Conditioning:
        """The unconditional form for guidance: no reference, no audio; motion, region and speed stay."""
        every = (True,) * batch
        return replace(self.drop(reference=every, audio=every), hears_audio=(False,) * batch)


def join_halves(unconditional: Conditioning, conditional: Conditioning) -> Conditioning:
    """Both halves of guidance as one batch: first the rows of the unconditional one, then as many of the other."""
    assert conditional.audio is not None, "the audio tells how many rows there are"
    rows = len(conditional.audio)
    region = unconditional.face_region
    if region is None and conditional.face_region is not None:
        region = torch.zeros_like(conditional.face_region)
    return replace(
        conditional,
        sees_reference=tuple(sees for half in (unconditional, conditional) for sees in half.seeing(rows)),
        hears_audio=tuple(hears for half in (unconditional, conditional) for hears in half.hearing(rows)),
        reference_latents=_both(unconditional.reference_latents, conditional.reference_latents),
        motion={
            site: torch.cat([unconditional.motion[site], maps]) for site, maps in conditional.motion.items()
        },
        audio=_both(unconditional.audio, conditional.audio),
        face_region=_both(region, conditional.face_region),
        speed=_both(unconditional.speed, conditional.speed),
        identity=_both(unconditional.identity, conditional.identity),
        heard=_hear_both(unconditional, conditional),
    )


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return None if one is None or other is None else torch.cat([one, other])


def _hear_both(unconditional: Conditioning, conditional: Conditioning) -> dict[str, Heard]:
    """Keys and values of sound are there for the rows that hear; those of identity for all rows, or not at all."""
    if conditional.identity is None:
        return dict(conditional.heard)
    return {
        site: heard._replace(slot=_join_memory(unconditional.heard[site].slot, heard.slot))
        for site, heard in conditional.heard.items()
        if site in unconditional.heard
    }


def _join_memory(one: KeysValues | None, other: KeysValues | None) -> KeysValues | None:
    if one is None or other is None:
        return None
    return KeysValues(torch.cat([one.keys, other.keys]), torch.cat([one.values, other.values]))


def _zero_rows_of(value: Tensor, rows: tuple[bool, ...] | None) -> Tensor:
    if rows is None or not any(rows):
        return value
    if all(rows):
        return torch.zeros_like(value)
    keep = value.new_tensor([not row for row in rows])
    return value * keep.view(-1, *([1] * (value.ndim - 1)))


def _zero_rows(value: Tensor | None, rows: tuple[bool, ...] | None) -> Tensor | None:
    return None if value is None else _zero_rows_of(value, rows)


def _and_not(sees: tuple[bool, ...] | None, dropped: tuple[bool, ...] | None) -> tuple[bool, ...] | None:
    if dropped is None or not any(dropped):
        return sees
    return tuple(not drop and (sees is None or sees[row]) for row, drop in enumerate(dropped))
