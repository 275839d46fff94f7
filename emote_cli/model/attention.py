"""Attention: the layer with SD's parameter names, and the ways in which this model attends."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Attention:
        """Another device or number format: what lay together does so again."""
        together = weights_together(self) is not None
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if together:
            lay_together(self)
        return self


def zero_output(attention: Attention) -> Attention:
    """Start an added attention layer as the identity of its residual block."""
    for parameter in attention.to_out.parameters():
        nn.init.zeros_(parameter)
    return attention


def keys_values(attention: Attention, memory: Tokens) -> KeysValues:
    """Project what is attended to, once, for many queries: one product where the weights lie together."""
    together = _together_now(attention)
    if together is None:
        return KeysValues(attention.to_k(memory), attention.to_v(memory))
    width = attention.to_q.out_features
    weight, bias = (None if part is None else part[width:] for part in together)
    assert weight is not None
    return KeysValues(*functional.linear(memory, weight, bias).chunk(2, -1))


@torch.no_grad()
def lay_together(model: nn.Module) -> None:
    """Bring the weights of queries, keys and values of one input into one piece of memory, wherever a model has them.

    One product then serves all three (`project`). The parameters keep their names and values, and are trained and
    saved as before.
    """
    with torch.inference_mode(False):
        for attention in model.modules():
            if (
                isinstance(attention, Attention)
                and attention.to_q.weight.shape == attention.to_k.weight.shape
            ):
                for parameters in _projections(attention):
                    for parameter, part in zip(parameters, torch.cat(parameters).chunk(3), strict=True):
                        parameter.data = part


def _projections(attention: Attention) -> list[tuple[Tensor, ...]]:
    """Weights of queries, keys and values, and their biases where there are any."""
    layers = (attention.to_q, attention.to_k, attention.to_v)
    biases = () if layers[0].bias is None else (tuple(layer.bias for layer in layers),)
    return [tuple(layer.weight for layer in layers), *biases]


def weights_together(attention: Attention) -> tuple[Tensor, Tensor | None] | None:
    """Weight, and bias, of the one product for queries, keys and values: a view; None where they lie apart."""
    weights, *biases = _projections(attention)
    weight = _as_one(weights)
    bias = _as_one(biases[0]) if biases else None
    if weight is None or (biases and bias is None):
        return None
    return weight, bias


def _as_one(parts: tuple[Tensor, ...]) -> Tensor | None:
    first, size = parts[0], parts[0].numel()
    for index, part in enumerate(parts):
        behind = first.storage_offset() + index * size
        if (
            part.shape != first.shape
            or not part.is_contiguous()
            or part.storage_offset() != behind
            or part.untyped_storage().data_ptr() != first.untyped_storage().data_ptr()
        ):
            return None
    rows = len(parts) * len(first)
    return first.detach().as_strided((rows, *first.shape[1:]), first.stride())


def _together_now(attention: Attention) -> tuple[Tensor, Tensor | None] | None:
    """`weights_together`, where no gradients have to reach the parameters and nobody traces the network."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    return weights_together(attention)


def project(
    attention: Attention, tokens: Float[Tensor, "b k d"]
) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b k d"], Float[Tensor, "b k d"]]:
    """Compute queries, keys and values of the same tokens: one product where their weights lie together."""
    together = _together_now(attention)
    if together is None:
        return attention.to_q(tokens), attention.to_k(tokens), attention.to_v(tokens)
    queries, keys, values = functional.linear(tokens, *together).chunk(3, -1)
    return queries, keys, values


def attend_itself(attention: Attention, tokens: Float[Tensor, "b k d"]) -> Float[Tensor, "b k d"]:
    """Let tokens attend to each other (self-attention)."""
    queries, keys, values = (_split(part, attention.heads) for part in project(attention, tokens))
    return _merged(attention, functional.scaled_dot_product_attention(queries, keys, values))


def attend(
    attention: Attention, tokens: Float[Tensor, "b q d"], memory: KeysValues
) -> Float[Tensor, "b q d"]:
    """Scaled dot-product attention with the layer's own projections.

    Args:
        attention: the layer.
        tokens: the queries.
        memory: keys and values, from `keys_values` of the same layer.
    """
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
    """Compute what attention to zero tokens gives everywhere: without biases, only the output's bias."""
    bias: Tensor = attention.to_out[0].bias  # type: ignore[assignment]
    return bias


