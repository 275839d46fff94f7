"""Recordings in and out: any container through ffmpeg, mono, at the asked-for rate."""

from __future__ import annotations

import functools
import os
import struct
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import soundfile
from jaxtyping import Float

from emote_cli.errors import InputError, OutputError
from emote_cli.files import write_file
from emote_cli.media.banner import MediaInfo
from emote_cli.media.ffmpeg import inspect, read_through, source
from emote_cli.media.mixing import Mixer
from emote_cli.media.wav import read_lengths_s
from emote_cli.types import Waveform

SPEECH_RATE_HZ = 16_000
"""The sample rate of speech models, and of prepared data sets."""

MEMORY_BYTES = 64 << 20
"""Sound up to this size stays in memory: a quarter of an hour, for speech models."""

_SAMPLE_BYTES = 4
_PIECE = 1 << 20
_WINDOW_S = 0.25
"""The channels of a recording are compared over this time."""

_GAP_S, _GAP_SHARE = 0.5, 0.02
"""A recording differs from its stated length if it does so by more than both."""


class Recording:
    """Mono sound in a temporary file without a name, read piece by piece: hours of it take no memory.

    Args:
        file: float32 samples and nothing else.
        sample_rate_hz: samples per second.
        notes: what is odd about it, a line each.
    """

    def __init__(self, file: IO[bytes], sample_rate_hz: int, notes: tuple[str, ...] = ()) -> None:
        self._file = file
        weakref.finalize(self, file.close)  # when nobody holds the recording any more
        self.notes = notes
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
    path: Path,
    sample_rate_hz: int = SPEECH_RATE_HZ,
    start_s: float = 0.0,
    duration_s: float | None = None,
    stream: int | None = None,
) -> Recording:
    """Decode one sound stream of a media file, mixed to mono, into memory or, if it is long, onto the disk.

    Time zero is the file's, as in `read_frames`: sound that begins later is preceded by silence. Channels that
    cancel each other in the mix are not lost: see `mixing`.

    Args:
        path: a recording, or a video with sound.
        sample_rate_hz: rate to convert to.
        start_s: where to begin, in seconds.
        duration_s: how much to read at most; None reads to the end.
        stream: which sound stream, from 1; None is the one that players would choose.

    Returns:
        At least one sample.

    Raises:
        InputError: missing, unreadable, without such a sound stream, or empty in the asked-for span.
        OutputError: there is no room for a long one in the temporary folder.
    """
    info = inspect(path, "recording")
    index = info.choose_sound(stream, path)
    arguments = _arguments(path, index, start_s, duration_s)
    one_channel = info.sounds[index].layout in ("", "mono", "1 channels")
    mixer = Mixer()
    if one_channel:
        pieces = _pieces(path, arguments, sample_rate_hz, "mono")
    else:
        pieces = _mix(path, arguments, sample_rate_hz, mixer)
    recording = _store(path, pieces, sample_rate_hz, start_s)
    notes = [
        *_stream_note(path, info, index, stream),
        *_length_note(path, info, recording, start_s, duration_s),
    ]
    if mixer.n_replaced:
        notes.append(
            f"the channels of {path} cancel each other when they are mixed; for "
            f"{mixer.n_replaced / sample_rate_hz:.1f} s the louder one is listened to"
        )
    recording.notes = tuple(notes)
    return recording


def read_audio(
    path: Path, sample_rate_hz: int = SPEECH_RATE_HZ, start_s: float = 0.0, duration_s: float | None = None
) -> Waveform:
    """Decode one sound stream into memory, mixed to mono: float32 samples; see `open_audio`."""
    recording = open_audio(path, sample_rate_hz, start_s, duration_s)
    return Waveform(recording.read(0, recording.n_samples), sample_rate_hz)


def read_stereo(
    path: Path,
    sample_rate_hz: int,
    start_s: float = 0.0,
    duration_s: float | None = None,
    stream: int | None = None,
) -> Float[np.ndarray, "2 samples"]:
    """Decode one sound stream into memory with both channels apart; mono sound is in both. See `read_audio`."""
    index = inspect(path, "recording").choose_sound(stream, path)
    arguments = _arguments(path, index, start_s, duration_s)
    values = _store(path, _pieces(path, arguments, sample_rate_hz, "stereo"), sample_rate_hz, start_s)
    return np.ascontiguousarray(values.read(0, values.n_samples).reshape(-1, 2).T)


def _arguments(path: Path, index: int, start_s: float, duration_s: float | None) -> list[str]:
    span = ["-ss", f"{start_s:.6f}"] if start_s > 0 else []
    span += ["-t", f"{duration_s:.6f}"] if duration_s is not None else []
    return [*span, *source(path), "-map", f"0:a:{index}"]


def _pieces(path: Path, arguments: list[str], sample_rate_hz: int, channels: str) -> Iterator[bytes]:
    """The decoded values; of stereo two of them are one sample."""
    # Silence goes into gaps and before the first sample; maxval keeps the mix of channels within [-1, 1].
    mix = f"aresample={sample_rate_hz}:async=1:first_pts=0:ochl={channels}:rematrix_maxval=1"
    with read_through(
        [*arguments, "-af", mix, "-f", "f32le"], path, "convert it to WAV and try again"
    ) as read:
        while piece := read(_PIECE):
            yield piece


