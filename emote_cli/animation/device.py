"""Where and in which precision a model runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch

from emote_cli.errors import DeviceError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Precision:
    """The number type of the heavy layers; weights stay fp32 and autocast does the rest."""

    dtype: torch.dtype

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        """A context in which layers compute in this precision."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.dtype)


def choose_device(name: str) -> torch.device:
    """The named device, or for "auto" the best one there is.

    Raises:
        DeviceError: it is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there.get(name, False):
        raise DeviceError(f"device {name} was asked for, but torch finds none", "use --device cpu, or auto")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> Precision:
    """The named precision, or for "auto": bf16 where the hardware has it, fp16 on other GPUs, else fp32.

    Raises:
        DeviceError: the precision is unknown.
    """
    if name == "auto":
        if device.type == "cuda":
            return Precision(torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)
        native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
        return Precision(torch.bfloat16 if native else torch.float32)
    if name not in DTYPES:
        raise DeviceError(f"unknown dtype {name}", f"known: auto, {', '.join(DTYPES)}")
    return Precision(DTYPES[name])
