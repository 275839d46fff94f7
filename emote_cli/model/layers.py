"""The layers of both U-Nets, named as in SD 1.5 and AnimateDiff, so that their weights load by name.

A spatial site, top-down:

    GroupNorm -> proj_in -> tokens
      + self-attention(norm1)                      norm1's output is what ReferenceNet taps
      + reference-attention(reference_norm)        keys and values from ReferenceNet, same site (paper 3.2)
      + audio-attention(audio_norm)                keys and values: windowed audio tokens (paper 3.2)
      + feed-forward(norm3)
    -> proj_out -> + input
"""

from __future__ import annotations

import math
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from emote_cli.model.attention import (
    Attention,
    add_sound,
    attend,
    attend_itself,
    attend_joined,
    attend_rows,
    keys_values,
    zero_output,
)
from emote_cli.model.blocks import FeedForward
from emote_cli.model.conditioning import NOT_HEARD, Heard, KeysValues
from emote_cli.model.normalize import GroupNorm
from emote_cli.settings import FamilySettings, TemporalSettings, UNetSettings
from emote_cli.shapes import Maps, Tokens


class TransformerBlock(nn.Module):
    """One spatial site's tokens through its attentions; which ones exist is the family's choice.

    Args:
        width: of the tokens.
        shape: heads and feed-forward.
        family: which attentions exist, and how strong the audio layer is.
        audio_width: length of an audio token; None: the block hears nothing.
        is_reference: whether it is ReferenceNet's: that one has no layers for reference and audio.
    """

    def __init__(
        self,
        *,
        width: int,
        shape: UNetSettings,
        family: FamilySettings,
        audio_width: int | None,
        is_reference: bool,
    ) -> None:
        super().__init__()
        self.audio_ratio, self.slot_is_audio = family.audio_ratio, family.audio == "text_slot"
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, shape.heads)
        self.reference_attn: Attention | None = None
        self.audio_attn: Attention | None = None
        self.attn2: Attention | None = None
        if family.reference == "own_attention" and not is_reference:
            self.reference_norm = nn.LayerNorm(width)
            self.reference_attn = Attention(width, shape.heads)
        text_width = self._text_width(family, audio_width, is_reference)
        if text_width is not None:
            self.norm2 = nn.LayerNorm(width)
            self.attn2 = Attention(width, shape.heads, text_width)
        if family.audio == "own_layer" and audio_width is not None and not is_reference:
            self.audio_norm = nn.LayerNorm(width)
            self.audio_attn = zero_output(Attention(width, shape.heads, audio_width))
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width, shape.feed_forward_mult)

    @staticmethod
    def _text_width(family: FamilySettings, audio_width: int | None, is_reference: bool) -> int | None:
        """Width of what enters SD's text slot: identity tokens, audio, or nothing."""
        if family.identity_tokens:
            return family.identity_width
        return audio_width if family.audio == "text_slot" and not is_reference else None

    def forward(
        self,
        tokens: Float[Tensor, "bf k d"],
        reference: KeysValues | None = None,
        sees_reference: tuple[bool, ...] | None = None,
        reference_in_turn: bool = False,
        slot: Float[Tensor, "bf slot_tokens slot_width"] | None = None,
        audio: Float[Tensor, "bf audio_tokens audio_width"] | None = None,
        hears: tuple[bool, ...] | None = None,
        heard: Heard = NOT_HEARD,
    ) -> Float[Tensor, "bf k d"]:
        """Run the site.

        Args:
            tokens: one row per frame.
            reference: keys and values from ReferenceNet; None leaves reference attention out.
            sees_reference: which batch rows attend to it; None means all.
            reference_in_turn: whether the frames read its rows in turn (`Conditioning`).
            slot: tokens for SD's text slot (identity, or EchoMimic's audio), one row per frame.
            audio: audio tokens for the own audio layer, one row per frame; None leaves it out.
            hears: which batch rows hear the audio, wherever it enters; None means all.
            heard: keys and values of slot and audio where they are known, of the frames that hear.
        """
        if sees_reference is not None and not any(sees_reference):
            reference = None
        normed = self.norm1(tokens)
        if self.reference_attn is None and reference is not None:
            told = attend_joined(self.attn1, normed, reference, sees_reference, reference_in_turn)
        else:
            told = attend_itself(self.attn1, normed)
        tokens = tokens + told
        if self.reference_attn is not None and reference is not None:
            seen = attend_rows(self.reference_attn, self.reference_norm(tokens), reference, sees_reference)
            tokens = tokens + seen
        if self.attn2 is not None and slot is not None:
            listeners = hears if self.slot_is_audio else None
            tokens = add_sound(
                self.attn2, self.norm2, tokens, slot, heard.slot, hears=listeners, times=self.audio_ratio
            )
        if self.audio_attn is not None and audio is not None:
            tokens = add_sound(self.audio_attn, self.audio_norm, tokens, audio, heard.audio, hears=hears)
        return tokens + self.ff(self.norm3(tokens))

    @property
    def reference_projection(self) -> Attention:
        """The layer whose keys and values the reference goes through."""
        return self.attn1 if self.reference_attn is None else self.reference_attn


