"""Attention: the layer with SD's parameter names, and the ways in which this model attends."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.model.conditioning import KeysValues
from emote_cli.shapes import Tokens


class Attention(nn.Module):
    """Projections of a multi-head attention; the functions below compute with them.

    Args:
        width: of the tokens that ask.
        heads: how many; the width is divided among them.
        memory_width: of the tokens that are attended to; None: `width`.
        bias: whether queries, keys and values have one (SD's U-Net: no, its VAE: yes).
    """

    def __init__(
        self, width: int, heads: int, memory_width: int | None = None, *, bias: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k = nn.Linear(memory_width or width, width, bias=bias)
        self.to_v = nn.Linear(memory_width or width, width, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])


def zero_output(attention: Attention) -> Attention:
    """Start an added attention layer as the identity of its residual block."""
    for parameter in attention.to_out.parameters():
        nn.init.zeros_(parameter)
    return attention


def keys_values(attention: Attention, memory: Tokens) -> KeysValues:
    """Project what is attended to, once, for many queries."""
    return KeysValues(attention.to_k(memory), attention.to_v(memory))


def attend(
    attention: Attention, tokens: Float[Tensor, "b q d"], memory: KeysValues
) -> Float[Tensor, "b q d"]:
    """Scaled dot-product attention with the layer's own projections."""

    def split(value: Tensor) -> Tensor:
        return rearrange(value, "b k (m d) -> b m k d", m=attention.heads)

    mixed = functional.scaled_dot_product_attention(
        split(attention.to_q(tokens)), split(memory.keys), split(memory.values)
    )
    out: Tensor = attention.to_out[0](rearrange(mixed, "b m k d -> b k (m d)"))
    return out


def attend_silence(attention: Attention) -> Float[Tensor, " d"]:
    """What attention to zero tokens gives everywhere: without biases their values are zero, so only the output's."""
    bias: Tensor = attention.to_out[0].bias  # type: ignore[assignment]
    return bias


def attend_rows(
    attention: Attention, tokens: Float[Tensor, "bf k d"], memory: KeysValues, rows: tuple[bool, ...] | None
) -> Float[Tensor, "bf k d"]:
    """Cross-attention to memory that the frames of a batch row share; rows that see none get zeros."""
    per_row = len(tokens) // len(memory.keys)
    shared = rearrange(tokens, "(b f) k d -> b (f k) d", f=per_row)
    if rows is None or all(rows):
        out = attend(attention, shared, memory)
    else:
        seen = torch.tensor(
            [row for row, sees in enumerate(rows) if sees], device=tokens.device, dtype=torch.long
        )
        out = torch.zeros_like(shared)
        if len(seen):
            part = KeysValues(memory.keys[seen], memory.values[seen])
            out = out.index_copy(0, seen, attend(attention, shared[seen], part).to(out.dtype))
    return rearrange(out, "b (f k) d -> (b f) k d", f=per_row)


def attend_joined(
    attention: Attention, tokens: Float[Tensor, "bf k d"], memory: KeysValues, rows: tuple[bool, ...] | None
) -> Float[Tensor, "bf k d"]:
    """Self-attention with the reference's keys in one softmax; rows that see none see only themselves."""
    own = keys_values(attention, tokens)
    keys, values = (_per_frame(value, len(tokens)) for value in memory)

    def joined(index: Tensor | slice) -> Tensor:
        both = KeysValues(
            torch.cat([own.keys[index], keys[index].to(own.keys.dtype)], 1),
            torch.cat([own.values[index], values[index].to(own.values.dtype)], 1),
        )
        return attend(attention, tokens[index], both)

    if rows is None or all(rows):
        return joined(slice(None))
    sees = torch.tensor(rows, device=tokens.device).repeat_interleave(len(tokens) // len(rows))
    alone = ~sees
    out = torch.empty_like(tokens)
    if bool(alone.any()):
        out[alone] = attend(attention, tokens[alone], KeysValues(own.keys[alone], own.values[alone])).to(
            out.dtype
        )
    if bool(sees.any()):
        out[sees] = joined(sees).to(out.dtype)
    return out


def _per_frame(value: Tensor, count: int) -> Tensor:
    return value if len(value) == count else repeat(value, "b k d -> (b f) k d", f=count // len(value))
