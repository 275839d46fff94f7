"""How much of a recording is speech, by the silero voice detector. Runs on onnxruntime; no torch."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from emote_cli.errors import EmoteError
from emote_cli.types import Waveform

RATE_HZ = 16_000
WINDOW = 512
"""Samples per decision: 32 ms."""

_CONTEXT = 64
"""Samples of the window before that the detector sees again."""

SPEECH_THRESHOLD = 0.5


def speech_share(waveform: Waveform) -> float:
    """Measure the share of the recording in which somebody speaks, 0 ... 1."""
    probabilities = speech_probability(waveform)
    return float((probabilities > SPEECH_THRESHOLD).mean()) if len(probabilities) else 0.0


def speech_probability(waveform: Waveform) -> Float[np.ndarray, " windows"]:
    """Compute the probability of speech for each 32 ms of a 16 kHz recording; silence fills the last window.

    Raises:
        ValueError: the sample rate is not 16 kHz.
    """
    if waveform.sample_rate_hz != RATE_HZ:
        raise ValueError(f"the voice detector needs {RATE_HZ} Hz, got {waveform.sample_rate_hz}")
    session = _session()
    n_windows = -(-len(waveform.samples) // WINDOW)
    samples = np.pad(waveform.samples, (_CONTEXT, n_windows * WINDOW - len(waveform.samples))).astype(
        np.float32
    )
    state = np.zeros((2, 1, 128), np.float32)
    rate = np.array(RATE_HZ, np.int64)
    probabilities = np.zeros(n_windows, np.float32)
    for i in range(n_windows):
        window = samples[None, i * WINDOW : (i + 1) * WINDOW + _CONTEXT]
        output, state = session.run(None, {"input": window, "state": state, "sr": rate})
        probabilities[i] = output[0, 0]
    return probabilities


@functools.cache
def _session() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(_model_path()), options, providers=["CPUExecutionProvider"])


def _model_path() -> Path:
    """The network inside silero's wheel, found without importing it (which would load torch)."""
    spec = importlib.util.find_spec("silero_vad")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "silero_vad.onnx"
        if path.is_file():
            return path
    raise EmoteError(
        "the voice detector is not installed (no silero_vad/data/silero_vad.onnx)",
        hint="pip install silero-vad onnxruntime, or prepare a silent set with --no-audio",
    )