class SpatialTransformer(nn.Module):
    """A map to tokens, through one TransformerBlock, and back to a map.

    Args:
        width: channels of the maps.
        groups: of the normalization.
        block: tokens -> tokens.
        inner: width of the block's tokens; None: `width`.
    """

    def __init__(self, *, width: int, groups: int, block: nn.Module, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or width
        self.norm = GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, inner, 1)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = nn.Conv2d(inner, width, 1)

    @property
    def block(self) -> Any:
        """The one block (a list only for the sake of SD's key names)."""
        return self.transformer_blocks[0]

    def tokens(self, maps: Maps) -> Tokens:
        """Normalize, project and flatten to one token per position."""
        return rearrange(self.proj_in(self.norm(maps)), "b c h w -> b (h w) c")

    def tap(self, maps: Maps) -> Maps:
        """What ReferenceNet exports here: the normalized input of self-attention, as a map."""
        tokens = self.block.norm1(self.tokens(maps))
        return rearrange(tokens, "b (h w) c -> b c h w", h=maps.shape[-2])

    def forward(self, maps: Maps, **conditions: object) -> Maps:
        """Run the block on the map; `conditions` are its keyword arguments."""
        tokens = self.block(self.tokens(maps), **conditions)
        back = rearrange(tokens, "b (h w) c -> b c h w", h=maps.shape[-2])
        out: Tensor = maps + self.proj_out(back)
        return out


def sinusoids(length: int, width: int) -> Float[Tensor, "1 length width"]:
    """Make the position table: sine on even channels, cosine on odd ones (AnimateDiff's); on the CPU in any context."""
    position = torch.arange(length, device="cpu").unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, device="cpu") * (-math.log(10000.0) / width))
    return torch.stack([torch.sin(position * rate), torch.cos(position * rate)], -1).flatten(1)[None]


class PositionEncoder(nn.Module):
    """Adds the position table to a sequence of frames.

    Args:
        width: of the tokens.
        length: largest number of frames.
    """

    pe: Tensor

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoids(length, width), persistent=False)

    def forward(self, tokens: Tokens) -> Tokens:
        """Positions count from the first motion frame."""
        return tokens + self.pe[:, : tokens.shape[1]].to(tokens.dtype)


class TemporalAttention(Attention):
    """Self-attention over frames at one place of the picture.

    Args:
        width: of the tokens.
        heads: of the attention.
        length: largest number of frames, motion frames included.
    """

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__(width, heads)
        self.pos_encoder = PositionEncoder(width, length)

    def forward(self, tokens: Tokens, asking_from: int = 0) -> Float[Tensor, "b _ d"]:
        """Add positions, attend; only tokens from `asking_from` on are answered."""
        placed = self.pos_encoder(tokens)
        if not asking_from:
            return attend_itself(self, placed)
        return attend(self, placed[:, asking_from:], keys_values(self, placed))


class TemporalBlock(nn.Module):
    """AnimateDiff's block: temporal self-attentions, then feed-forward.

    Args:
        width: of the tokens.
        shape: heads and feed-forward.
        temporal: number of attentions, and largest number of frames.
    """

    def __init__(self, width: int, shape: UNetSettings, temporal: TemporalSettings) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(
            TemporalAttention(width, shape.heads, temporal.max_frames)
            for _ in range(temporal.attention_blocks)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(temporal.attention_blocks))
        self.ff = FeedForward(width, shape.feed_forward_mult)
        self.ff_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tokens, motion_frames: int = 0) -> Float[Tensor, "b _ d"]:
        """One row per place of the picture, one token per frame; motion frames come first, and are cut off.

        They are only read, so the last attention and what follows leave them out.
        """
        last = len(self.attention_blocks) - 1
        for index, (norm, attention) in enumerate(zip(self.norms, self.attention_blocks, strict=True)):
            cut = motion_frames if index == last else 0
            tokens = tokens[:, cut:] + attention(norm(tokens), cut)
        out: Tensor = tokens + self.ff(self.ff_norm(tokens))
        return out


