"""Group normalization without a copy: the same numbers as torch's, and maps that stay channels-last."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from emote_cli.model import normalize as module
from emote_cli.model.normalize import GroupNorm, normalize, normalize_on_cpu


def maps_of(dtype: torch.dtype, mean: float = 2.0) -> torch.Tensor:
    maps = torch.randn(3, 24, 7, 5, generator=torch.Generator().manual_seed(1)) * 3 + mean
    return maps.to(dtype).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float32, 1e-5), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)]
)
@pytest.mark.parametrize("way", [normalize, normalize_on_cpu])
@torch.no_grad()
def test_it_is_torchs(dtype: torch.dtype, near: float, way: Callable[..., torch.Tensor]):
    maps, weight, bias = maps_of(dtype), torch.randn(24), torch.randn(24)
    out = way(maps, 6, weight.to(dtype), bias.to(dtype), 1e-6)
    assert out.dtype == dtype
    assert out.is_contiguous(memory_format=torch.channels_last)
    exact = functional.group_norm(maps.double(), 6, weight.to(dtype).double(), bias.to(dtype).double(), 1e-6)
    torchs = functional.group_norm(maps, 6, weight.to(dtype), bias.to(dtype), 1e-6).double()
    torch.testing.assert_close(out.double(), exact, atol=near, rtol=near)
    assert (out.double() - exact).abs().max() <= 1.5 * (torchs - exact).abs().max() + 1e-6


@pytest.mark.parametrize("way", [normalize, normalize_on_cpu])
@torch.no_grad()
def test_a_large_mean_and_a_flat_map(way: Callable[..., torch.Tensor]):
    out = way(maps_of(torch.float32, mean=100.0), 6, torch.ones(24), torch.zeros(24), 1e-6)
    torch.testing.assert_close(
        out, functional.group_norm(maps_of(torch.float32, mean=100.0), 6), atol=1e-3, rtol=1e-3
    )
    flat = torch.full((1, 24, 3, 3), 7.0).to(memory_format=torch.channels_last)
    assert way(flat, 6, torch.ones(24), torch.zeros(24), 1e-6).abs().max() < 1


class Results(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.large: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.numel() == 3 * 24 * 7 * 5:
            views = {part.untyped_storage().data_ptr() for part in args if isinstance(part, torch.Tensor)}
            if out.untyped_storage().data_ptr() not in views:
                self.large.append(function.overloadpacket.__name__)
        return out


@torch.no_grad()
def test_only_the_result_is_as_large_as_the_maps():
    with Results() as results:
        normalize(maps_of(torch.float16), 6, torch.ones(24).half(), torch.zeros(24).half(), 1e-6)
    assert results.large[-2:] == ["empty_like", "addcmul"]
    made_by_the_test = ["mul", "add", "_to_copy", "_to_copy", "clone"]
    assert set(results.large[:-2]) <= {*made_by_the_test, "randn", "normal_"}


def test_who_goes_that_way(monkeypatch):
    """On a GPU without gradients; a device that cannot do it, or does something else, gets torch's own."""
    layer, maps = GroupNorm(6, 24), maps_of(torch.float32)
    asked: list[str] = []
    monkeypatch.setattr(module, "normalize", lambda *_: asked.append("ours") or maps)
    layer(maps)
    assert asked == []
    monkeypatch.setattr(module, "_is_turned_round", lambda _: True)
    monkeypatch.setattr(module, "_agrees", lambda *_: False)
    layer(maps)
    assert asked == []
    monkeypatch.setattr(module, "_agrees", lambda *_: True)
    layer(maps)
    assert asked == ["ours"]


@pytest.mark.parametrize(
    ("rows", "channels", "side", "groups", "dtype", "ours"),
    [
        (12, 64, 16, 32, torch.float32, True),  # small16, mini
        (12, 192, 16, 32, torch.float32, True),
        (12, 128, 8, 32, torch.float32, True),
        (12, 256, 8, 32, torch.float32, False),  # torch reads eight at a time
        (12, 256, 8, 32, torch.bfloat16, True),
        (12, 128, 4, 32, torch.float32, False),  # too few
        (5, 16, 16, 8, torch.float32, False),  # tiny
        (5, 32, 8, 8, torch.float32, False),
        (12, 64, 32, 32, torch.float32, False),  # torch reads whole rows
        (16, 192, 16, 32, torch.float32, False),  # too large for the cache
        (1, 64, 64, 8, torch.bfloat16, True),  # the Painter: as before, to the bit
    ],
)
@torch.no_grad()
def test_our_way_is_for_sizes_where_it_was_measured_to_be_faster(
    rows: int, channels: int, side: int, groups: int, dtype: torch.dtype, ours: bool, monkeypatch
):
    asked: list[str] = []
    maps = torch.zeros(rows, channels, side, side, dtype=dtype).to(memory_format=torch.channels_last)
    monkeypatch.setattr(module, "normalize_on_cpu", lambda *_: asked.append("ours") or maps)
    GroupNorm(groups, channels).to(dtype)(maps)
    assert bool(asked) == ours


def test_a_cpu_goes_its_own_way_but_in_training(monkeypatch):
    layer = GroupNorm(32, 64).bfloat16()
    maps = torch.randn(12, 64, 8, 8).bfloat16().to(memory_format=torch.channels_last)
    asked: list[str] = []
    monkeypatch.setattr(module, "normalize_on_cpu", lambda *_: asked.append("ours") or maps)
    layer(maps.contiguous())
    layer(maps)
    assert asked == []
    with torch.no_grad():
        layer(maps.contiguous())
        assert asked == []
        layer(maps)
    assert asked == ["ours"]


@pytest.mark.parametrize("fault", ["raises", "differs"])
def test_a_device_that_cannot_is_found_out(fault: str, monkeypatch):
    def fails(maps, *_):
        if fault == "raises":
            raise RuntimeError("result type Float can't be cast")
        return maps

    module._agrees.cache_clear()
    assert module._agrees("cpu", torch.float16, torch.float16)
    module._agrees.cache_clear()
    monkeypatch.setattr(module, "normalize", fails)
    assert not module._agrees("cpu", torch.float16, torch.float16)
    module._agrees.cache_clear()


def test_the_first_layer_that_trains_behind_frozen_ones():
    """Stage 3: torch 2.13 crashes on a CPU where channels-last maps need no gradient and the weights do."""
    maps = torch.randn(2, 64, 8, 8).to(memory_format=torch.channels_last)
    layer = GroupNorm(32, 64)
    torch.autograd.backward(layer(maps).square().sum())
    ours = layer.weight.grad.clone()
    layer.weight.grad = None
    torch.autograd.backward(layer(maps.clone().requires_grad_()).square().sum())
    assert torch.allclose(ours, layer.weight.grad, 1e-4, 1e-4)