def _mix(path: Path, arguments: list[str], sample_rate_hz: int, mixer: Mixer) -> Iterator[bytes]:
    """The decoded mix; ffmpeg's, but where that has lost a channel."""
    apart = f"aresample={sample_rate_hz}:async=1:first_pts=0"
    hint = "convert it to WAV and try again"
    mix = f"{apart}:ochl=mono:rematrix_maxval=1"
    count = round(_WINDOW_S * sample_rate_hz)
    with (
        read_through([*arguments, "-af", mix, "-f", "f32le"], path, hint) as read_mix,
        read_through([*arguments, "-af", apart, "-c:a", "pcm_f32be", "-f", "au"], path, hint) as read_apart,
    ):
        n_channels = _au_channels(read_apart)
        while piece := read_mix(count * _SAMPLE_BYTES):
            mono = np.frombuffer(piece, "<f4")
            values = np.frombuffer(read_apart(n_channels * len(piece)), ">f4")
            channels = np.zeros((len(mono), n_channels), np.float32)
            channels.reshape(-1)[: len(values)] = values
            yield mixer.mix(mono, channels.T).astype("<f4").tobytes()
        while read_apart(_PIECE):
            pass


def _au_channels(read: Callable[[int], bytes]) -> int:
    """How many channels there are, from the head of Sun's AU format, which is read."""
    head = read(24)
    if len(head) < 24:
        return 1
    _, begin, _, _, _, n_channels = struct.unpack(">4sIIIII", head)
    read(begin - len(head))
    return int(n_channels)


def _store(path: Path, pieces: Iterator[bytes], sample_rate_hz: int, start_s: float) -> Recording:
    decoded = tempfile.SpooledTemporaryFile(MEMORY_BYTES)
    for piece in pieces:
        try:
            decoded.write(piece)
        except OSError as error:
            decoded.close()
            raise _no_room(path, error) from error
    recording = Recording(decoded, sample_rate_hz)
    if recording.n_samples == 0:
        if start_s:
            raise InputError(f"{path} ends before {start_s:g} s", hint="give an earlier --start")
        raise InputError(f"{path} has no samples", hint="record it again, or choose another")
    if not recording.is_finite():
        raise InputError(
            f"{path} has samples that are not numbers", hint="save it again as 16-bit WAV or FLAC"
        )
    return recording


def _no_room(path: Path, error: OSError) -> OutputError:
    """Long sound waits in the temporary folder: what is wrong with it, by its name."""
    try:
        folder = tempfile.gettempdir()
    except OSError:
        return OutputError(
            f"there is no temporary folder to write to, and {path} is too long for memory",
            hint="name one that you may write to: TMPDIR=FOLDER emote ...",
        )
    return OutputError(
        f"cannot write {path}'s sound to the temporary folder {folder}: {error.strerror}",
        hint="free some space there, or name another folder: TMPDIR=FOLDER emote ...",
    )


def _stream_note(path: Path, info: MediaInfo, index: int, asked: int | None) -> Iterator[str]:
    if asked is None and len(info.sounds) > 1:
        language = info.sounds[index].language
        which = f"{index + 1}" + (f" ({language})" if language else "")
        yield f"{path} has {len(info.sounds)} sound streams: number {which} is used; --audio-stream chooses another"


def _length_note(
    path: Path, info: MediaInfo, recording: Recording, start_s: float, duration_s: float | None
) -> Iterator[str]:
    """Say that a recording is not as long as it states; a video's length may be that of its picture."""
    known = read_lengths_s(path)
    if known is None and info.duration_s and not info.guessed and info.size is None and duration_s is None:
        known = info.duration_s, start_s + recording.duration_s
    if known is not None and abs(known[0] - known[1]) > max(_GAP_S, _GAP_SHARE * known[0]):
        yield f"{path} states a length of {known[0]:.2f} s, but holds {known[1]:.2f} s of sound"


def cut_or_pad(waveform: Waveform, n_samples: int) -> Waveform:
    """Make a sound exactly `n_samples` long: cut it at the end, or let silence follow."""
    samples = waveform.samples[:n_samples]
    return Waveform(np.pad(samples, (0, n_samples - len(samples))), waveform.sample_rate_hz)


def write_flac(path: Path, waveform: Waveform) -> None:
    """Write 16-bit FLAC, under its name only when complete.

    Raises:
        OutputError: the folder is missing, full or not writable.
    """
    samples = np.clip(waveform.samples, -1, 1)
    # Into an open file: libsndfile takes no name that is not UTF-8.
    write = functools.partial(
        soundfile.write, data=samples, samplerate=waveform.sample_rate_hz, subtype="PCM_16", format="FLAC"
    )
    try:
        write_file(path, write)
    except soundfile.SoundFileError as error:
        raise OutputError(f"cannot write {path}: {error}", hint="check free space and permissions") from error