class TemporalTransformer(nn.Module):
    """AnimateDiff's temporal transformer on [motion frames | frames]; its output starts at zero.

    Args:
        width: channels of the maps.
        shape: heads, groups and feed-forward.
        temporal: number of attentions, and largest number of frames.
    """

    def __init__(self, width: int, shape: UNetSettings, temporal: TemporalSettings) -> None:
        super().__init__()
        self.norm = GroupNorm(32 if width % 32 == 0 else shape.norm_groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(width, shape, temporal)])
        self.proj_out = nn.Linear(width, width)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, maps: Maps, frames: int, motion: Float[Tensor, "b n c h w"] | None = None) -> Maps:
        """Let every place attend to itself in all frames, motion frames included; only `maps` come back.

        Args:
            maps: of all frames, those of a batch row one after the other.
            frames: how many of them belong to each batch row.
            motion: features of the frames before; None: there are none.
        """
        height, n = maps.shape[-2], 0
        tokens = rearrange(self.norm(maps), "(b f) c h w -> (b h w) f c", f=frames)
        if motion is not None:
            n = motion.shape[1]
            before = self.norm(rearrange(motion.to(maps.dtype), "b n c h w -> (b n) c h w"))
            tokens = torch.cat([rearrange(before, "(b n) c h w -> (b h w) n c", n=n), tokens], 1)
        tokens = self.proj_out(self.transformer_blocks[0](self.proj_in(tokens), n))
        # Frames come back before channels are named: the maps stay channels-last.
        back = rearrange(tokens, "(b h w) f c -> (b f) h w c", h=height, w=maps.shape[-1])
        out: Tensor = maps + back.permute(0, 3, 1, 2)
        return out


class TemporalModule(nn.Module):
    """Self-attention over frames behind the motion frames (cut off afterwards), then speed cross-attention.

    Paper 3.2. Starts as the identity: both outputs are zero-initialized.

    Args:
        width: channels of the maps.
        shape: heads, groups and feed-forward.
        temporal: number of attentions, and largest number of frames.
        speed_width: length of a speed embedding; None: no speed attention.
    """

    def __init__(
        self, width: int, shape: UNetSettings, temporal: TemporalSettings, speed_width: int | None
    ) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(width, shape, temporal)
        self.speed_attn: Attention | None = None
        if speed_width is not None:
            self.speed_norm = nn.LayerNorm(width)
            self.speed_position = PositionEncoder(width, temporal.max_frames)
            self.speed_token_position = PositionEncoder(speed_width, temporal.max_frames)
            self.speed_attn = zero_output(Attention(width, shape.heads, speed_width))

    def forward(
        self,
        maps: Maps,
        frames: int,
        motion: Float[Tensor, "b n c h w"] | None = None,
        speed: Float[Tensor, "b f l"] | None = None,
    ) -> Maps:
        """Run over `frames` maps per batch row.

        Args:
            maps: `(b f) c h w`.
            frames: f.
            motion: features of the motion frames at this site, put in front of the frames.
            speed: speed tokens per frame; None leaves the speed layer out.
        """
        maps = self.temporal_transformer(maps, frames, motion)
        return maps if self.speed_attn is None or speed is None else self._with_speed(maps, frames, speed)

    def _with_speed(self, maps: Maps, frames: int, speed: Float[Tensor, "b f l"]) -> Maps:
        assert self.speed_attn is not None
        height, width = maps.shape[-2:]
        tokens = rearrange(maps, "(b f) c h w -> b (h w f) c", f=frames)
        placed = rearrange(self.speed_norm(tokens), "b (p f) c -> (b p) f c", f=frames)
        placed = rearrange(self.speed_position(placed), "(b p) f c -> b (p f) c", b=len(speed))
        memory = keys_values(self.speed_attn, self.speed_token_position(speed))
        moved = attend(self.speed_attn, placed, memory)
        back = rearrange(moved, "b (h w f) c -> (b f) h w c", h=height, w=width, f=frames)
        return maps + back.permute(0, 3, 1, 2)
