"""A mono mix in which opposed channels do not cancel: where the mix nearly vanishes, one channel stands in for it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

QUIETER = 0.25
"""A mix that has less than this share of its loudest channel's level (-12 dB) has lost what that channel says."""

_SILENT = 1e-3
"""Channels below this level (of 1) say nothing."""

_LOYALTY = 0.5
"""A channel stands in until another one is twice as loud: changing between opposed ones clicks."""

_RAMP = 320
"""Samples over which one sound passes into the other."""


class Mixer:
    """Mixes a recording window by window; a tenth of a second or more each."""

    def __init__(self) -> None:
        self._chosen: int | None = None
        self.n_replaced = 0
        """Samples for which a channel stood in."""

    def mix(
        self, mono: Float[np.ndarray, " samples"], channels: Float[np.ndarray, "channels samples"]
    ) -> Float[np.ndarray, " samples"]:
        """The mix of the next window: `mono` where it is as loud as it should be, else its loudest channel."""
        before, self._chosen = self._chosen, self._choose(mono, channels)
        if self._chosen is None and before is None:
            return mono
        sound = mono if self._chosen is None else channels[self._chosen]
        old = mono if before is None else channels[before]
        self.n_replaced += 0 if self._chosen is None else len(mono)
        if before == self._chosen:
            return sound
        weight = np.minimum(np.arange(len(mono), dtype=np.float32) / _RAMP, 1)
        return (weight * sound + (1 - weight) * old).astype(np.float32)

    def _choose(
        self, mono: Float[np.ndarray, " samples"], channels: Float[np.ndarray, "n samples"]
    ) -> int | None:
        levels = np.sqrt(np.square(channels, dtype=np.float64).mean(1)) if channels.size else np.zeros(1)
        loudest = int(levels.argmax())
        level = np.sqrt(np.square(mono, dtype=np.float64).mean()) if mono.size else 0.0
        if levels[loudest] < _SILENT or level >= QUIETER * levels[loudest]:
            return None
        kept = self._chosen is not None and levels[self._chosen] >= _LOYALTY * levels[loudest]
        return self._chosen if kept else loudest


def mix_down(channels: Float[np.ndarray, "channels samples"], window: int) -> Float[np.ndarray, " samples"]:
    """Mix channels to mono: their mean, but where they cancel out; looked at in pieces of `window` samples."""
    mixer = Mixer()
    starts = range(0, channels.shape[1], window)
    pieces = [channels[:, start : start + window] for start in starts]
    mixed = [mixer.mix(piece.mean(0), piece) for piece in pieces]
    return np.concatenate(mixed) if mixed else np.zeros(0, np.float32)
