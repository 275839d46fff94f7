"""What the fetched networks make of one video: a second look at its frames, around the faces that the first one found.

However long the video, they look at no more than 50 pictures and 20 short pieces of it, spread evenly; SyncNet takes it whole,
and leaves 31 numbers. So a video takes half a megabyte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from emote_cli.evaluation.footage import Footage
from emote_cli.evaluation.learned.crops import cut_lips, frames_at_25, lip_squares
from emote_cli.evaluation.learned.networks import Networks
from emote_cli.media.audio import open_audio
from emote_cli.media.image import cut_window
from emote_cli.media.video import probe, read_frames
from emote_cli.perception.geometry import crop_square
from emote_cli.types import Box, Pixels

if TYPE_CHECKING:
    from emote_cli.evaluation.learned.syncnet import Distances

PICTURES, PIECES = 50, 20
"""How many are looked at in each video, at most."""

RECIPE = 1
"""Counts up whenever what is looked at changes."""

_BATCH = 10


@dataclass(frozen=True, slots=True)
class Features:
    """What the networks made of a video; empty where a network was not there.

    Attributes:
        networks: names of those that looked.
        pictures: Inception's features of single frames.
        pieces: I3D's of 16 frames at 25 a second.
        distances: SyncNet's mean distances of lips and sound at the offsets -15..15 frames; none without sound, of too
            short a video, or without a face in the frames shown at 25 a second.
    """

    networks: str
    pictures: Float[np.ndarray, "pictures d"]
    pieces: Float[np.ndarray, "pieces d2"]
    distances: Float[np.ndarray, " offsets"]

    @property
    def sync_distances(self) -> Float[np.ndarray, " offsets"] | None:
        """The distances; None where SyncNet was not there."""
        return self.distances if "syncnet" in self.networks else None


def extract(
    path: Path, footage: Footage, networks: Networks, on_frame: Callable[[int], object] = int
) -> Features:
    """Look at a video with the networks that are there.

    Args:
        path: the video.
        footage: what was seen of it: where faces are. It shows at least one.
        networks: see `open_networks`.
        on_frame: called with the number of frames just seen (1).

    Raises:
        InputError: the file is unreadable.
    """
    shown = frames_at_25(footage.n_frames, footage.fps)
    pictures, pieces = _Pictures(networks.inception, footage), _Pieces(networks.i3d, footage, len(shown))
    boxes = footage.boxes_px[shown].astype(float)
    lips = _listen(path, footage, networks, len(shown)) if np.isfinite(boxes).any() else None
    squares = lip_squares(boxes) if lips is not None else []
    for number, frame in enumerate(read_frames(path, fps=probe(path).fps)):
        pictures.add(number, frame)
        first, last = np.searchsorted(shown, [number, number + 1])
        for moment in range(int(first), int(last)):
            pieces.add(moment, number, frame)
            if lips is not None:
                lips.add(cut_lips(frame, squares[moment], 224))
        on_frame(1)
    return Features(
        networks.names,
        pictures.rows(),
        pieces.rows(),
        lips.means() if lips is not None else np.zeros(0),
    )


def _listen(path: Path, footage: Footage, networks: Networks, n_shown: int) -> Distances | None:
    if networks.syncnet is None or not footage.sound_s:
        return None
    from emote_cli.evaluation.learned.syncnet import Distances

    return Distances(networks.syncnet, open_audio(path), n_shown)


def _square(footage: Footage, number: int) -> Box | None:
    """The square around a frame's face, as `emote animate` cuts it out; None without a face."""
    if number >= footage.n_frames or not footage.found[number]:
        return None
    return crop_square(Box(*map(float, footage.boxes_px[number])), footage.width, footage.height)


@dataclass
class _Pictures:
    """Single frames, spread evenly, a batch at a time through Inception."""

    network: Any
    footage: Footage
    _waiting: list[Pixels] = field(default_factory=list)
    _rows: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = self.footage.n_frames
        places = np.linspace(0, n - 1, min(PICTURES, n)).round().astype(int)
        self._places = set(places.tolist()) if self.network is not None else set()

    def add(self, number: int, frame: Pixels) -> None:
        """Look at a frame, if it is one of them and shows a face."""
        if number in self._places and (square := _square(self.footage, number)) is not None:
            self._waiting.append(cut_window(frame, square, 299))
            if len(self._waiting) == _BATCH:
                self._look()

    def _look(self) -> None:
        from emote_cli.evaluation.learned.inception import embed_pictures

        self._rows.append(embed_pictures(self.network, np.stack(self._waiting)))
        self._waiting = []

    def rows(self) -> Float[np.ndarray, "pictures d"]:
        """Features of all of them."""
        if self._waiting:
            self._look()
        return np.concatenate(self._rows) if self._rows else np.zeros((0, 0), np.float32)


@dataclass
class _Pieces:
    """Sixteen frames each, spread evenly, through I3D; the window stays where the first frame's face is."""

    network: Any
    footage: Footage
    n_shown: int
    _window: Box | None = None
    _frames: list[Pixels] = field(default_factory=list)
    _rows: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        there = self.n_shown // 16 if self.network is not None else 0
        starts = np.linspace(0, there - 1, min(PIECES, there)).round().astype(int) * 16
        self._starts = set(starts.tolist())

    def add(self, moment: int, number: int, frame: Pixels) -> None:
        """Take in what is shown at a 25th of a second: frame `number`."""
        if moment in self._starts:
            self._frames, self._window = [], _square(self.footage, number)
        if self._window is None:
            return
        self._frames.append(cut_window(frame, self._window, 224))
        if len(self._frames) == 16:
            from emote_cli.evaluation.learned.i3d import embed_piece

            self._rows.append(embed_piece(self.network, np.stack(self._frames)))
            self._window = None

    def rows(self) -> Float[np.ndarray, "pieces d"]:
        """Features of all of them."""
        return np.stack(self._rows) if self._rows else np.zeros((0, 0), np.float32)
