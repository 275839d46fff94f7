"""Where and in which precision a model runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from emote_cli.animation.cpu import bf16_is_faster
from emote_cli.animation.options import Tuning
from emote_cli.errors import DeviceError
from emote_cli.model.audio_module import AudioModuleBlock
from emote_cli.model.emo import Emo
from emote_cli.model.layers import TemporalBlock, TransformerBlock
from emote_cli.zoo.catalog import PUBLISHED_MODELS

DTYPES = {
    "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
    "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16,
}  # fmt: skip


LARGE_MODEL = 200_000_000
"""Parameters from which on a model's weights are kept in the precision of its computation."""


@dataclass(frozen=True, slots=True)
class Precision:
    """The number type of the heavy layers.

    Attributes:
        dtype: theirs.
        stored: whether the weights are kept in it, too: half the memory, and nothing is converted in each step.
            Else they stay fp32 and autocast does the rest, which keeps the normalizations exact.
    """

    dtype: torch.dtype
    stored: bool = False

    @property
    def weights(self) -> torch.dtype:
        """The number type of the weights."""
        return self.dtype if self.stored else torch.float32

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        """A context in which layers compute in this precision."""
        if self.stored or self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.dtype)


FULL = Precision(torch.float32)


def choose_device(name: str) -> torch.device:
    """Choose the named device, or for "auto" the best one there is.

    Raises:
        DeviceError: it is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if there[kind])
    if not there.get(name, False):
        raise DeviceError(f"device {name} was asked for, but torch finds none", "use --device cpu, or auto")
    return torch.device(name)


def check_tuning(tuning: Tuning, device: torch.device) -> None:
    """Refuse what a device cannot do.

    Raises:
        DeviceError: says what.
    """
    if tuning.cuda_graphs and device.type != "cuda":
        raise DeviceError(
            f"--cuda-graphs needs a CUDA device, this is {device.type}", hint="leave --cuda-graphs out"
        )


def runs_in_half(name: str) -> bool:
    """Whether a model's authors run it in fp16, which lies closer to fp32 than bf16: the public talking heads."""
    return name in PUBLISHED_MODELS


def choose_precision(name: str, device: torch.device, stored: bool = False, half: bool = False) -> Precision:
    """Choose the named precision, or for "auto": bf16 where it is faster, fp16 on other GPUs, else fp32.

    Args:
        name: auto, or one of `DTYPES`.
        device: where it is for.
        stored: whether the weights, too, are kept in it.
        half: whether the model was made for fp16: then "auto" takes it on every GPU.

    Raises:
        DeviceError: the precision is unknown.
    """
    if name == "auto":
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)  # emulated, it is slow
            return Precision(torch.bfloat16 if native and not half else torch.float16, stored)
        faster = device.type == "cpu" and bf16_is_faster()
        return Precision(torch.bfloat16 if faster else torch.float32, stored)
    if name not in DTYPES:
        raise DeviceError(f"unknown dtype {name}", f"known: auto, {', '.join(DTYPES)}")
    return Precision(DTYPES[name], stored)


COMPILED = (TransformerBlock, TemporalBlock, AudioModuleBlock)
"""Blocks that are compiled: few forms, each of which serves many sites, so it takes seconds and not minutes."""

COMPILED_LEVELS = 2
"""Finest levels in which blocks are compiled: there maps are large, and most of the time goes. Hallo's network (small,
on a CPU) takes 12 graphs and 68 s of CPU time, with all four levels 24 and 118 s."""

FORMS = 64
"""Most forms of one block: widths, sizes of maps, with a reference and without."""


def compile_blocks(model: Emo) -> None:
    """Have torch compile the blocks that repeat in the network's finest levels, each form at its first call.

    Raises:
        DeviceError: (at that call) there is no compiler for this device.
    """
    import torch._dynamo
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    torch._dynamo.config.recompile_limit = max(FORMS, torch._dynamo.config.recompile_limit)
    for level in model.backbone.levels():
        if level.depth < COMPILED_LEVELS:
            for block in level.modules():
                if isinstance(block, COMPILED):
                    block.compile(dynamic=False)
    step = model.backbone.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        try:
            return step(*args, **kwargs)
        except (TorchDynamoException, InductorError) as error:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise DeviceError(
                f"the network cannot be compiled here: {reason}",
                hint="leave --compile out; it needs Triton on a GPU, a C++ compiler on a CPU",
            ) from error

    model.backbone.forward = forward  # type: ignore[method-assign]
