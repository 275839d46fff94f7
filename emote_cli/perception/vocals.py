"""Voice out of music: Kim_Vocal_2 (an MDX network) on spectrograms, through onnxruntime. No torch.

Hallo's own code always listens to what this network leaves of a recording. Constants and order are those of the
separator that it uses; the code is our own. Around a stand-in network it meets that separator's stored numbers
(`tests/golden`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from emote_cli.errors import WeightsError
from emote_cli.media.mixing import mix_down
from emote_cli.perception.fourier import fourier_columns, from_fourier_columns, resample
from emote_cli.perception.onnx import open_session
from emote_cli.types import Waveform

RATE_HZ = 44_100
HINT = "emote download hallo-vocals"

Stereo = Float[np.ndarray, "2 samples"]


@dataclass(frozen=True, slots=True)
class SpectrogramForm:
    """What the network was trained on.

    Attributes:
        n_fft: length of a Fourier window in samples; the network sees its lower part only.
        hop: samples from window to window.
        overlap: share of a piece that the next one repeats.
        gain: on the result, which the network gives too quietly.
        peak: louder recordings are turned down to this first.
        silent_bins: lowest bins that are muted.
    """

    n_fft: int = 7680
    hop: int = 1024
    overlap: float = 0.25
    gain: float = 1.009
    peak: float = 0.9
    silent_bins: int = 3


KIM_VOCAL_2 = SpectrogramForm()


class VocalSeparator:
    """The loaded network.

    Args:
        path: the .onnx file.
        form: of its spectrograms.

    Raises:
        WeightsError: the file is missing, damaged or another network.
    """

    def __init__(self, path: Path, form: SpectrogramForm = KIM_VOCAL_2) -> None:
        self.session, self.form = open_session(path, HINT), form
        entry = self.session.get_inputs()[0]
        self.name, shape = entry.name, entry.shape
        if len(shape) != 4 or shape[1] != 4 or not all(isinstance(size, int) for size in shape[2:]):
            raise WeightsError(f"{path} takes {shape}, not spectrograms of two channels", hint=HINT)
        self.bins, self.columns = int(shape[2]), int(shape[3])

    def voice(self, mix: Stereo) -> Stereo:
        """Separate the voice from a recording; it is as long as the recording.

        Args:
            mix: at `RATE_HZ`, in [-1, 1].
        """
        form = self.form
        loudest = float(np.abs(mix).max(initial=0.0))
        mix = mix * np.float32(form.peak / loudest) if loudest > form.peak else mix
        margin, piece = form.n_fft // 2, form.hop * (self.columns - 1)
        fresh = piece - 2 * margin
        padded = np.pad(mix, ((0, 0), (margin, fresh + margin - mix.shape[1] % fresh))).astype(np.float32)
        total, weight = np.zeros_like(padded), np.zeros(padded.shape[1], np.float32)
        for start in range(0, padded.shape[1], int((1 - form.overlap) * piece)):
            part = padded[:, start : start + piece]
            length = part.shape[1]
            fade = np.hanning(length).astype(np.float32)
            total[:, start : start + length] += fade * self._piece(part, piece)[:, :length]
            weight[start : start + length] += fade
        made = total / np.maximum(weight, 1e-8)
        return made[:, margin : margin + mix.shape[1]] * np.float32(form.gain)

    def _piece(self, part: Stereo, length: int) -> Float[np.ndarray, "2 {length}"]:
        """One piece through the network, filled up with silence."""
        form, half = self.form, self.form.n_fft // 2
        part = np.pad(part, ((0, 0), (0, length - part.shape[1])))
        padded = np.pad(part, ((0, 0), (half, half)), mode="reflect")
        columns = [fourier_columns(channel, form.n_fft, form.n_fft, form.hop) for channel in padded]
        spectrum = np.stack(columns).transpose(0, 2, 1)[:, : self.bins]
        parts = np.stack([spectrum.real, spectrum.imag], 1).reshape(1, 4, self.bins, self.columns)
        parts = np.ascontiguousarray(parts, np.float32)
        parts[:, :, : form.silent_bins] = 0
        made: Any = self.session.run(None, {self.name: parts})[0]
        made = np.asarray(made, np.float32).reshape(2, 2, self.bins, self.columns)
        whole = np.zeros((2, form.n_fft // 2 + 1, self.columns), np.complex64)
        whole[:, : self.bins] = made[:, 0] + 1j * made[:, 1]
        voices = [from_fourier_columns(channel.T, form.n_fft, form.hop) for channel in whole]
        return np.stack(voices)[:, half : half + length].astype(np.float32)


def voice_at(separator: VocalSeparator, mix: Stereo, sample_rate_hz: int, n_samples: int) -> Waveform:
    """Separate the voice from a recording: mono, at another sample rate, with exactly so many samples.

    Args:
        separator: loaded.
        mix: the recording, stereo at `RATE_HZ`.
        sample_rate_hz: of the result.
        n_samples: of the result; silence fills what is missing.
    """
    mono = mix_down(separator.voice(mix), RATE_HZ // 4)
    samples = resample(mono, RATE_HZ, sample_rate_hz)[:n_samples]
    return Waveform(np.pad(samples, (0, n_samples - len(samples))).astype(np.float32), sample_rate_hz)
