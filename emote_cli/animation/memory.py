"""How much memory a model needs, and how it makes do with less.

`estimate_need` computes it before a weight is read. `Residence` keeps the large parts on the CPU and moves one of them
at a time to the device. On the first out-of-memory error `Guard` switches to low-memory mode and retries.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emote_cli.errors import DeviceError
from emote_cli.model.emo import Emo, decoded_at_once

LARGE = ("backbone", "reference_net", "autoencoder")
"""Parts that low memory moves in and out."""

ALWAYS_BYTES = 0.7e9
"""What a GPU's context and the workspaces of its libraries take."""

_OUT_OF_MEMORY = (
    "out of memory", "can't allocate memory", "not enough memory",
    "ALLOC_FAILED", "ALLOCATION_FAILED",
)  # fmt: skip
"""Words of errors that say so: torch's on GPUs and CPUs, then those of cuBLAS and cuDNN."""

STEP_UNITS, DECODE_UNITS = 29.0, 6.2
"""Largest sum of activations, in maps of the finest level (width x places x frames): counted, see tests/golden."""

RECORDED_STEPS = 6.3
"""What recordings take beside the rest, over what a step takes: an upper bound. Measured on an H200 with two recordings
of a model: sd15 18.0 GB and hallo 15.4 GB where 10.0 (all frames decoded at once) and 6.1 are counted without, which is
6.3 in both. Since then recordings share their memory, which was not measured yet (tests/gpu/measure.py does)."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes on the device.

    Attributes:
        whole: with all parts there.
        low: with one large part there at a time.
        recorded: with all parts there, and steps that are recorded (`--cuda-graphs`).
    """

    whole: float
    low: float
    recorded: float


def estimate_need(model: Emo, number_bytes: int) -> Need:
    """Estimate what animating with a model takes at its peak, without what the device itself takes.

    Args:
        model: may be on the meta device.
        number_bytes: per weight and activation: 2 or 4.
    """
    settings = model.settings
    weights = {name: _count(getattr(model, name)) for name in large_parts(model)}
    small = _count(model) - sum(weights.values())
    temporal, family = settings.temporal, settings.family
    motion = temporal.motion_frames if family.long_video == "motion_frames" else 0
    rows = 2 if family.identity_tokens else 1  # Hallo's frames read two references in turn
    places, width = settings.latent_size**2, settings.unet.block_channels[0]
    step = STEP_UNITS * width * places * (temporal.chunk_frames + motion) + 2 * rows * _tokens(model)
    decode = DECODE_UNITS * settings.autoencoder.block_channels[0] * settings.image_size**2
    at_once = min(decoded_at_once(settings.image_size), temporal.chunk_frames)
    decode = at_once * decode / settings.autoencoder.patch**2
    kept = 2 * rows * _tokens(model)
    phases = {"backbone": step, "reference_net": step / 2 + kept, "autoencoder": decode + kept}
    whole = small + sum(weights.values()) + max(phases[name] for name in weights)
    low = small + max(weight + phases[name] for name, weight in weights.items())
    recorded = whole + RECORDED_STEPS * step
    return Need(whole * number_bytes, low * number_bytes, recorded * number_bytes)


