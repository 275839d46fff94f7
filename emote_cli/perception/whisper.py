"""What EchoMimic hears: Whisper's states around each video frame, from before the first block to behind the last.

The log-mel of the whole recording is scaled by its loudest place, cut into passes of 30 s and filled up with zeros.
Of each pass every layer's states are kept: the input of the first block, then the output of each block, without the
norm behind the last.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.nn import functional

from emote_cli.errors import InputError, WeightsError
from emote_cli.perception.features import SAMPLE_RATE_HZ, count_frames
from emote_cli.perception.whisper_encoder import STATES_HZ, WhisperEncoder, log_mel
from emote_cli.settings import AudioSettings
from emote_cli.types import Sound

STATES_PER_FRAME = 2
"""A window of 2m + 1 frames holds this many 20 ms states for each."""


class WhisperStates:
    """States of a whole recording, handed out in windows around video frames; a `SpeechFeatures`.

    Args:
        states: 50 a second; of each the layers' vectors.
        fps: video frames per second.
        n_frames: of the video that is denoised.
    """

    def __init__(self, states: Float[np.ndarray, "states layers embed"], fps: int, n_frames: int) -> None:
        self.states, self.fps, self.n_frames = states, fps, n_frames

    def index(self, start: int, count: int, margin: int) -> Int[np.ndarray, "count window"]:
        """Find the states that each frame hears: `2 (2m + 1)` of them around the frame's beginning.

        Args:
            start: number of the first frame.
            count: of frames.
            margin: m, frames on each side.
        """
        first = np.arange(start, start + count) * STATES_HZ // self.fps
        reach = np.arange(-STATES_PER_FRAME * margin, STATES_PER_FRAME * (margin + 1))
        return np.clip(first[:, None] + reach, 0, len(self.states) - 1)

    def windows(self, start: int, count: int, margin: int) -> Float[np.ndarray, "count window layers embed"]:
        """Cut one window per video frame; beyond the ends the first and the last state are repeated.

        Args:
            start: number of the first frame.
            count: of frames.
            margin: m, frames on each side.
        """
        return self.states[self.index(start, count, margin)]


def whisper_features(
    sound: Sound, settings: AudioSettings, fps: int, encoder: WhisperEncoder
) -> tuple[WhisperStates, int]:
    """Compute all that EchoMimic hears of a recording.

    Args:
        sound: 16 kHz.
        settings: `embed` is checked; how many layers there are is Whisper's own matter.
        fps: of the video.
        encoder: Whisper, all blocks of it.

    Returns:
        The states, and how many of their frames belong to the recording: EchoMimic denoises one or two more.

    Raises:
        InputError: the recording is shorter than one video frame, or not at 16 kHz.
        WeightsError: Whisper has another width than the settings say.
    """
    if sound.sample_rate_hz != SAMPLE_RATE_HZ:
        raise InputError(f"speech is at {sound.sample_rate_hz} Hz", f"Whisper hears {SAMPLE_RATE_HZ} Hz only")
    frames = count_frames(sound, fps)
    if encoder.width != settings.embed:
        raise WeightsError(
            f"this Whisper gives vectors of {encoder.width}, the model needs {settings.embed}",
            "use whisper-tiny",
        )
    states = encode(encoder, sound)
    return WhisperStates(states, fps, max(count_denoised_frames(len(states), fps), frames)), frames


def count_denoised_frames(states: int, fps: int) -> int:
    """Count the frames that EchoMimic makes of a recording: up to the first that begins behind the last state."""
    return -(-(states + 1) * fps // STATES_HZ) + 1


@torch.inference_mode()
def encode(encoder: WhisperEncoder, sound: Sound) -> Float[np.ndarray, "states layers embed"]:
    """Every layer's states of a recording, pass by pass: one for every two columns of a pass; at least one."""
    mel, per_pass = log_mel(sound, encoder.conv1.in_channels), 2 * encoder.places
    device = encoder.conv1.weight.device
    parts = []
    with torch.autocast(device.type, enabled=False):  # whoever listens may have it on
        for start in range(0, max(mel.shape[1], 1), per_pass):
            part = mel[:, start : start + per_pass]
            filled = functional.pad(part, (0, per_pass - part.shape[1]))
            states = torch.stack([layer[0] for layer in encoder(filled[None].to(device))], 1)
            parts.append(states[: max(part.shape[1] // 2, 0 if start else 1)].cpu().numpy())
    return np.concatenate(parts)
