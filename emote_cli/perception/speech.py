"""Speech to features at the video frame rate. The mini hears log-mel columns; no torch is needed for that."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from emote_cli.errors import InputError
from emote_cli.settings import AudioSettings
from emote_cli.types import AudioFeatures, Waveform

SAMPLE_RATE_HZ = 16_000
SPEECH_RMS = 0.08
"""Level that speech is brought to before analysis (the output's sound is untouched)."""
QUIETEST_RMS = 1e-3
"""Recordings below this level (-60 dBFS) count as silence and are not amplified."""
_FRAME = 400
_MEL_FLOOR = 1e-5


def count_frames(waveform: Waveform, fps: float) -> int:
    """Video frames that the recording lasts: round(seconds x fps).

    Raises:
        InputError: if it is shorter than one frame.
    """
    frames = round(waveform.duration_s * fps)
    if frames < 1:
        raise InputError(
            f"the recording lasts {waveform.duration_s:.3f} s, less than one video frame ({1 / fps:.3f} s)",
            "use a longer recording",
        )
    return frames


def normalized(samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """Bring the louder half of the recording to SPEECH_RMS; silence stays silence."""
    usable = samples[: len(samples) // _FRAME * _FRAME]
    if not len(usable):
        return samples
    power = np.sort((usable.reshape(-1, _FRAME) ** 2).mean(1))
    loud = float(np.sqrt(power[len(power) // 2 :].mean()))
    return samples if loud < QUIETEST_RMS else samples * np.float32(SPEECH_RMS / loud)


def mel_features(waveform: Waveform, settings: AudioSettings, fps: int) -> AudioFeatures:
    """Log-mel columns, `settings.layers` of `settings.embed` bands for each video frame, about -1 ... 1.

    Column k of frame i is centered at (i + k / layers) / fps seconds.

    Args:
        waveform: at 16 kHz.
        settings: layers and embed are used.
        fps: of the video.
    """
    import librosa

    frames = count_frames(waveform, fps)
    hop = SAMPLE_RATE_HZ // (fps * settings.layers)
    columns = frames * settings.layers
    samples = np.zeros(columns * hop, np.float32)
    heard = normalized(waveform.samples.astype(np.float32))[: len(samples)]
    samples[: len(heard)] = heard
    mel = librosa.feature.melspectrogram(
        y=samples, sr=SAMPLE_RATE_HZ, n_fft=512, win_length=_FRAME, hop_length=hop, n_mels=settings.embed,
        fmin=60, fmax=7600, power=1.0, pad_mode="constant",
    )  # fmt: skip
    scaled = (np.log10(np.maximum(mel[:, :columns].T, _MEL_FLOOR)) + 2.0) / 2.0
    hidden = np.ascontiguousarray(scaled, np.float32).reshape(frames, settings.layers, settings.embed)
    return AudioFeatures(hidden=hidden, fps=float(fps))


def hear(waveform: Waveform, settings: AudioSettings, fps: int) -> AudioFeatures:
    """Speech features of the kind that the model was trained on.

    Raises:
        InputError: the recording is shorter than one video frame.
    """
    if settings.encoder == "mel":
        return mel_features(waveform, settings, fps)
    from emote_cli.perception.wav2vec import wav2vec_features

    return wav2vec_features(waveform, settings, fps)
