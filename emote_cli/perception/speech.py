"""Speech to features at the video frame rate: log-mel columns (`tiny`), Whisper's blocks (`mini`) or wav2vec 2.0."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from emote_cli.perception.features import FRAME, SAMPLE_RATE_HZ, BlockFeatures, count_frames, speech_gain
from emote_cli.perception.mel import mel_filters, spectra
from emote_cli.settings import AudioSettings
from emote_cli.types import AudioFeatures, Sound, Waveform
from emote_cli.zoo.locate import locate_speech_model

_FFT = 512
_BAND_HZ = (60.0, 7600.0)
_MEL_FLOOR = 1e-5
_BLOCK_S = 10.0


def mel_blocks(sound: Sound, settings: AudioSettings, fps: int) -> BlockFeatures:
    """Compute log-mel columns, `settings.layers` of `settings.embed` bands for each video frame, about -1 ... 1.

    Column k of frame i is centered at (i + k / layers) / fps seconds.

    Args:
        sound: at 16 kHz.
        settings: layers and embed are used.
        fps: of the video.
    """
    frames = count_frames(sound, fps)
    hop = SAMPLE_RATE_HZ // (fps * settings.layers)
    end = frames * settings.layers * hop
    gain = np.float32(speech_gain(sound))

    def compute(start: int, stop: int) -> Float[np.ndarray, "frames layers embed"]:
        first = start * settings.layers * hop - _FFT // 2
        samples = np.zeros((stop - start) * settings.layers * hop + _FFT, np.float32)
        heard = sound.read(first, min(first + len(samples), end)) * gain
        offset = max(-first, 0)
        samples[offset : offset + len(heard)] = heard
        magnitudes = spectra(samples, _FFT, FRAME, hop)[: (stop - start) * settings.layers]
        columns = magnitudes @ mel_filters(SAMPLE_RATE_HZ, _FFT, settings.embed, *_BAND_HZ).T
        scaled = (np.log10(np.maximum(columns, _MEL_FLOOR)) + 2.0) / 2.0
        shape = (stop - start, settings.layers, settings.embed)
        return np.ascontiguousarray(scaled, np.float32).reshape(shape)

    return BlockFeatures(frames, max(round(_BLOCK_S * fps), 1), compute)


def listen(sound: Sound, settings: AudioSettings, fps: int, ears: Any = None) -> BlockFeatures:
    """Compute speech features of the kind that the model was trained on, block by block.

    Args:
        sound: 16 kHz.
        settings: encoder, layers and embed are used.
        fps: of the video.
        ears: a loaded speech model of that kind; None: the one that is bundled or installed.

    Raises:
        InputError: the recording is shorter than one video frame.
        WeightsError: the speech model is not installed, damaged, or of other sizes than the settings say.
    """
    if settings.encoder == "mel":
        return mel_blocks(sound, settings, fps)
    if settings.encoder == "whisper_blocks":
        from emote_cli.perception.whisper_ears import whisper_ears

        return whisper_ears(sound, settings, fps, ears)
    from emote_cli.perception.wav2vec import Wav2VecFeatureExtractor, wav2vec_blocks

    count_frames(sound, fps)  # a recording that is too short is told before a model is loaded
    extractor = ears or Wav2VecFeatureExtractor.load(locate_speech_model("wav2vec2"))
    return wav2vec_blocks(sound, settings, fps, extractor)


def hear(waveform: Waveform, settings: AudioSettings, fps: int, ears: Any = None) -> AudioFeatures:
    """Compute the speech features of the whole recording at once; see `listen`."""
    return AudioFeatures(hidden=listen(waveform, settings, fps, ears).whole(), fps=float(fps))
