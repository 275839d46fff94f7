# ruff: noqa: T201
"""Everything that only a GPU can show, in one run: `PYTHONPATH=.:tests python tests/gpu/measure.py [FOLDER]`.

Needs no downloaded weights: models are made up at full size. About 20 minutes on one large card. Each section is a
process of its own with a time limit, so that one that fails or hangs costs no other; what it found lies in FOLDER
(default gpu-results) as NAME.json or NAME.txt, and the table of all benches is printed at the end. Names of sections
behind FOLDER choose some of them (two or more). With `--tiny` the script tries itself on a CPU, in a minute.

Sections: which ways are taken; normalization; speed and peak memory in all qualities, eager, recorded, compiled and
with --low-memory; where the time of one step goes; recorded steps beside others; a provoked out-of-memory back-off;
fp16 and bf16 against fp32 on the golden cases.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TINY = "--tiny" in sys.argv
"""Every section with `tiny` on the CPU, in seconds: whether the script itself works."""
DEVICE = "cpu" if TINY else "cuda"
MODELS = ("tiny",) if TINY else ("sd15", "hallo", "echomimic")
REPEAT = 1 if TINY else 2
LIMIT_S = 600
GOALS = {"paper": 0.25, "balanced": 0.10, "fast": 0.045}
"""Seconds per frame."""
PEAK_GB, LOW_PEAK_GB = 7.0, 5.0


def bench(model: str, how: str) -> dict[str, Any]:
    """One model in all qualities: `how` is eager, graphs, compiled or low."""
    from emote_cli.animation.bench import bench as run
    from emote_cli.animation.options import Tuning

    tuning = Tuning(
        compile=how == "compiled", low_memory=how == "low", cuda_graphs=how == "graphs", tell=print
    )
    qualities = ("paper", "balanced", "fast") if how == "eager" else ("fast",)
    report = run(model, qualities, repeat=REPEAT, random_weights=True, device=DEVICE, tuning=tuning)
    return report.as_dict()


def made_up(model: str, low: bool = False, told: list[str] | None = None) -> Any:
    import torch

    from emote_cli.animation.bench import random_animator
    from emote_cli.animation.options import Tuning
    from emote_cli.settings import load_preset

    tell = print if told is None else told.append
    tuning = Tuning(low_memory=low, tell=tell)
    return random_animator(load_preset(model), torch.device(DEVICE), tuning=tuning)


def video(animator: Any, chunks: int, steps: int) -> Any:
    import numpy as np

    from emote_cli.animation.bench import invent_scene
    from emote_cli.animation.finishing import show_frames
    from emote_cli.animation.options import AnimateOptions

    scene = invent_scene(animator.model.settings, chunks)
    return np.stack(list(show_frames(animator, scene, AnimateOptions(steps=steps))))


def profile(model: str) -> str:
    """Where the time of denoising goes: the operators that take most of it."""
    from torch.profiler import ProfilerActivity, profile

    animator = made_up(model)
    video(animator, 1, 1)  # warm
    watched = [ProfilerActivity.CPU] if TINY else [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=watched) as found:
        video(animator, 1, 2)
    waits = [
        event for event in found.events() if "Synchronize" in event.name or "_local_scalar" in event.name
    ]
    table = found.key_averages().table(
        sort_by="self_cpu_time_total" if TINY else "self_device_time_total", row_limit=40
    )
    return f"{table}\nwaits of the host: {len(waits)}\n"


def normalization() -> dict[str, Any]:
    """Milliseconds of one group normalization of channels-last maps and the convolution behind it: torch's and ours."""
    import torch
    from torch.nn import functional

    from emote_cli.model.normalize import normalize

    found = {}
    for width, side in ((320, 64), (640, 32), (1280, 16)):
        size = (2, width, 8, 8) if TINY else (16, width, side, side)
        dtype = torch.float32 if TINY else torch.float16
        maps = torch.randn(size, device=DEVICE).to(dtype).to(memory_format=torch.channels_last)
        kernel = (
            torch.randn(width, width, 3, 3, device=DEVICE).to(dtype).to(memory_format=torch.channels_last)
        )
        weight, bias = (torch.randn(width, device=DEVICE).to(dtype) for _ in range(2))
        ways = {
            "torch": lambda m=maps, w=weight, b=bias: functional.group_norm(m, 32, w, b, 1e-5),
            "ours": lambda m=maps, w=weight, b=bias: normalize(m, 32, w, b, 1e-5),
        }
        with torch.inference_mode():
            found[f"{width}x{side}"] = {
                name: {
                    "alone_ms": milliseconds(way),
                    "with_convolution_ms": milliseconds(
                        lambda way=way, k=kernel: functional.conv2d(functional.silu(way()), k, padding=1)
                    ),
                }
                for name, way in ways.items()
            }
    return found


def milliseconds(work: Any, times: int = 50) -> float:
    import torch

    def wait() -> None:
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        work()
    wait()
    begin = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - begin) / times * 1e3


def ways() -> dict[str, Any]:
    """Whether the ways that were made for a GPU are taken there, or have fallen back."""
    import torch

    from emote_cli.model import normalize, shared_attention

    formats = ("float32",) if TINY else ("float32", "float16", "bfloat16")
    return {
        name: {
            "merges_sums": {
                width: shared_attention._tells_weight(DEVICE, getattr(torch, name), width)
                for width in (40, 80, 160)
            },
            "normalizes": normalize._agrees(DEVICE, getattr(torch, name), getattr(torch, name)),
        }
        for name in formats
    }


