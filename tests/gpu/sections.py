"""What a GPU is asked, section by section: see measure.py. Each section gives what becomes its JSON, or a text."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from machine import Machine, made_up, milliseconds, video, wait
from use_of_memory import memory, memory_runs_out


def bench(machine: Machine, model: str, how: str) -> dict[str, Any]:
    """One model in all qualities: `how` is eager, graphs, compiled or low."""
    from emote_cli.animation.bench import bench as run
    from emote_cli.animation.options import Quality, Tuning

    tuning = Tuning(
        compile=how == "compiled", low_memory=how == "low", cuda_graphs=how == "graphs", tell=print
    )
    qualities: tuple[Quality, ...] = ("paper", "balanced", "fast")
    if how in ("low", "compiled") or machine.is_tiny:
        qualities = ("fast",)
    report = run(
        model, qualities, repeat=machine.repeat, random_weights=True, device=machine.device, tuning=tuning
    )
    return report.as_dict()


def guidance(machine: Machine) -> dict[str, Any]:
    """Milliseconds that the network takes in a guided step, and memory: halves one after the other, or in one batch."""
    import torch

    from emote_cli.animation.schemes.guidance import AT_ONCE_MOST

    found: dict[str, Any] = {}
    steps, usual = 2 if machine.is_tiny else 4, AT_ONCE_MOST.get(machine.device, 0)
    for model in machine.models:
        animator = made_up(machine, model)
        network, spent = animator.model.backbone, [0.0]
        forward = network.forward

        def timed(*inputs: Any, forward: Any = forward, spent: list[float] = spent) -> Any:
            wait(machine)
            begin = time.perf_counter()
            out = forward(*inputs)
            wait(machine)
            spent[0] += time.perf_counter() - begin
            return out

        network.forward = timed
        ways: dict[str, dict[str, list[float]]] = {
            way: {"ms": [], "peak_gb": []} for way in ("one after the other", "one batch")
        }
        for turn in range(2 * (1 + machine.repeat)):  # in turn; the first of each warms up
            way = tuple(ways)[turn % 2]
            AT_ONCE_MOST[machine.device] = 10**12 if way == "one batch" else 0
            spent[0] = 0.0
            torch.cuda.reset_peak_memory_stats()
            video(animator, 1, steps)
            if turn > 1:
                ways[way]["ms"].append(spent[0] / steps * 1e3)
                ways[way]["peak_gb"].append(torch.cuda.max_memory_allocated() / 1e9)
        AT_ONCE_MOST[machine.device] = usual
        found[model] = {
            way: {name: statistics.median(values) for name, values in figures.items()}
            for way, figures in ways.items()
        }
        del animator, network, forward
        torch.cuda.empty_cache()
    return found


def profile(machine: Machine, model: str) -> str:
    """Where the time of denoising goes: the operators that take most of it."""
    from torch.profiler import ProfilerActivity, profile

    animator = made_up(machine, model)
    video(animator, 1, 1)  # warm
    watched = [ProfilerActivity.CPU] if machine.is_tiny else [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=watched) as found:
        video(animator, 1, 2)
    waits = [
        event for event in found.events() if "Synchronize" in event.name or "_local_scalar" in event.name
    ]
    table = found.key_averages().table(
        sort_by="self_cpu_time_total" if machine.is_tiny else "self_device_time_total", row_limit=40
    )
    return f"{table}\nwaits of the host: {len(waits)}\n"


def normalization(machine: Machine) -> dict[str, Any]:
    """Milliseconds of one group normalization of channels-last maps and the convolution behind it: torch's and ours."""
    import torch
    from torch.nn import functional

    from emote_cli.model.normalize import normalize

    found = {}
    for width, side in ((320, 64), (640, 32), (1280, 16))[: 1 if machine.is_tiny else 3]:
        size = (2, width, 8, 8) if machine.is_tiny else (16, width, side, side)
        dtype = torch.float32 if machine.is_tiny else torch.float16
        maps = torch.randn(size, device=machine.device).to(dtype).to(memory_format=torch.channels_last)
        kernel = (
            torch.randn(width, width, 3, 3, device=machine.device)
            .to(dtype)
            .to(memory_format=torch.channels_last)
        )
        weight, bias = (torch.randn(width, device=machine.device).to(dtype) for _ in range(2))
        ways = {
            "torch": lambda m=maps, w=weight, b=bias: functional.group_norm(m, 32, w, b, 1e-5),
            "ours": lambda m=maps, w=weight, b=bias: normalize(m, 32, w, b, 1e-5),
        }
        with torch.inference_mode():
            found[f"{width}x{side}"] = {
                name: {
                    "alone_ms": milliseconds(machine, way),
                    "with_convolution_ms": milliseconds(
                        machine,
                        lambda way=way, k=kernel: functional.conv2d(functional.silu(way()), k, padding=1),
                    ),
                }
                for name, way in ways.items()
            }
    return found


