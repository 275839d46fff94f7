"""Foreign networks in ONNX files, run by onnxruntime. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emote_cli.errors import WeightsError


def open_session(path: Path, hint: str) -> Any:
    """Load a network on the CPU.

    Args:
        path: the .onnx file.
        hint: how to get the file, for errors.

    Raises:
        WeightsError: it is missing or damaged.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    if not path.is_file():
        raise WeightsError(f"no network at {path}", hint=hint)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (state.Fail, state.InvalidProtobuf, state.InvalidGraph, state.NoSuchFile) as error:
        raise WeightsError(f"{path} is damaged: {str(error).splitlines()[0]}", hint=hint) from error
