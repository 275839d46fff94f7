"""One softmax over a frame's own tokens and over tokens that frames share, without a copy of those per frame.

Attention to own and to shared tokens is computed apart. Each has its sum of exponentials; the two results are averaged
with these sums as weights, which is what one softmax over both would give.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Heads = Float[Tensor, "b m k d"]
"""Queries, keys or values: `m` heads, `k` tokens."""


class Reader(NamedTuple):
    """Frames that read the same shared tokens; known before any work, so that nothing waits for the device.

    Attributes:
        frames: which.
        row: of the shared tokens; None: these frames see none.
    """

    frames: slice
    row: int | None


@lru_cache
def plan_readers(
    frames: int, memory_rows: int, sees: tuple[bool, ...] | None, in_turn: bool
) -> tuple[Reader, ...]:
    """Group the frames by what they read; together the readers hold every frame once.

    Args:
        frames: of all batch rows.
        memory_rows: rows of shared tokens: one per batch row, one per frame, or as many as are read in turn.
        sees: which batch rows see any; None: all.
        in_turn: of the frames that see, number i reads row i, modulo their number; else neighbors share a row.
            Batch rows that see come last.
    """
    if in_turn and (sees is None or any(sees)):
        blind = 0 if sees is None else sees.index(True)
        assert sees is None or all(sees[blind:]), "batch rows that read in turn come last"
        first = 0 if sees is None else blind * frames // len(sees)
        others = (Reader(slice(0, first), None),) if first else ()
        return *others, *(Reader(slice(first + row, None, memory_rows), row) for row in range(memory_rows))

    def row_of(frame: int) -> int | None:
        seen = sees is None or sees[frame * len(sees) // frames]
        return frame * memory_rows // frames if seen else None

    readers, start = [], 0
    for row, group in groupby(range(frames), row_of):
        stop = start + len(list(group))
        readers.append(Reader(slice(start, stop), row))
        start = stop
    return tuple(readers)


def attend_shared(
    queries: Heads,
    keys: Heads,
    values: Heads,
    shared: tuple[Float[Tensor, "rows m n d"], Float[Tensor, "rows m n d"]],
    readers: tuple[Reader, ...],
) -> Heads:
    """Let each frame attend to its own tokens and to the shared ones it reads.

    Args:
        queries: one row per frame.
        keys: own ones.
        values: own ones.
        shared: keys and values.
        readers: of `plan_readers`.
    """
    if not can_merge(queries):
        return _joined(queries, keys, values, shared, readers)
    mixed, weight = _with_weight(queries, keys, values)
    for frames, row in readers:
        if row is not None:
            asking = queries[frames]
            other, other_weight = _with_weight(asking, *_expanded(shared, row, len(asking)))
            share = torch.sigmoid(other_weight - weight[frames])[..., None]
            mixed[frames].lerp_(other, share.to(mixed.dtype))
    return mixed


def _expanded(shared: tuple[Tensor, Tensor], row: int, count: int) -> tuple[Tensor, Tensor]:
    """Shared keys and values as if there were `count` of them: a view, no copy."""
    keys, values = (part[row : row + 1].expand(count, -1, -1, -1) for part in shared)
    return keys, values


def _joined(
    queries: Tensor, keys: Tensor, values: Tensor, shared: tuple[Tensor, Tensor], readers: tuple[Reader, ...]
) -> Tensor:
    """The same with own and shared tokens side by side: copies, but any device and gradients."""
    mixed = torch.empty_like(queries)
    for frames, row in readers:
        asking, own = queries[frames], (keys[frames], values[frames])
        if row is not None:
            others = _expanded(shared, row, len(asking))
            own = (torch.cat([own[0], others[0]], 2), torch.cat([own[1], others[1]], 2))
        part = functional.scaled_dot_product_attention(asking, *own)
        if len(readers) == 1:
            return part
        mixed[frames] = part
    return mixed


def can_merge(queries: Heads) -> bool:
    """Whether sums of exponentials are to be had: not in training, nor in a compiled graph (not tried)."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return _tells_weight(queries.device.type, queries.dtype, queries.shape[-1])


@lru_cache
def _tells_weight(device: str, dtype: torch.dtype, width: int) -> bool:
    """Tried once on a few numbers: torch's own functions for this are not public, so they may change."""
    if device not in ("cpu", "cuda"):
        return False
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (
        torch.randn(2, 3, 33, width, generator=generator).to(device, dtype) for _ in range(3)
    )
    try:
        out, weight = _with_weight(queries, keys[:1].expand(2, -1, -1, -1), values)
    except (RuntimeError, AttributeError, TypeError):
        return False
    expected = torch.logsumexp(queries.float() @ keys[:1].float().transpose(-1, -2) * width**-0.5, -1)
    plain = functional.scaled_dot_product_attention(queries, keys[:1].expand(2, -1, -1, -1), values)
    near = 1e-5 if dtype == torch.float32 else 1e-2
    return torch.allclose(weight, expected, near, near) and torch.allclose(out, plain, near, near)


def _with_weight(
    queries: Heads, keys: Float[Tensor, "b m n d"], values: Float[Tensor, "b m n d"]
) -> tuple[Heads, Float[Tensor, "b m k"]]:
    """Attention, and the logarithm of each query's sum of exponentials."""
    aten = torch.ops.aten
    if queries.device.type == "cpu":
        out, weight = aten._scaled_dot_product_flash_attention_for_cpu(queries, keys, values)
    elif queries.dtype == torch.float32:
        out, weight, *_ = aten._scaled_dot_product_efficient_attention(queries, keys, values, None, True)
        weight = weight[..., : queries.shape[-2]]  # it is made in blocks
    else:
        out, weight, *_ = aten._scaled_dot_product_flash_attention(queries, keys, values)
    return out, weight