def large_parts(model: Emo) -> tuple[str, ...]:
    """The parts of a model that low memory moves; one with motion latents has no autoencoder."""
    return tuple(name for name in LARGE if hasattr(model, name))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _tokens(model: Emo) -> int:
    """Numbers in the reference's features at all sites."""
    side, widths = model.settings.latent_size, model.settings.unet.block_channels
    return sum(
        widths[level.depth] * (side // 2**level.depth) ** 2
        for level in model.backbone.levels()
        for _ in level.attentions
    )


def free_bytes(device: torch.device) -> float | None:
    """Memory that is free on a device; None where nobody says."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return float(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    table = Path("/proc/meminfo")
    lines = table.read_text().splitlines() if table.is_file() else []
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return float(found[0]) * 1024 if found else None


def find_no_room(needed: Need, free: float | None) -> str | None:
    """Say why steps cannot be recorded on a GPU: there is no room for it; None: there is, or nobody knows.

    Args:
        needed: of `estimate_need`.
        free: of `free_bytes`.
    """
    recorded = needed.recorded + ALWAYS_BYTES
    if free is None or recorded <= free:
        return None
    return (
        f"--cuda-graphs would need about {recorded / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: "
        "going on without"
    )


def check_fits(
    name: str,
    needed: Need,
    device: torch.device,
    low_memory: bool,
    free: float | None,
    recorded: bool = False,
) -> str:
    """Say what a model needs, or refuse it.

    Args:
        name: of the model.
        needed: of `estimate_need`.
        device: where it shall run.
        low_memory: whether one large part at a time is on the device.
        free: of `free_bytes`.
        recorded: whether steps are recorded.

    Raises:
        DeviceError: it cannot fit.
    """
    extra = ALWAYS_BYTES if device.type == "cuda" else 0.0
    whole, low = (needed.recorded if recorded else needed.whole) + extra, needed.low + extra
    asked = low if low_memory and device.type != "cpu" else whole
    there = "" if free is None else f", {free / 1e9:.1f} GB are free"
    told = f"{name} needs about {asked / 1e9:.1f} GB on {device.type} at its peak{there}"
    if free is None or asked <= free:
        return told
    if not low_memory and device.type != "cpu" and low <= free:
        raise DeviceError(told, hint=f"--low-memory needs about {low / 1e9:.1f} GB, and more time")
    raise DeviceError(
        told, hint="--dtype bf16 halves it; else close other programs, or take another --device"
    )


class Residence:
    """Keeps the large parts in main memory, and brings the one that has to compute to the device.

    A part is asked through its layers: a hook on each of them brings the whole part. Small parts stay on the
    device.

    Args:
        model: gets the hooks.
        device: where it computes.
        home: where the large parts wait.
    """

    def __init__(self, model: Emo, device: torch.device, home: torch.device | None = None) -> None:
        self.model, self.device, self.home = model, device, home or torch.device("cpu")
        self.resident: str | None = None
        for name, part in model.named_children():
            place(part, self.home if name in LARGE else device)
        self._hooks = [
            layer.register_forward_pre_hook(lambda _layer, _inputs, name=name: self.summon(name))
            for name in large_parts(model)
            for layer in getattr(model, name).modules()
            if next(layer.children(), None) is None
        ]

    def summon(self, name: str) -> None:
        """Have this part on the device, and no other large one."""
        if name == self.resident:
            return
        if self.resident is not None:
            self.move(self.resident, self.home)
        self.resident = name
        self.move(name, self.device)

    def move(self, name: str, to: torch.device) -> None:
        """Move one part."""
        place(getattr(self.model, name), to)
        if to == self.home:
            forget_unused(self.device)


def place(module: nn.Module, device: torch.device) -> None:
    """Move a module, also while inference mode is on, whose tensors could not become weights again."""
    with torch.inference_mode(False), torch.no_grad():
        module.to(device)


def forget_unused(device: torch.device) -> None:
    """Give memory back that torch keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY)
    )


class Guard:
    """Runs work; the first time that memory runs out it lowers the need and runs that work again.

    Once the need is lowered, parts of the model move while it works: only one thread may use it from then on.

    Args:
        lower: makes the model need less; None: it cannot.
        on_lower: is told when that happens.
    """

    def __init__(
        self, lower: Callable[[], None] | None, on_lower: Callable[[str], object] = lambda line: None
    ) -> None:
        self.lower, self.on_lower = lower, on_lower
        self.busy = threading.Lock()
        """Held by whoever uses the model in another thread: meanwhile nothing is moved."""
        self.lowered = False
        """Whether the need was lowered; read it while holding `busy`."""

    def __call__(self, work: Callable[[], Any]) -> Any:
        """Run it.

        Raises:
            DeviceError: memory ran out for good.
        """
        try:
            return work()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0]
        if self.lower is None:
            raise DeviceError(
                f"memory ran out: {reason}", hint="close other programs, or take a smaller model"
            )
        lower, self.lower = self.lower, None
        with self.busy:  # what another thread has begun is finished first
            self.lowered = True
            lower()
        self.on_lower("memory ran out; going on with --low-memory")
        return self(work)
