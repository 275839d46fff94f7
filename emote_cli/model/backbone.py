"""Backbone: the denoising U-Net.

Per layer:

    resnet -> self-attention -> reference-attention -> audio-attention -> feed-forward -> TemporalModule

Frames are folded into the batch, `(b f) c h w`, everywhere but inside the TemporalModules. Paper 3.2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from emote_cli.model.attention import keys_values
from emote_cli.model.audio_module import AudioModuleBlock
from emote_cli.model.conditioning import NOT_HEARD, Conditioning, Heard, KeysValues, ReferenceFeatures
from emote_cli.model.layers import SpatialTransformer, TemporalModule, TransformerBlock
from emote_cli.model.normalize import GroupNorm
from emote_cli.model.unet import UNet, UNetLevel
from emote_cli.settings import FamilySettings, TemporalSettings, UNetSettings
from emote_cli.shapes import Maps, VideoLatents


class Backbone(UNet):
    """Noisy latents, timestep and Conditioning -> the prediction for every frame.

    Args:
        latent_channels: channels of the latents.
        shape: widths and depths.
        family: which blocks exist and how the reference and the audio enter.
        temporal: TemporalModules.
        audio_width: width of an audio token.
        speed_width: width of a speed token; None leaves speed layers out.
    """

    def __init__(
        self,
        *,
        latent_channels: int,
        shape: UNetSettings,
        family: FamilySettings,
        temporal: TemporalSettings,
        audio_width: int,
        speed_width: int | None,
    ) -> None:
        def attention(level: UNetLevel, width: int, incoming: int) -> nn.Module:
            block = TransformerBlock(
                width=width, shape=shape, family=family, audio_width=audio_width, is_reference=False
            )
            return SpatialTransformer(width=width, groups=shape.norm_groups, block=block)

        def audio_module(level: UNetLevel, width: int, incoming: int) -> nn.Module | None:
            if family.audio != "audio_module":
                return None
            block = AudioModuleBlock(width=incoming, shape=shape, audio_width=audio_width)
            return SpatialTransformer(width=width, groups=shape.norm_groups, block=block, inner=incoming)

        def motion(level: UNetLevel, width: int, incoming: int) -> nn.Module | None:
            if family.temporal_sites == "attention" and not level.has_attention:
                return None
            return TemporalModule(width, shape, temporal, speed_width)

        takes_reference = 2 if family.reference_latents else 1
        super().__init__(
            in_channels=latent_channels * takes_reference,
            shape=shape,
            attention=attention,
            audio_module=audio_module,
            motion=motion,
        )
        self.family = family
        self.gradient_checkpointing = False
        self.conv_norm_out = GroupNorm(shape.norm_groups, shape.block_channels[0], eps=1e-5)
        self.conv_out = nn.Conv2d(shape.block_channels[0], latent_channels, 3, padding=1)

    def project_reference(self, features: ReferenceFeatures) -> dict[str, KeysValues]:
        """Keys and values of the reference at every site, for all denoising steps of a video."""
        projected = {}
        for name, site in self.sites().items():
            tokens = rearrange(features[name], "b c h w -> b (h w) c")
            projected[name] = keys_values(site.block.reference_projection, tokens)
        return projected

    def hear_once(self, conditioning: Conditioning) -> Conditioning:
        """The same conditioning with keys and values of identity and audio, for all steps that are told it."""
        dtype, frames = self.conv_in.weight.dtype, 1
        audio = None
        if conditioning.audio is not None:
            frames, hears = conditioning.audio.shape[1], conditioning.hearing(len(conditioning.audio))
            if any(hears):
                hearing = [row[None] for row, hear in zip(conditioning.audio, hears, strict=True) if hear]
                audio = _fold(conditioning.audio if all(hears) else torch.cat(hearing), dtype)
        slot = self._slot(conditioning, frames)
        if self.family.audio == "text_slot":
            slot = audio
        heard = {}
        for level in self.levels():
            for index in range(len(level.attentions)):
                block: Any = level.at("attentions", index).block
                module = level.at("audio_modules", index)
                heard[level.site(index)] = Heard(
                    slot=None if slot is None or block.attn2 is None else keys_values(block.attn2, slot),
                    audio=None
                    if audio is None or block.audio_attn is None
                    else keys_values(block.audio_attn, audio),
                    branches=() if audio is None or module is None else module.block.hear(audio),
                )
        return replace(conditioning, heard=heard)

    def forward(
        self, noisy: VideoLatents, timestep: Int[Tensor, " b"], conditioning: Conditioning
    ) -> VideoLatents:
        """One denoising step.

        Args:
            noisy: noisy latents.
            timestep: 0 ... 999 per batch row.
            conditioning: everything else.
        """
        frames = noisy.shape[1]
        folded = self._with_reference_latents(noisy, conditioning).to(self.conv_in.weight.dtype)
        time = self.embed_time(timestep.repeat_interleave(frames), folded)
        maps = self.conv_in(folded)
        if conditioning.face_region is not None:
            region = conditioning.face_region.to(maps.dtype)
            maps = maps + (
                region if len(region) == len(maps) else repeat(region, "b c h w -> (b f) c h w", f=frames)
            )
        skips = [maps]
        for level in self.down_blocks:
            for index in range(len(level.resnets)):
                maps = self._layer(level, index, maps, time, frames, conditioning)
                skips.append(maps)
            if hasattr(level, "downsamplers"):
                maps = level.downsamplers[0](maps)
                skips.append(maps)
        maps = self._layer(self.mid_block, 0, maps, time, frames, conditioning)
        maps = self.mid_block.resnets[1](maps, time)
        for level in self.up_blocks:
            for index in range(len(level.resnets)):
                joined = torch.cat([maps, skips.pop()], 1)
                maps = self._layer(level, index, joined, time, frames, conditioning)
            if hasattr(level, "upsamplers"):
                maps = level.upsamplers[0](maps)
        maps = self.conv_out(nn.functional.silu(self.conv_norm_out(maps)))
        out: Tensor = rearrange(maps, "(b f) c h w -> b f c h w", f=frames)
        return out

    def _with_reference_latents(self, noisy: VideoLatents, conditioning: Conditioning) -> Maps:
        if self.family.reference_latents:
            assert conditioning.reference_latents is not None, "this model takes the reference latents"
            beside = repeat(conditioning.reference_latents, "b c h w -> b f c h w", f=noisy.shape[1])
            noisy = torch.cat([noisy, beside.to(noisy.dtype)], 2)
        return rearrange(noisy, "b f c h w -> (b f) c h w")

    def _layer(
        self, level: UNetLevel, index: int, maps: Maps, time: Tensor, frames: int, conditioning: Conditioning
    ) -> Maps:
        """One layer of a level, recomputed in the backward pass where memory is short."""
        if self.gradient_checkpointing and self.training:
            out: Tensor = checkpoint(
                self._run_layer, level, index, maps, time, frames, conditioning, use_reentrant=False
            )
            return out
        return self._run_layer(level, index, maps, time, frames, conditioning)

    def _run_layer(
        self, level: UNetLevel, index: int, maps: Maps, time: Tensor, frames: int, conditioning: Conditioning
    ) -> Maps:
        site = level.site(index)
        hears, heard = conditioning.hears_audio, conditioning.heard.get(site, NOT_HEARD)
        audio = _fold(conditioning.audio, self.conv_in.weight.dtype)
        maps = level.resnets[index](maps, time)
        attention = level.at("attentions", index)
        if attention is not None:
            maps = attention(
                maps,
                reference=conditioning.reference.get(site),
                sees_reference=conditioning.sees_reference,
                reference_in_turn=conditioning.reference_in_turn,
                slot=self._slot(conditioning, frames),
                audio=audio,
                hears=hears,
                heard=heard,
            )
        audio_module = level.at("audio_modules", index)
        if audio_module is not None and audio is not None:
            assert conditioning.regions is not None, "audio modules need region weights"
            maps = audio_module(
                maps,
                audio=audio,
                masks=conditioning.regions.masks[level.depth],
                scales=conditioning.regions.scales,
                hears=hears,
                heard=heard,
            )
        motion = level.at("motion_modules", index)
        if motion is not None and conditioning.temporal:
            maps = motion(maps, frames, conditioning.motion.get(site), conditioning.speed)
        return maps

    def _slot(self, conditioning: Conditioning, frames: int) -> Float[Tensor, "bf k d"] | None:
        """What enters SD's text slot: identity tokens, audio, or nothing."""
        if self.family.audio == "text_slot":
            return _fold(conditioning.audio, self.conv_in.weight.dtype)
        if conditioning.identity is None:
            return None
        identity = conditioning.identity.to(self.conv_in.weight.dtype)
        return repeat(identity, "b k d -> (b f) k d", f=frames)


def _fold(tokens: Float[Tensor, "b f k d"] | None, dtype: torch.dtype) -> Float[Tensor, "bf k d"] | None:
    return None if tokens is None else rearrange(tokens, "b f k d -> (b f) k d").to(dtype)