def ways(machine: Machine) -> dict[str, Any]:
    """Whether the ways that were made for a GPU are taken there, or have fallen back."""
    import torch

    from emote_cli.model import normalize, shared_attention

    formats = ("float32",) if machine.is_tiny else ("float32", "float16", "bfloat16")
    return {
        name: {
            "merges_sums": {
                width: shared_attention._tells_weight(machine.device, getattr(torch, name), width)
                for width in (40, 80, 160)
            },
            "normalizes": normalize._agrees(machine.device, getattr(torch, name), getattr(torch, name)),
        }
        for name in formats
    }


def recorded_is_the_same(machine: Machine) -> dict[str, Any]:
    """A video with recorded steps beside the same one without."""
    import numpy as np
    import torch

    from emote_cli.animation.graphs import record_steps
    from emote_cli.animation.runtime import CudaRecorder

    found: dict[str, Any] = {}
    for model in machine.models:
        animator = made_up(machine, model)
        expected = video(animator, 2, 2)
        recorder, told = CudaRecorder(torch.device(machine.device)), list[str]()
        recorded = record_steps(animator.model, recorder, animator.runtime.guard.busy, told.append)
        made = video(animator, 2, 2)
        found[model] = {
            "told": told,
            "recordings": len(recorded.recordings),
            "largest_difference_of_255": int(np.abs(made.astype(int) - expected.astype(int)).max()),
        }
    return found


def formats(machine: Machine) -> dict[str, Any]:
    """How far fp16 and bf16 are from the stored numbers of Hallo's own code, in the units of the predictions."""
    import torch
    from einops import rearrange
    from golden_models import hallo_chunk, hallo_model, regions
    from safetensors.torch import load_file

    from emote_cli.model.adapters.hallo import HalloQuirks, encode_pictures

    shared = Path(os.environ.get("EMOTE_SHARED", Path(__file__).parents[3] / "shared"))
    folder = shared / "golden" / "cases"
    if not folder.is_dir():
        return {"left_out": f"there are no golden cases in {folder}; EMOTE_SHARED says where"}
    sys.path.insert(0, str(folder))
    import recipe

    cases = {name: load_file(folder / f"{name}.safetensors") for name in ("reference", "denoise_f4")}
    described = json.loads((folder / "modules.json").read_text())
    time_step = json.loads((folder / "denoise_f4.json").read_text())["timestep"]
    found = {}
    for name in ("float32", "float16", "bfloat16")[: 1 if machine.is_tiny else 3]:
        dtype = getattr(torch, name)
        model = hallo_model(described, folder / "keys_tiny.tsv", recipe).to(machine.device, dtype)

        def there(value: Any, dtype: torch.dtype = dtype) -> Any:
            return value.to(machine.device, dtype if value.is_floating_point() else value.dtype)

        t, r = (
            {key: there(value) for key, value in cases[case].items()} for case in ("denoise_f4", "reference")
        )
        with torch.no_grad():
            nobody, identity = r["in.encoder_hidden_states"].split(1)
            quirks = HalloQuirks()
            features = encode_pictures(model, r["in.ref_latents"], identity, nobody, quirks)
            both = hallo_chunk(
                model, features, identity, nobody, audio=t["in.audio_tokens"][1:],
                face_region=t["in.face_locator"][1:, :, 0], regions=regions(t), quirks=quirks,
            )  # fmt: skip
            noisy = rearrange(t["in.noise"], "b c f h w -> b f c h w")
            step = torch.tensor([time_step], device=machine.device)
            halves = [model(noisy, step, told) for told in (both.unconditional, both.conditional)]
        ours = rearrange(torch.cat(halves), "b f c h w -> b c f h w").float().cpu()
        theirs = cases["denoise_f4"]["out.cfg_published"]
        found[name] = {
            "largest": float((ours - theirs).abs().max()),
            "rms": float((ours - theirs).pow(2).mean().sqrt()),
            "deviation_of_the_prediction": float(theirs.std()),
        }
    return found


def plan(machine: Machine) -> dict[str, Callable[[], Any]]:
    """The sections by name; what comes first matters most."""
    first, *others = machine.models
    wanted: list[tuple[str, Callable[..., Any], tuple[str, ...]]] = [
        ("ways", ways, ()),
        ("guidance", guidance, ()),
        (f"memory-{first}", memory, (first,)),
        *((f"bench-{model}-eager", bench, (model, "eager")) for model in machine.models),
        *((f"bench-{model}-graphs", bench, (model, "graphs")) for model in machine.models),
        (f"bench-{first}-low", bench, (first, "low")),
        ("memory-runs-out", memory_runs_out, ()),
        ("formats", formats, ()),
        *((f"memory-{model}", memory, (model,)) for model in others),
        *((f"bench-{model}-low", bench, (model, "low")) for model in others),
        *((f"profile-{model}", profile, (model,)) for model in machine.models),
        *((f"bench-{model}-compiled", bench, (model, "compiled")) for model in machine.models),
        ("recorded-is-the-same", recorded_is_the_same, ()),
        ("normalization", normalization, ()),
    ]
    return {name: partial(section, machine, *told) for name, section, told in wanted}
