"""Whether sound and picture of a clip belong together in time: the loudness of the voice against the open mouth.

Edited footage often has its sound some frames late, and a network that is taught so cannot find the lips in it.
Loudness is a coarse guide, but it needs no weights, and two frames or more show in it within seconds of speech.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from emote_cli.media.audio import cut_or_pad
from emote_cli.perception.mel import mel_filters, spectra
from emote_cli.perception.tracking import mouth_open
from emote_cli.types import FaceTrack, Waveform

FURTHEST_S = 0.44
"""Lags below this are found. Further off, one syllable matches another."""

SHORTEST_S = 5.0
"""Clips shorter than this tell nothing: too often the voice of another would match as well."""

_LEAST = 0.35
"""The correlation of loudness and mouth below which nothing is said."""

_CLEAR, _CLEAR_AFTER_S = 0.2, 10.0
"""How much better a lag must match than none, in a clip of this length or longer; by its root more in shorter ones."""

_SPECTRUM = 512
"""Samples that a spectrum is taken of."""

_COLUMN = 160
"""Samples between two columns of the spectrum: 10 ms at 16 kHz."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How sound and lips agree.

    Attributes:
        late_s: the sound comes this much after the lips (before them, if negative); 0 where it is not clearly so.
        agreement: correlation of loudness and mouth at that lag (the best of -1, 0 and 1 frames where it is 0); NaN
            where nothing can be told.
    """

    late_s: float
    agreement: float


UNKNOWN = Lag(0.0, math.nan)


def cut_sound(sound: Waveform, start_s: float, seconds: float) -> Waveform:
    """Cut a stretch of the sound, of exactly that length; silence where there is none.

    Args:
        sound: the recording.
        start_s: seconds from its beginning; may be negative.
        seconds: length of the stretch.
    """
    first, last = (round(s * sound.sample_rate_hz) for s in (start_s, start_s + seconds))
    missing = min(max(-first, 0), last - first)
    samples = np.pad(sound.samples[max(first, 0) : max(last, 0)], (missing, 0))
    return cut_or_pad(Waveform(samples, sound.sample_rate_hz), last - first)


def loudness(waveform: Waveform, fps: float, n_frames: int) -> Float[np.ndarray, " frames"]:
    """Measure how loud the vowels (300 to 2,600 Hz) are at the middle of each frame.

    Args:
        waveform: the sound.
        fps: frames per second of the video.
        n_frames: of the video.

    Returns:
        Mean of the logarithmic mel bands, smoothed; only differences have a meaning.
    """
    rate, half = waveform.sample_rate_hz, _SPECTRUM // 2
    columns = spectra(np.pad(waveform.samples, half).astype(np.float32), _SPECTRUM, _SPECTRUM, _COLUMN)
    mel = columns @ mel_filters(rate, _SPECTRUM, 40, 300, 2600).T
    level = np.log10(np.maximum(mel, 1e-3)).mean(1)[None]
    level = cv2.GaussianBlur(level.astype(np.float32), (0, 0), rate / _COLUMN / fps)[0]
    middles = (np.arange(n_frames) + 0.5) / fps
    return np.interp(middles, np.arange(len(level)) * _COLUMN / rate, level)


def measure_opening(track: FaceTrack) -> Float[np.ndarray, " frames"]:
    """Measure how far the mouth is open, from the jaw and from the gap between the lips; NaN where there is no face."""
    values = np.stack([track.jaw_open, mouth_open(track)])
    if not track.found.any():
        return values[0]
    spread = np.nanstd(values, 1, keepdims=True)
    return np.asarray(((values - np.nanmean(values, 1, keepdims=True)) / np.maximum(spread, 1e-6)).mean(0))


def sound_lag(sound: Waveform, mouth: Float[np.ndarray, " frames"], start_s: float, fps: float) -> Lag:
    """Find by how much the sound is late.

    Args:
        sound: a recording with the clip in it.
        mouth: how far the mouth is open in the clip's frames; NaN where there is no face.
        start_s: where the clip begins in the recording.
        fps: frames per second.
    """
    count, reach, seen_s = len(mouth), round(FURTHEST_S * fps), np.isfinite(mouth).sum() / fps
    if seen_s < SHORTEST_S:
        return UNKNOWN
    first_s = start_s - reach / fps
    whole = cut_sound(sound, first_s, (count + 2 * reach) / fps)
    level = loudness(whole, fps, count + 2 * reach)
    middles = first_s + (np.arange(len(level)) + 0.5) / fps
    level[(middles < 0) | (middles > sound.duration_s)] = np.nan
    matches = {k: correlation(level[reach + k :][:count], mouth) for k in range(-reach, reach + 1)}
    known = {k: value for k, value in matches.items() if math.isfinite(value)}
    near = [known[k] for k in (-1, 0, 1) if k in known]
    if not near:
        return UNKNOWN
    best = max(known, key=lambda k: known[k])
    needed = _CLEAR * math.sqrt(max(_CLEAR_AFTER_S / seen_s, 1))
    clear = known[best] >= _LEAST and known[best] - max(near) >= needed and abs(best) < reach
    return Lag(best / fps, known[best]) if clear else Lag(0.0, max(near))


def correlation(ours: Float[np.ndarray, " ours"], theirs: Float[np.ndarray, " theirs"]) -> float:
    """Compute Pearson's correlation where both curves are known; NaN where one is flat or nearly all unknown."""
    count = min(len(ours), len(theirs))
    ours, theirs = ours[:count], theirs[:count]
    known = np.isfinite(ours) & np.isfinite(theirs)
    if known.sum() < 3 or ours[known].std() < 1e-6 or theirs[known].std() < 1e-6:
        return math.nan
    return float(np.corrcoef(ours[known], theirs[known])[0, 1])
