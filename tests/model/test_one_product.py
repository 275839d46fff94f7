"""Queries, keys and values of one input come of one product, and nobody who saves or trains a model notices."""

import copy
from collections import Counter

import pytest
import torch
from small_models import build, condition, make_batch, paper_settings, timesteps, tiny_settings
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from emote_cli.model.attention import Attention, lay_together, project, weights_together
from emote_cli.model.checkpoint import load_model, save_model
from emote_cli.model.vae import MapAttention


class Products(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))

    @property
    def count(self) -> int:
        return self.calls["mm"] + self.calls["addmm"] + self.calls["bmm"]


def attentions(model) -> list[Attention]:
    return [module for module in model.modules() if isinstance(module, Attention)]


@pytest.mark.parametrize("reference", ["own_attention", "joined"])
@torch.no_grad()
def test_a_step_is_the_same_with_fewer_products(reference: str):
    settings = tiny_settings(reference=reference, reference_latents=False)
    model, batch = build(settings), make_batch(settings)
    conditioning = condition(model, batch)
    noisy, time = torch.randn_like(batch.target), timesteps()
    model(noisy, time, conditioning)  # some things are tried out once
    with FlopCounterMode(display=False) as apart_flop, Products() as apart:
        expected = model(noisy, time, conditioning)
    lay_together(model)
    with FlopCounterMode(display=False) as together_flop, Products() as together:
        out = model(noisy, time, conditioning)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    sites = len(model.backbone.sites())
    in_time = sum(
        len(module.attention_blocks)
        for module in model.backbone.modules()
        if hasattr(module, "attention_blocks")
    )
    # In time the frames ask, the motion frames are only read: keys and values are one product there.
    assert apart.count - together.count >= 2 * sites + in_time > 0
    assert apart_flop.get_total_flops() == together_flop.get_total_flops()


@torch.no_grad()
def test_with_biases():
    layer, maps = MapAttention(8, groups=2), torch.randn(2, 8, 3, 5)
    with Products() as apart:
        expected = layer(maps)
    lay_together(layer)
    with Products() as together:
        out = layer(maps)
    assert apart.count - together.count == 2
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_moved_models_lie_together_again_and_others_stay_apart():
    one, other = build(), build()
    lay_together(one)
    for model in (one, other):
        model.to(torch.float64).to(memory_format=torch.channels_last)
    same_input = [layer for layer in attentions(one) if layer.to_q.weight.shape == layer.to_k.weight.shape]
    assert same_input
    assert all(weights_together(layer) is not None for layer in same_input)
    assert all(weights_together(layer) is None for layer in attentions(other))
    assert torch.equal(*(next(iter(attentions(model))).to_k.weight for model in (one, other)))


@torch.no_grad()
def test_files_are_the_same(tmp_path):
    model = build(paper_settings())
    for name in ("apart", "together"):
        (tmp_path / name).mkdir()
        save_model(model, tmp_path / name)
        lay_together(model)
    apart, together = (load_model(tmp_path / name).state_dict() for name in ("apart", "together"))
    assert list(apart) == list(together)
    assert all(torch.equal(apart[name], together[name]) for name in apart)


def test_it_costs_no_memory_and_changes_with_the_parameters():
    """A view of the parameters themselves: what an optimizer or a copy does to them cannot be missed."""
    layer, tokens = Attention(16, 2), torch.randn(3, 5, 16)
    parameters = list(layer.parameters())
    lay_together(layer)
    assert all(old is new for old, new in zip(parameters, layer.parameters(), strict=True))
    weight, _ = weights_together(layer)
    assert weight.data_ptr() == layer.to_q.weight.data_ptr()
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    sum(part.square().sum() for part in project(layer, tokens)).backward()
    assert all(part.weight.grad.abs().sum() > 0 for part in (layer.to_q, layer.to_k, layer.to_v))
    optimizer.step()
    apart = copy.deepcopy(layer)
    with torch.no_grad():
        apart.to_k.weight.data = apart.to_k.weight.clone() * 2
        assert weights_together(apart) is None
        torch.testing.assert_close(project(apart, tokens)[1], 2 * layer.to_k(tokens))
        for part, own in zip(project(layer, tokens), (layer.to_q, layer.to_k, layer.to_v), strict=True):
            torch.testing.assert_close(part, own(tokens))


def test_cross_attention_is_left_alone():
    layer = Attention(16, 2, memory_width=24)
    lay_together(layer)
    assert weights_together(layer) is None
