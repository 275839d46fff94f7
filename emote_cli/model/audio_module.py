"""Hallo's audio module: one more transformer per site; three audio branches, each heard in its own place.

    tokens + self-attention(norm1)
      n = norm2(tokens)
      + scale_full * conv_full(mask_full * audio-attention_0(n))
      + scale_face * conv_face(mask_face * audio-attention_1(n))
      + scale_lip  * conv_lip (mask_lip  * audio-attention_2(n))
      + feed-forward(norm3)

The three convolutions are 1x1 and start at zero. Their biases are not masked: that is how the weights were
trained.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.model.attention import (
    Attention,
    Listeners,
    attend,
    attend_itself,
    attend_silence,
    keys_values,
    plan_listeners,
)
from emote_cli.model.blocks import FeedForward
from emote_cli.model.conditioning import NOT_HEARD, Heard, KeysValues
from emote_cli.settings import UNetSettings

BRANCHES = ("full", "face", "lip")


class AudioModuleBlock(nn.Module):
    """The token part of an audio module; `SpatialTransformer` wraps it.

    Args:
        width: channels of the maps.
        shape: heads and the width of the feed-forward part.
        audio_width: length of an audio token.
    """

    def __init__(self, *, width: int, shape: UNetSettings, audio_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, shape.heads)
        self.norm2 = nn.LayerNorm(width)
        for index, branch in enumerate(BRANCHES):
            setattr(self, f"attn2_{index}", Attention(width, shape.heads, audio_width))
            conv = nn.Conv2d(width, width, 1)
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            setattr(self, f"zero_conv_{branch}", conv)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width, shape.feed_forward_mult)

    def forward(
        self,
        tokens: Float[Tensor, "bf places d"],
        audio: Float[Tensor, "bf audio_tokens audio_width"],
        masks: Float[Tensor, "3 places"],
        scales: tuple[float, float, float],
        hears: tuple[bool, ...] | None = None,
        heard: Heard = NOT_HEARD,
    ) -> Float[Tensor, "bf places d"]:
        """Run the block.

        Args:
            tokens: one row per frame.
            audio: audio tokens of each frame.
            masks: weight of each branch at each place.
            scales: of the three branches.
            hears: which batch rows hear the audio; None means all.
            heard: keys and values of the three branches where they are known, of the frames that hear.
        """
        tokens = tokens + attend_itself(self.attn1, self.norm1(tokens))
        parts = [
            self._add_branches(listeners, tokens[listeners.frames], audio, masks, scales, heard)
            for listeners in plan_listeners(len(tokens), hears)
        ]
        out = parts[0] if len(parts) == 1 else torch.cat(parts)
        result: Tensor = out + self.ff(self.norm3(out))
        return result

    def _add_branches(
        self,
        listeners: Listeners,
        tokens: Float[Tensor, "f places d"],
        audio: Float[Tensor, "bf audio_tokens audio_width"],
        masks: Float[Tensor, "3 places"],
        scales: tuple[float, float, float],
        heard: Heard,
    ) -> Float[Tensor, "f places d"]:
        """The tokens of frames that all hear, or all do not, and what the three branches add to them."""
        normed, out = (None if listeners.known is None else self.norm2(tokens)), tokens
        for index, branch in enumerate(BRANCHES):
            layer, conv = getattr(self, f"attn2_{index}"), getattr(self, f"zero_conv_{branch}")
            mask, weight = masks[index, :, None].to(tokens.dtype), conv.weight[:, :, 0, 0]
            if (
                normed is None
            ):  # the same vector everywhere: one row through the convolution, not one per place
                added = mask * functional.linear(attend_silence(layer), weight) + conv.bias
            else:
                known = heard.branches[index] if heard.branches else None
                memory = listeners.memory(layer, audio, known)
                added = functional.linear(attend(layer, normed, memory) * mask, weight, conv.bias)
            out = out + scales[index] * added
        return out

    def hear(self, audio: Float[Tensor, "bf audio_tokens audio_width"]) -> tuple[KeysValues, ...]:
        """Keys and values of the three branches."""
        return tuple(keys_values(getattr(self, f"attn2_{index}"), audio) for index in range(len(BRANCHES)))