def recorded_is_the_same() -> dict[str, Any]:
    """A video with recorded steps beside the same one without; the recorder of the tests stands in on a CPU."""
    import numpy as np
    import torch

    from emote_cli.animation.graphs import CudaRecorder, record_steps

    sys.path.insert(0, str(Path(__file__).parents[1]))
    found: dict[str, Any] = {}
    for model in MODELS:
        animator = made_up(model)
        expected = video(animator, 2, 2)
        recorder: Any = CudaRecorder(torch.device(DEVICE))
        if TINY:
            from animation.test_graphs import FakeRecorder

            recorder = FakeRecorder()
        told: list[str] = []
        recorded = record_steps(animator.model, recorder, animator.runtime.guard.busy, told.append)
        made = video(animator, 2, 2)
        found[model] = {
            "told": told,
            "recordings": len(recorded.recordings),
            "largest_difference_of_255": int(np.abs(made.astype(int) - expected.astype(int)).max()),
        }
    return found


def memory_runs_out() -> dict[str, Any]:
    """A card that the whole model fits on, but not its work: the back-off makes the same video."""
    import numpy as np
    import torch

    whole = made_up("hallo")
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


def formats() -> dict[str, Any]:
    """How far fp16 and bf16 are from the stored numbers of Hallo's own code, in the units of the predictions."""
    import torch
    from einops import rearrange
    from golden_models import hallo_chunk, hallo_model, regions
    from safetensors.torch import load_file

    from emote_cli.model.adapters.hallo import HalloQuirks, encode_pictures

    shared = Path(os.environ.get("EMOTE_SHARED", Path(__file__).parents[3] / "shared"))
    folder = shared / "golden" / "cases"
    sys.path.insert(0, str(folder))
    import recipe

    cases = {name: load_file(folder / f"{name}.safetensors") for name in ("reference", "denoise_f4")}
    described = json.loads((folder / "modules.json").read_text())
    time_step = json.loads((folder / "denoise_f4.json").read_text())["timestep"]
    found = {}
    for name in ("float32", "float16", "bfloat16"):
        dtype = getattr(torch, name)
        model = hallo_model(described, folder / "keys_tiny.tsv", recipe).to(DEVICE, dtype)

        def there(value: Any, dtype: torch.dtype = dtype) -> Any:
            return value.to(DEVICE, dtype if value.is_floating_point() else value.dtype)

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
            step = torch.tensor([time_step], device=DEVICE)
            halves = [model(noisy, step, told) for told in (both.unconditional, both.conditional)]
        ours = rearrange(torch.cat(halves), "b f c h w -> b c f h w").float().cpu()
        theirs = cases["denoise_f4"]["out.cfg_published"]
        found[name] = {
            "largest": float((ours - theirs).abs().max()),
            "rms": float((ours - theirs).pow(2).mean().sqrt()),
            "deviation_of_the_prediction": float(theirs.std()),
        }
    return found


SECTIONS: dict[str, Any] = {
    "ways": ways,
    "normalization": normalization,
    **{f"bench-{model}-eager": lambda model=model: bench(model, "eager") for model in MODELS},
    **{f"bench-{model}-low": lambda model=model: bench(model, "low") for model in MODELS},
    **{f"bench-{model}-graphs": lambda model=model: bench(model, "graphs") for model in MODELS if not TINY},
    "profile-hallo": lambda: profile(MODELS[-1] if TINY else "hallo"),
    "profile-sd15": lambda: profile(MODELS[0]),
    "recorded-is-the-same": recorded_is_the_same,
    **({} if TINY else {"memory-runs-out": memory_runs_out}),
    "formats": formats,
    **{f"bench-{model}-compiled": lambda model=model: bench(model, "compiled") for model in MODELS},
}
"""What comes first matters most."""


def run_section(name: str, folder: Path) -> None:
    """In a process of its own."""
    found = SECTIONS[name]()
    if isinstance(found, str):
        (folder / f"{name}.txt").write_text(found)
    else:
        (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def show(folder: Path) -> None:
    """The table of all benches, with the goals."""
    for file in sorted(folder.glob("bench-*.json")):
        report = json.loads(file.read_text())
        for row in report["rows"]:
            goal = GOALS[row["quality"]]
            print(
                f"{file.stem[6:]:<20} {row['quality']:<9} {row['seconds_per_frame']:.4f} s per frame "
                f"(goal {goal}), {row['tflops']:.0f} TFLOP/s, {row['share']:.0%} of the card's, "
                f"peak {row['peak_gb']:.2f} GB (goal {LOW_PEAK_GB if report['low_memory'] else PEAK_GB})"
            )


def main() -> None:
    """All sections, or with two arguments one of them in this process."""
    told = [word for word in sys.argv[1:] if word != "--tiny"]
    folder = Path(told[0] if told else "gpu-results")
    folder.mkdir(parents=True, exist_ok=True)
    if len(told) == 2:
        run_section(told[1], folder)
        return
    import torch

    if not (TINY or torch.cuda.is_available()):
        sys.exit("no GPU is at hand: this script measures one")
    for name in told[1:] or SECTIONS:
        begin = time.monotonic()
        try:
            code = subprocess.run(
                [sys.executable, __file__, str(folder), name, *(["--tiny"] if TINY else [])],
                timeout=LIMIT_S,
                check=False,
            ).returncode
            ended = "done" if code == 0 else f"failed ({code})"
        except subprocess.TimeoutExpired:
            ended = f"not through after {LIMIT_S} s"
        print(f"{name}: {ended}, {time.monotonic() - begin:.0f} s", flush=True)
    show(folder)


if __name__ == "__main__":
    main()
