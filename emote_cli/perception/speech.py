"""Speech to features at the video frame rate. The mini hears log-mel columns; no torch is needed for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from emote_cli.errors import InputError
from emote_cli.perception.mel import mel_filters, spectra
from emote_cli.settings import AudioSettings
from emote_cli.types import AudioFeatures, Sound, Waveform, window_index

SAMPLE_RATE_HZ = 16_000
SPEECH_RMS = 0.08
"""Level that speech is brought to before analysis (the output's sound is untouched)."""
QUIETEST_RMS = 1e-3
"""Recordings below this level (-60 dBFS) count as silence and are not amplified."""
_FRAME = 400
_FFT = 512
_BAND_HZ = (60.0, 7600.0)
_MEL_FLOOR = 1e-5
_BLOCK_S = 10.0
_PIECE = _FRAME * 4000

ComputeBlock = Callable[[int, int], Float[np.ndarray, "frames layers embed"]]


def count_frames(sound: Sound, fps: float) -> int:
    """Video frames that the recording lasts: round(seconds x fps).

    Raises:
        InputError: if it is shorter than one frame.
    """
    frames = round(sound.duration_s * fps)
    if frames < 1:
        raise InputError(
            f"the recording lasts {sound.duration_s:.3f} s, less than one video frame ({1 / fps:.3f} s)",
            "use a longer recording",
        )
    return frames


def pieces(sound: Sound) -> Iterator[Float[np.ndarray, " samples"]]:
    """The whole sound, piece after piece."""
    for start in range(0, sound.n_samples, _PIECE):
        yield sound.read(start, start + _PIECE)


def speech_gain(sound: Sound) -> float:
    """The factor that brings the louder half of the recording to SPEECH_RMS; silence stays silence."""
    power = np.concatenate(
        [
            (piece[: len(piece) // _FRAME * _FRAME].reshape(-1, _FRAME).astype(np.float32) ** 2).mean(1)
            for piece in pieces(sound)
        ]
    )
    if not len(power):
        return 1.0
    power.sort()
    loud = float(np.sqrt(power[len(power) // 2 :].mean()))
    return 1.0 if loud < QUIETEST_RMS else SPEECH_RMS / loud


class BlockFeatures:
    """Speech features that are computed as they are asked for, in blocks that always begin at the same frames.

    Only the two blocks used last are kept, so that memory does not grow with the recording.

    Args:
        n_frames: of the whole video.
        block_frames: frames of a block.
        compute: first frame and one past the last -> their features.
    """

    def __init__(self, n_frames: int, block_frames: int, compute: ComputeBlock) -> None:
        self.n_frames, self._size, self._compute = n_frames, block_frames, compute
        self._kept: dict[int, Float[np.ndarray, "frames layers embed"]] = {}

    def windows(self, start: int, count: int, margin: int) -> Float[np.ndarray, "count window layers embed"]:
        """One window per video frame; see `AudioFeatures.windows`."""
        index = window_index(self.n_frames, start, count, margin)
        first, last = int(index.min()), int(index.max())
        blocks = range(first // self._size, last // self._size + 1)
        heard = np.concatenate([self._block(number) for number in blocks])
        return heard[index - blocks.start * self._size]

    def whole(self) -> Float[np.ndarray, "frames layers embed"]:
        """The features of all frames."""
        return np.concatenate([self._block(n) for n in range(-(-self.n_frames // self._size))])

    def _block(self, number: int) -> Float[np.ndarray, "frames layers embed"]:
        if number not in self._kept:
            start = number * self._size
            fresh = self._compute(start, min(start + self._size, self.n_frames))
            self._kept = {**dict(list(self._kept.items())[-1:]), number: fresh}
        return self._kept[number]


def mel_blocks(sound: Sound, settings: AudioSettings, fps: int) -> BlockFeatures:
    """Log-mel columns, `settings.layers` of `settings.embed` bands for each video frame, about -1 ... 1.

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
        magnitudes = spectra(samples, _FFT, _FRAME, hop)[: (stop - start) * settings.layers]
        columns = magnitudes @ mel_filters(SAMPLE_RATE_HZ, _FFT, settings.embed, *_BAND_HZ).T
        scaled = (np.log10(np.maximum(columns, _MEL_FLOOR)) + 2.0) / 2.0
        shape = (stop - start, settings.layers, settings.embed)
        return np.ascontiguousarray(scaled, np.float32).reshape(shape)

    return BlockFeatures(frames, max(round(_BLOCK_S * fps), 1), compute)


def mel_features(waveform: Waveform, settings: AudioSettings, fps: int) -> AudioFeatures:
    """The same for the whole recording at once."""
    return AudioFeatures(hidden=mel_blocks(waveform, settings, fps).whole(), fps=float(fps))


def listen(sound: Sound, settings: AudioSettings, fps: int, ears: Any = None) -> BlockFeatures:
    """Speech features of the kind that the model was trained on, block by block.

    Args:
        sound: 16 kHz.
        settings: encoder, layers and embed are used.
        fps: of the video.
        ears: a loaded speech model of that kind; None: the one that is bundled or installed.

    Raises:
        InputError: the recording is shorter than one video frame.
    """
    if settings.encoder == "mel":
        return mel_blocks(sound, settings, fps)
    if settings.encoder == "whisper_blocks":
        from emote_cli.perception.whisper_ears import whisper_ears

        return whisper_ears(sound, settings, fps, ears)
    from emote_cli.perception.wav2vec import wav2vec_blocks

    return wav2vec_blocks(sound, settings, fps, ears)


def hear(waveform: Waveform, settings: AudioSettings, fps: int) -> AudioFeatures:
    """The same of the whole recording at once; see `listen`."""
    return AudioFeatures(hidden=listen(waveform, settings, fps).whole(), fps=float(fps))
