"""Attention: the layer with SD's parameter names, and the ways in which this model attends."""

from __future__ import annotations

from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.model.conditioning import KeysValues
from emote_cli.model.shared_attention import attend_shared, plan_readers
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
    heads = attention.heads
    mixed = functional.scaled_dot_product_attention(
        _split(attention.to_q(tokens), heads), _split(memory.keys, heads), _split(memory.values, heads)
    )
    return _merged(attention, mixed)


def _split(value: Float[Tensor, "b k _"], heads: int) -> Float[Tensor, "b m k _"]:
    return rearrange(value, "b k (m d) -> b m k d", m=heads)


def _merged(attention: Attention, mixed: Float[Tensor, "b m k _"]) -> Float[Tensor, "b k d"]:
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
        parts = [
            attend(attention, shared[run], KeysValues(memory.keys[run], memory.values[run]))
            if sees
            else torch.zeros_like(shared[run])
            for run, sees in _runs(rows)
        ]
        out = torch.cat([part.to(parts[0].dtype) for part in parts])
    return rearrange(out, "b (f k) d -> (b f) k d", f=per_row)


def _runs(rows: tuple[bool, ...]) -> list[tuple[slice, bool]]:
    """Neighbors with the same value, as slices: what is read is known without a look at the device."""
    starts = [row for row in range(len(rows)) if row == 0 or rows[row] != rows[row - 1]]
    return [(slice(start, stop), rows[start]) for start, stop in pairwise([*starts, len(rows)])]


def attend_joined(
    attention: Attention,
    tokens: Float[Tensor, "bf k d"],
    memory: KeysValues,
    rows: tuple[bool, ...] | None,
    in_turn: bool = False,
) -> Float[Tensor, "bf k d"]:
    """Self-attention with the reference's keys in one softmax; rows that see none see only themselves.

    Args:
        attention: the layer.
        tokens: of all frames, batch row after batch row.
        memory: the reference's keys and values; frames share them.
        rows: which batch rows see the reference; None: all.
        in_turn: whether frame i reads row i, modulo their number, of the memory (Hallo); else its batch row's.
    """
    heads = attention.heads
    queries, keys, values = (
        _split(project(tokens), heads) for project in (attention.to_q, attention.to_k, attention.to_v)
    )
    shared = (_split(memory.keys.to(queries.dtype), heads), _split(memory.values.to(queries.dtype), heads))
    readers = plan_readers(len(tokens), len(memory.keys), rows, in_turn)
    return _merged(attention, attend_shared(queries, keys, values, shared, readers))
