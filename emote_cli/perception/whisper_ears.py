"""The ears of `mini`: the first two blocks of a frozen Whisper, at the video frame rate.

Whisper (arXiv 2212.04356) has heard more voices than a talking head could be trained on, and its first blocks tell
what lips do better than log-mel columns. Sound is heard in windows of 4 s of which the middle 2 s are kept, so memory
does not grow with the recording. The windows always begin at the same places: training and animation hear the same.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float

from emote_cli.errors import SettingsError
from emote_cli.perception.features import SAMPLE_RATE_HZ, BlockFeatures, count_frames, speech_gain
from emote_cli.perception.whisper_encoder import HOP, STATES_HZ, WhisperEncoder, log_mel
from emote_cli.settings import AudioSettings
from emote_cli.types import Sound, Waveform
from emote_cli.zoo.locate import check_folder, locate_bundled

WINDOW_S, KEPT_S = 4, 2
"""Seconds that are heard together, and those in the middle that are kept."""
BLOCKS = 2
"""Transformer blocks: 3 are as good, 4 are worse."""
EARS = "whisper"
"""Folder of the bundled weights."""


@lru_cache(maxsize=1)
def load_bundled_ears() -> WhisperEncoder:
    """Load the frozen encoder that ships.

    Raises:
        WeightsError: it is missing or damaged.
    """
    folder = locate_bundled(EARS)
    check_folder(folder)
    return WhisperEncoder.load(folder / "model.safetensors", BLOCKS, hint="reinstall emote-cli")


def whisper_ears(
    sound: Sound, settings: AudioSettings, fps: int, encoder: WhisperEncoder | None = None
) -> BlockFeatures:
    """Compute the states of each video frame: `settings.layers` of them, from the frame's beginning to its end.

    Args:
        sound: at 16 kHz.
        settings: layers and embed are used.
        fps: of the video.
        encoder: by default the one that ships.

    Raises:
        InputError: the recording is shorter than one video frame.
        SettingsError: the states do not divide evenly among the frames.
        WeightsError: the bundled weights are missing or damaged.
    """
    if fps * settings.layers != STATES_HZ:
        raise SettingsError(
            f"{settings.layers} states a frame at {fps} fps are not Whisper's {STATES_HZ} a second",
            hint="25 fps and audio.layers=2 are",
        )
    frames, gain, ears = (
        count_frames(sound, fps),
        np.float32(speech_gain(sound)),
        encoder or load_bundled_ears(),
    )

    def compute(start: int, stop: int) -> Float[np.ndarray, "frames layers embed"]:
        states = listen_once(ears, sound, round(start / fps * SAMPLE_RATE_HZ), gain)
        return states[: (stop - start) * settings.layers].reshape(stop - start, settings.layers, -1)

    return BlockFeatures(frames, KEPT_S * fps, compute)


@torch.inference_mode()
def listen_once(
    encoder: WhisperEncoder, sound: Sound, begin: int, gain: np.float32
) -> Float[np.ndarray, "states embed"]:
    """Compute the states of KEPT_S seconds, heard with what is around them; silence is assumed beyond the ends.

    Args:
        encoder: the ears.
        sound: at 16 kHz.
        begin: sample at which the seconds begin.
        gain: factor on the sound; see `speech_gain`.
    """
    around = (WINDOW_S - KEPT_S) * SAMPLE_RATE_HZ // 2
    first, samples = begin - around, np.zeros(WINDOW_S * SAMPLE_RATE_HZ, np.float32)
    heard = sound.read(first, first + len(samples)) * gain
    offset = max(-first, 0)
    samples[offset : offset + len(heard)] = heard
    mel = log_mel(Waveform(samples, SAMPLE_RATE_HZ))
    with torch.autocast("cpu", enabled=False):
        states = encoder(mel[None])[-1][0]
    edge = around // HOP // 2
    return states[edge : edge + KEPT_S * STATES_HZ].numpy()
