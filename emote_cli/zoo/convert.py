"""Turn a pickle of weights into safetensors, once, without running anything that is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emote_cli.errors import WeightsError
from emote_cli.files import part_name


def convert(source: Path, target: Path, origin: dict[str, str]) -> None:
    """Write the tensors of a pickled state dict to `target`, which appears only whole.

    The keys stay, but for the wrappings that trainers leave: an outer `state_dict` and a `module.` in front.

    Args:
        source: the pickle (.pth, .ckpt, .pt, .bin).
        target: the safetensors file.
        origin: remembered in the file's metadata; its `source` also names the pickle in errors.

    Raises:
        WeightsError: if the pickle holds anything but tensors and plain values, or no tensors.
    """
    from safetensors.torch import save_file

    name = origin.get("source", source.name)
    tensors = _writable(_unwrap(_load(source, name), name))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_name(target)
    try:
        save_file(tensors, part, metadata={"format": "pt", **origin})
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _load(source: Path, name: str) -> Any:
    import pickle
    import zipfile

    import torch

    try:
        return torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{name} holds more than weights, and is not loaded",
            hint="such a file can run code; fetch these weights from a source that offers safetensors",
        ) from error
    except (RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        reason = (str(error) or "it is empty").splitlines()[0]
        raise WeightsError(
            f"{name} cannot be read as PyTorch weights: {reason}",
            hint="delete it and download again",
        ) from error


def _unwrap(loaded: Any, name: str) -> dict[str, Any]:
    """The tensors by name; plain values beside them (step counters, configurations) are left behind."""
    import torch

    while isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    found = loaded if isinstance(loaded, Mapping) else {}
    tensors = {str(key): value for key, value in found.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise WeightsError(f"{name} holds no tensors", hint="delete it and download again")
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors


def _writable(tensors: dict[str, Any]) -> dict[str, Any]:
    """Contiguous, and no two on the same memory, as safetensors asks."""
    seen: set[int] = set()
    ready = {}
    for key, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        ready[key] = tensor.detach().clone().contiguous() if storage in seen else tensor.detach().contiguous()
        seen.add(storage)
    return ready
