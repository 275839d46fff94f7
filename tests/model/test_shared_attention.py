"""Attention to own and shared tokens in one softmax: who reads what, and that nobody's copy is made."""

import pytest
import torch

from emote_cli.model import shared_attention
from emote_cli.model.attention import Attention, attend_joined, keys_values
from emote_cli.model.shared_attention import Reader, attend_shared, can_merge, plan_readers

WHO = pytest.mark.parametrize(
    ("memory_rows", "sees", "in_turn"),
    [
        (1, None, False),
        (3, None, False),
        (15, None, False),
        (3, (True, False, True), False),
        (3, (False, True, True), False),
        (2, None, True),
        (4, (True,), True),
        (1, (False,), False),
    ],
)
FRAMES = 15


def slowly(queries, keys, values, shared, row_of):
    """Every frame by itself, with its own copy of what it reads."""
    out = []
    for frame, row in enumerate(row_of):
        own = [keys[frame], values[frame]]
        if row is not None:
            own = [torch.cat([part, other[row]], 1) for part, other in zip(own, shared, strict=True)]
        scores = (queries[frame] @ own[0].transpose(-1, -2) * queries.shape[-1] ** -0.5).softmax(-1)
        out.append(scores @ own[1])
    return torch.stack(out)


def rows_read(memory_rows, sees, in_turn) -> list[int | None]:
    """What the arguments mean, frame by frame."""
    rows = []
    for frame in range(FRAMES):
        row = frame % memory_rows if in_turn else frame // (FRAMES // memory_rows)
        seen = sees is None or sees[frame // (FRAMES // len(sees))]
        rows.append(row if seen else None)
    return rows


def test_readers_are_planned_from_plain_numbers():
    assert plan_readers(4, 1, None, False) == (Reader(slice(0, 4), 0),)
    assert plan_readers(5, 2, None, True) == (Reader(slice(0, None, 2), 0), Reader(slice(1, None, 2), 1))
    assert plan_readers(6, 3, (True, False, False), False) == (
        Reader(slice(0, 2), 0),
        Reader(slice(2, 6), None),
    )


@WHO
@pytest.mark.parametrize("merges", [True, False])
@torch.no_grad()
def test_it_is_one_softmax_over_both(memory_rows, sees, in_turn, merges, monkeypatch):
    queries, keys, values = (torch.randn(FRAMES, 2, 7, 8) * 2 for _ in range(3))
    shared = (torch.randn(memory_rows, 2, 11, 8) * 2, torch.randn(memory_rows, 2, 11, 8))
    assert can_merge(queries), "this torch tells no sums of exponentials on a CPU"
    monkeypatch.setattr(shared_attention, "can_merge", lambda _: merges)
    readers = plan_readers(FRAMES, memory_rows, sees, in_turn)
    out = attend_shared(queries, keys, values, shared, readers)
    expected = slowly(queries, keys, values, shared, rows_read(memory_rows, sees, in_turn))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_far_apart_scores_leave_no_nan():
    """One side's exponentials vanish beside the other's."""
    queries = torch.full((2, 1, 3, 8), 30.0)
    keys, values = torch.full((2, 1, 3, 8), -30.0), torch.zeros(2, 1, 3, 8)
    shared = (torch.full((1, 1, 4, 8), 30.0), torch.ones(1, 1, 4, 8))
    out = attend_shared(queries, keys, values, shared, plan_readers(2, 1, None, False))
    assert torch.equal(out, torch.ones_like(out))


def test_training_goes_the_way_with_gradients():
    layer, memory = Attention(16, 2), torch.randn(3, 11, 16)
    tokens = torch.randn(6, 7, 16, requires_grad=True)
    assert not can_merge(tokens[None])
    trained = attend_joined(layer, tokens, keys_values(layer, memory), (True, False, True))
    trained.square().sum().backward()
    assert all(part.grad.abs().sum() > 0 for part in (layer.to_q.weight, layer.to_k.weight, tokens))
    with torch.no_grad():
        merged = attend_joined(layer, tokens, keys_values(layer, memory), (True, False, True))
    torch.testing.assert_close(merged, trained, atol=1e-5, rtol=1e-5)


def test_where_the_sums_are_not_told_tokens_are_joined(monkeypatch):
    def fails(*_):
        raise RuntimeError("no such function")

    monkeypatch.setattr(shared_attention, "_with_weight", fails)
    shared_attention._tells_weight.cache_clear()
    try:
        with torch.no_grad():
            assert not can_merge(torch.zeros(1, 1, 1, 8))
            out = attend_shared(
                *(torch.ones(4, 1, 3, 8) for _ in range(3)),
                (torch.ones(1, 1, 2, 8), torch.zeros(1, 1, 2, 8)),
                plan_readers(4, 1, None, False),
            )
    finally:
        shared_attention._tells_weight.cache_clear()
    torch.testing.assert_close(out, torch.full_like(out, 3 / 5))
