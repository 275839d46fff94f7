"""Recordings in and out: any container through ffmpeg, mono, at the asked-for rate."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import soundfile
from jaxtyping import Float

from emote_cli.errors import InputError, OutputError
from emote_cli.media.ffmpeg import ffmpeg_exe, inspect, last_line, url
from emote_cli.media.output import part_name
from emote_cli.types import Waveform

SPEECH_RATE_HZ = 16_000
"""The sample rate of speech models, and of prepared data sets."""
_SAMPLE_BYTES = 4
_PIECE = 1 << 20


class Recording:
    """Mono sound in a temporary file without a name, read piece by piece: hours of it take no memory.

    Args:
        file: float32 samples and nothing else.
        sample_rate_hz: samples per second.
    """

    def __init__(self, file: IO[bytes], sample_rate_hz: int) -> None:
        self._file = file
        self.sample_rate_hz = sample_rate_hz
        self.n_samples = file.seek(0, os.SEEK_END) // _SAMPLE_BYTES

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate_hz

    def read(self, start: int, stop: int) -> Float[np.ndarray, " samples"]:
        """The samples from `start` to before `stop`, as far as there are any."""
        start, stop = (min(max(place, 0), self.n_samples) for place in (start, stop))
        self._file.seek(start * _SAMPLE_BYTES)
        data = self._file.read(max(stop - start, 0) * _SAMPLE_BYTES)
        return np.frombuffer(data, "<f4").astype(np.float32)

    def is_finite(self) -> bool:
        """Whether all samples are numbers: broken floating-point files hold others."""
        starts = range(0, self.n_samples, _PIECE)
        return all(np.isfinite(self.read(start, start + _PIECE)).all() for start in starts)


def open_audio(
    path: Path, sample_rate_hz: int = SPEECH_RATE_HZ, start_s: float = 0.0, duration_s: float | None = None
) -> Recording:
    """Decode the first sound stream of any media file, mixed to mono, onto the disk.

    Time zero is the file's, as in `read_frames`: sound that begins later is preceded by silence.

    Args:
        path: a recording, or a video with sound.
        sample_rate_hz: rate to convert to.
        start_s: where to begin, in seconds.
        duration_s: how much to read at most; None reads to the end.

    Returns:
        At least one sample.

    Raises:
        InputError: missing, unreadable, without a sound stream, or empty in the asked-for span.
    """
    return _decode(path, sample_rate_hz, "mono", start_s, duration_s)


def read_audio(
    path: Path, sample_rate_hz: int = SPEECH_RATE_HZ, start_s: float = 0.0, duration_s: float | None = None
) -> Waveform:
    """The same in memory: float32 samples; see `open_audio`."""
    recording = open_audio(path, sample_rate_hz, start_s, duration_s)
    return Waveform(recording.read(0, recording.n_samples), sample_rate_hz)


def read_stereo(
    path: Path, sample_rate_hz: int, start_s: float = 0.0, duration_s: float | None = None
) -> Float[np.ndarray, "2 samples"]:
    """The same with both channels apart; mono sound is in both. See `read_audio`."""
    values = _decode(path, sample_rate_hz, "stereo", start_s, duration_s)
    return np.ascontiguousarray(values.read(0, values.n_samples).reshape(-1, 2).T)


def _decode(
    path: Path, sample_rate_hz: int, channels: str, start_s: float, duration_s: float | None
) -> Recording:
    """The decoded values; of stereo two of them are one sample."""
    info = inspect(path, "recording")
    if not info.has_audio:
        raise InputError(f"{path} holds no audio stream", hint="give a recording, or a video with sound")
    span = ["-ss", f"{start_s:.6f}"] if start_s > 0 else []
    span += ["-t", f"{duration_s:.6f}"] if duration_s is not None else []
    command = [ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "error", *span, "-i", url(path)]
    # Silence goes into gaps and before the first sample; maxval keeps the mix of channels within [-1, 1].
    mix = f"aresample={sample_rate_hz}:async=1:first_pts=0:ochl={channels}:rematrix_maxval=1"
    command += ["-map", "0:a:0", "-af", mix, "-f", "f32le", "-"]
    decoded = tempfile.TemporaryFile()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=decoded, stderr=subprocess.PIPE, check=False
    )
    if done.returncode != 0:
        complaint = last_line(done.stderr.decode("utf-8", errors="replace"))
        raise InputError(f"{path} could not be decoded: {complaint}", hint="convert it to WAV and try again")
    recording = Recording(decoded, sample_rate_hz)
    if recording.n_samples == 0:
        raise InputError(
            f"{path} has no sound from {start_s:g} s on",
            hint="check the recording: it holds not one sample there",
        )
    if not recording.is_finite():
        raise InputError(
            f"{path} holds samples that are no numbers", hint="save it again as 16-bit WAV or FLAC"
        )
    return recording


def cut_or_pad(waveform: Waveform, n_samples: int) -> Waveform:
    """The same sound with exactly `n_samples`: cut at the end, or followed by silence."""
    samples = waveform.samples[:n_samples]
    return Waveform(np.pad(samples, (0, n_samples - len(samples))), waveform.sample_rate_hz)


def write_flac(path: Path, waveform: Waveform) -> None:
    """Write 16-bit FLAC, under its name only when complete.

    Raises:
        OutputError: the folder is missing, full or not writable.
    """
    _write(path, waveform, "FLAC")


def write_wav(path: Path, waveform: Waveform) -> None:
    """Write 16-bit WAV, under its name only when complete.

    Raises:
        OutputError: the folder is missing, full or not writable.
    """
    _write(path, waveform, "WAV")


def _write(path: Path, waveform: Waveform, kind: str) -> None:
    part = part_name(path)
    try:
        soundfile.write(
            part, np.clip(waveform.samples, -1, 1), waveform.sample_rate_hz, "PCM_16", format=kind
        )
        os.replace(part, path)
    except (OSError, soundfile.SoundFileError) as error:
        raise OutputError(f"cannot write {path}: {error}", hint="check free space and permissions") from error
    finally:
        part.unlink(missing_ok=True)