def attend_rows(
    attention: Attention, tokens: Float[Tensor, "bf k d"], memory: KeysValues, rows: tuple[bool, ...] | None
) -> Float[Tensor, "bf k d"]:
    """Let tokens attend to memory that the frames of a batch row share; rows that see none get zeros.

    Args:
        attention: the layer.
        tokens: of all frames, those of a batch row one after the other.
        memory: of each batch row, or one row for all of them.
        rows: whether each batch row sees the memory; None: all do, and the memory has as many rows as the
            batch.
    """
    batch = len(memory.keys) if rows is None else len(rows)
    per_row = len(tokens) // batch
    shared = rearrange(tokens, "(b f) k d -> b (f k) d", b=batch)
    if rows is None or all(rows):
        out = attend(attention, shared, memory)
    else:
        keys, values = (part.expand(batch, -1, -1) for part in memory)
        parts = [
            attend(attention, shared[run], KeysValues(keys[run], values[run]))
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


class Listeners(NamedTuple):
    """Neighboring frames that all hear their sound, or all hear nothing.

    Attributes:
        frames: which, of all batch rows.
        known: where the keys and values of those that hear lie among the known ones; None: they hear nothing.
    """

    frames: slice
    known: slice | None

    def memory(self, attention: Attention, sound: Tokens, known: KeysValues | None) -> KeysValues:
        """Keys and values for the frames that hear something: the known ones, or made of their sound.

        Args:
            attention: the audio layer.
            sound: audio tokens of all frames.
            known: keys and values made once, from `Backbone.hear_once`; None: they are made here.
        """
        assert self.known is not None, "they hear nothing"
        if known is None:
            return keys_values(attention, sound[self.frames])
        return KeysValues(known.keys[self.known], known.values[self.known])


def plan_listeners(frames: int, hears: tuple[bool, ...] | None) -> list[Listeners]:
    """Group the frames by whether they hear.

    Args:
        frames: of all batch rows.
        hears: which batch rows hear; None: all.
    """
    rows = (True,) if hears is None else hears
    per_row, listeners, known = frames // len(rows), [], 0
    for run, hear in _runs(rows):
        own = slice(run.start * per_row, run.stop * per_row)
        count = own.stop - own.start
        listeners.append(Listeners(own, slice(known, known + count) if hear else None))
        known += count if hear else 0
    return listeners


def add_sound(
    attention: Attention,
    norm: nn.Module,
    tokens: Float[Tensor, "bf k d"],
    sound: Float[Tensor, "bf sound_tokens sound_width"],
    known: KeysValues | None = None,
    *,
    hears: tuple[bool, ...] | None = None,
    times: float = 1.0,
) -> Float[Tensor, "bf k d"]:
    """Tokens and their cross-attention to what is said in their own frame.

    Args:
        attention: the layer.
        norm: before it.
        tokens: one row per frame.
        sound: its tokens.
        known: keys and values of the sound of those frames that hear; None: they are made.
        hears: which batch rows hear; None: all. The others get what attention to zeros gives.
        times: how loud.
    """
    parts = []
    for listeners in plan_listeners(len(tokens), hears):
        part = tokens[listeners.frames]
        if listeners.known is None:
            added: Tensor = attend_silence(attention)
        else:
            added = attend(attention, norm(part), listeners.memory(attention, sound, known))
        parts.append(part + (added if times == 1 else times * added))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def attend_joined(
    attention: Attention,
    tokens: Float[Tensor, "bf k d"],
    memory: KeysValues,
    rows: tuple[bool, ...] | None,
    in_turn: bool = False,
) -> Float[Tensor, "bf k d"]:
    """Let tokens attend to themselves and to the reference in one softmax; rows that see none see only themselves.

    Args:
        attention: the layer.
        tokens: of all frames, batch row after batch row.
        memory: the reference's keys and values; frames share them.
        rows: which batch rows see the reference; None: all.
        in_turn: whether frame i reads row i, modulo their number, of the memory (Hallo); else its batch row's.
    """
    heads = attention.heads
    queries, keys, values = (_split(part, heads) for part in project(attention, tokens))
    shared = (_split(memory.keys.to(queries.dtype), heads), _split(memory.values.to(queries.dtype), heads))
    readers = plan_readers(len(tokens), len(memory.keys), rows, in_turn)
    return _merged(attention, attend_shared(queries, keys, values, shared, readers))
