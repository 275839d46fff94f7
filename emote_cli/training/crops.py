"""Pictures from the clips of a prepared data set, with boxes, for training the autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from emote_cli.data.cache import OnBad
from emote_cli.data.dataset import DAMAGE
from emote_cli.data.layout import clip_path
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.selection import Selection
from emote_cli.data.tracks import read_tracks
from emote_cli.errors import DataError
from emote_cli.media.video import read_frames
from emote_cli.model.emo import Emo
from emote_cli.training.observer import Observer
from emote_cli.training.settings import TrainSettings

COMPONENT_CROPS = 192
"""Crops whose principal components start the autoencoder's linear path."""


class Pictures(NamedTuple):
    """Crops for the autoencoder; a batch has one more axis in front."""

    pixels: Float[Tensor, "*b 3 h w"]
    weight: Float[Tensor, "*b 1 h w"]


class FramePool:
    """Every so many-th frame of the clips, in memory, with the face and mouth box of each.

    Args:
        folder: the prepared data set.
        records: its clips.
        strides: for each clip, every how many-th frame is taken.
        on_clip: called with the number of clips read so far.
        on_bad: told of each damaged clip, which is then left out; None raises instead.
        size: side that the frames are scaled to, in pixels; None keeps the clips'.

    Raises:
        DataError: no frame shows a face.
    """

    def __init__(
        self,
        folder: Path,
        records: Sequence[ClipRecord],
        strides: Sequence[int],
        on_clip: Callable[[int], None] = lambda n: None,
        on_bad: OnBad | None = None,
        size: int | None = None,
    ) -> None:
        frames: list[np.ndarray] = []
        boxes: list[np.ndarray] = []
        for count, (record, stride) in enumerate(zip(records, strides, strict=True)):
            try:
                for frame, pair in clip_frames(folder, record, stride, size):
                    frames.append(frame)
                    boxes.append(pair)
            except DAMAGE as error:
                if on_bad is None:
                    raise
                on_bad(record, str(error))
            on_clip(count + 1)
        if not frames:
            raise DataError(f"no frame of {len(records)} clips shows a face", "prepare the data set again")
        self.pixels = np.stack(frames)
        self.boxes_px = np.stack(boxes).astype(np.float32)

    def __len__(self) -> int:
        return len(self.pixels)

    def crop(
        self, rng: np.random.Generator, crop: int
    ) -> tuple[Float[np.ndarray, "3 h w"], Float[np.ndarray, "1 h w"]]:
        """Cut a random square out of a random frame, augmented, with its weight map."""
        index = int(rng.integers(len(self)))
        y, x = (int(rng.integers(self.pixels.shape[1] - crop + 1)) for _ in range(2))
        pixels = augment(self.pixels[index, y : y + crop, x : x + crop], rng)
        weight = np.ones((crop, crop), np.float32)
        for (x0, y0, x1, y1), extra in zip(self.boxes_px[index], (1.0, 2.0), strict=True):
            rows = slice(max(int(y0) - y, 0), max(int(y1) - y, 0))
            weight[rows, max(int(x0) - x, 0) : max(int(x1) - x, 0)] += extra
        if rng.random() < 0.5:
            pixels, weight = pixels[:, ::-1], weight[:, ::-1]
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return planes, np.ascontiguousarray(weight)[None]


@dataclass(frozen=True, slots=True)
class Crops:
    """The pool as an endless stream of training examples; number k depends on (seed, k) only.

    Attributes:
        pool: the frames.
        crop: side of a crop in pixels.
        seed: of the stream.
    """

    pool: FramePool
    crop: int
    seed: int

    def example(self, key: int, attempt: int = 0) -> Pictures:
        """Cut crop number `key`, augmented."""
        rng = np.random.default_rng([self.seed, key, attempt] if attempt else [self.seed, key])
        pixels, weight = self.pool.crop(rng, self.crop)
        return Pictures(torch.from_numpy(pixels), torch.from_numpy(weight))


def clip_frames(
    folder: Path, record: ClipRecord, stride: int, size: int | None = None
) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "2 4"]]]:
    """Read every so many-th frame of a clip that shows a face.

    Args:
        folder: the prepared data set.
        record: of the clip.
        stride: every how many-th frame; the others are decoded only.
        size: side in pixels to which frames are scaled; None: as stored.

    Yields:
        A frame; and its face box and its mouth box, in pixels of the frame.
    """
    tracks = read_tracks(folder, record)
    pair, found = np.stack([tracks["box_px"], tracks["mouth_box_px"]], 1), tracks["found"]
    scale, to = (1.0, None) if size is None else (size / record.size, (size, size))
    for index, frame in enumerate(read_frames(clip_path(folder, record.id), size=to)):
        if index % stride == 0 and index < len(pair) and found[index]:
            yield frame, pair[index] * scale


def augment(pixels: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator) -> Float[np.ndarray, "h w 3"]:
    """Change brightness, contrast, color balance and channel order at random; 0..255 becomes about -1..1."""
    values = pixels.astype(np.float32) / 127.5 - 1.0
    if rng.random() < 0.2:
        values = values[..., rng.permutation(3)]
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3)
    shift = rng.uniform(-0.15, 0.15) + rng.uniform(-0.05, 0.05, 3)
    return np.clip(values * gain + shift, -1, 1).astype(np.float32)


def crops_for(
    model: Emo, settings: TrainSettings, dataset_dir: Path, chosen: Selection, observer: Observer, fresh: bool
) -> Crops:
    """Make random crops of the clips' frames; clips that are drawn more often give more frames.

    Args:
        model: whose autoencoder trains; a fresh one is started from the crops' principal components.
        settings: of the stage.
        dataset_dir: the prepared data set.
        chosen: its clips.
        observer: hears how many clips are read, and which ones cannot be.
        fresh: whether the stage begins.
    """
    stride, size = settings.autoencoder.stride, model.settings.image_size
    strides = [
        max(round(stride * record.frames / weight), 1)
        for record, weight in zip(chosen.train, chosen.weights, strict=True)
    ]
    pool = FramePool(
        dataset_dir,
        chosen.train,
        strides,
        on_clip=lambda done: observer.on_clip(done, len(strides)),
        on_bad=lambda record, text: observer.on_warning(f"left out: clip {record.id}: {text}"),
        size=size,
    )
    if fresh and settings.autoencoder.components and model.autoencoder.shortcut_in is not None:
        whole = Crops(pool, size, settings.seed + 1)
        pixels = torch.stack([whole.example(key).pixels for key in range(COMPONENT_CROPS)])
        model.autoencoder.start_from_components(pixels)
    return Crops(pool, min(settings.autoencoder.crop, size), settings.seed)
