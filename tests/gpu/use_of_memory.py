"""Sections of measure.py: how much memory each part takes, and what happens when there is not enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from machine import Machine, made_up, video


def memory(machine: Machine, model: str) -> dict[str, Any]:
    """What each part takes at its peak, without recordings and with them, and in which pools it lies."""
    import torch

    from emote_cli.animation.graphs import record_steps
    from emote_cli.animation.memory import estimate_need
    from emote_cli.animation.runtime import CudaRecorder

    animator = made_up(machine, model)
    runtime = animator.runtime
    torch.cuda.empty_cache()
    found: dict[str, Any] = {"weights": now()}
    with watch_parts(animator.model) as parts:
        video(animator, 2, 2)
    found["eager"] = {"parts_peak_gb": parts, "after": now(), "pools_gb": pools()}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    recorder = CudaRecorder(torch.device(machine.device))
    runtime.recorded = record_steps(animator.model, recorder, runtime.guard.busy, print)
    video(animator, 2, 2)
    found["recorded"] = {
        "recordings": len(runtime.recorded.recordings), "after": now(), "pools_gb": pools(),
    }  # fmt: skip
    needed = estimate_need(animator.model, runtime.precision.dtype.itemsize)
    more = found["recorded"]["after"]["peak_reserved_gb"] - found["eager"]["after"]["peak_reserved_gb"]
    found["said_gb"] = {
        "whole": needed.whole / 1e9,
        "low": needed.low / 1e9,
        "recorded": needed.recorded / 1e9,
    }
    found["recordings_took_gb"] = more
    return found


def now() -> dict[str, float]:
    """Gigabytes in use and kept, and their peaks since these were forgotten."""
    import torch

    names = ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved")
    return {
        name.replace("memory_", "").replace("max_", "peak_") + "_gb": getattr(torch.cuda, name)() / 1e9
        for name in names
    }


def pools() -> dict[str, float]:
    """Gigabytes of each of the allocator's pools and streams."""
    import torch

    found: dict[str, float] = {}
    for segment in torch.cuda.memory_snapshot():
        name = f"pool {segment['segment_pool_id']} stream {segment['stream']}"
        found[name] = found.get(name, 0.0) + segment["total_size"] / 1e9
    return found


@contextmanager
def watch_parts(model: Any) -> Iterator[dict[str, float]]:
    """Within it: gigabytes that a model's parts have in use at their peak."""
    import torch

    peaks: dict[str, float] = {}
    parts = {"step": model.backbone, "reference_net": model.reference_net, "decode": model.autoencoder}

    def watched(name: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        torch.cuda.reset_peak_memory_stats()
        out = work(*args, **kwargs)
        peaks[name] = max(peaks.get(name, 0.0), torch.cuda.max_memory_allocated() / 1e9)
        return out

    methods = {name: "decode" if name == "decode" else "forward" for name in parts}
    for name, part in parts.items():
        setattr(part, methods[name], partial(watched, name, getattr(part, methods[name])))
    yield peaks
    for name, part in parts.items():
        delattr(part, methods[name])


def memory_runs_out(machine: Machine) -> dict[str, Any]:
    """A card that the whole model fits on, but not its work: the back-off makes the same video."""
    import numpy as np
    import torch

    whole = made_up(machine, machine.models[0])
    weights = torch.cuda.memory_allocated()
    # Random weights differ from run to run of the generator: the same model is run twice.
    expected = video(whole, 2, 2)
    peak = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    told: list[str] = []
    whole.runtime.guard.on_lower = told.append
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((weights + 0.25 * (peak - weights)) / total)
    made = video(whole, 2, 2)
    return {
        "weights_gb": weights / 1e9,
        "peak_gb": peak / 1e9,
        "told": told,
        "lowered": whole.runtime.residence is not None,
        "largest_difference_of_255": int(np.abs(made.astype(int) - expected.astype(int)).max()),
    }
