"""Whisper's hidden states at the video frame rate, for models of EchoMimic's kind.

Whisper hears 30 s at a time and gives 50 states a second. Each video frame takes the two states that fall
into it, so that a window of 2m + 1 frames holds 2 (2m + 1) vectors: ten of them at m = 2. No golden case
covers this front end: it is tested on its own properties and stands unverified against the original program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from emote_cli.errors import InputError, WeightsError
from emote_cli.perception.speech import SAMPLE_RATE_HZ, count_frames
from emote_cli.settings import AudioSettings
from emote_cli.types import AudioFeatures, Waveform
from emote_cli.weights import locate

STATES_HZ = 50


class WhisperFeatureExtractor:
    """A loaded Whisper encoder and its log-mel front end.

    Args:
        encoder: the encoder of transformers' WhisperModel.
        mel: transformers' WhisperFeatureExtractor.
        device: where it runs.
    """

    def __init__(self, encoder: Any, mel: Any, device: torch.device | str = "cpu") -> None:
        self.encoder, self.mel, self.device = encoder.eval().to(device), mel, torch.device(device)
        self.states_per_pass: int = encoder.config.max_source_positions

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> WhisperFeatureExtractor:
        """Load transformers' files from a folder, without any network.

        Raises:
            WeightsError: they are missing or damaged.
        """
        from transformers import WhisperFeatureExtractor as LogMel
        from transformers import WhisperModel

        if not (folder / "config.json").is_file():
            raise WeightsError(f"no Whisper model at {folder}", "emote download echomimic fetches it")
        try:
            model = WhisperModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
            return cls(model.encoder, LogMel.from_pretrained(folder, local_files_only=True), device)
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"the Whisper model at {folder} is damaged: {error}", "download it again"
            ) from error

    @torch.inference_mode()
    def states(self, samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "states embed"]:
        """The encoder's last states, 50 a second, of a recording at 16 kHz of any length."""
        per_pass = self.states_per_pass * SAMPLE_RATE_HZ // STATES_HZ
        parts = []
        for start in range(0, len(samples), per_pass):
            part = samples[start : start + per_pass]
            mel = self.mel(part, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features
            heard = self.encoder(mel.to(self.device)).last_hidden_state[0].float().cpu().numpy()
            parts.append(heard[: -(-len(part) * STATES_HZ // SAMPLE_RATE_HZ)])
        return np.concatenate(parts)


def whisper_features(
    waveform: Waveform, settings: AudioSettings, fps: int, extractor: WhisperFeatureExtractor | None = None
) -> AudioFeatures:
    """`settings.layers` consecutive states for each video frame, the first at the frame's beginning.

    Args:
        waveform: mono, 16 kHz.
        settings: layers (states per frame) and embed are used.
        fps: of the video.
        extractor: a loaded model; by default the one that comes with `echomimic`.

    Raises:
        InputError: the recording is shorter than one video frame, or not at 16 kHz.
        WeightsError: the model is not installed, or has another width than the settings say.
    """
    if waveform.sample_rate_hz != SAMPLE_RATE_HZ:
        raise InputError(
            f"speech is at {waveform.sample_rate_hz} Hz", f"Whisper hears {SAMPLE_RATE_HZ} Hz only"
        )
    frames = count_frames(waveform, fps)
    extractor = extractor or WhisperFeatureExtractor.load(_installed())
    states = extractor.states(waveform.samples.astype(np.float32))
    if states.shape[1] != settings.embed:
        raise WeightsError(
            f"this Whisper gives vectors of {states.shape[1]}, the model needs {settings.embed}",
            "use whisper-tiny",
        )
    first = np.arange(frames) * STATES_HZ // fps
    index = np.minimum(first[:, None] + np.arange(settings.layers), len(states) - 1)
    return AudioFeatures(hidden=states[index].astype(np.float32), fps=float(fps))


def _installed() -> Path:
    folder = locate("echomimic")
    assert folder is not None
    return folder / "whisper"
