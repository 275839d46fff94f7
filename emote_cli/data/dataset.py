"""Training examples from a prepared data set: windows of frames with all that the network is told.

Example number k depends on (seed, k) only: resuming continues the same stream, and DataLoader workers may
share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import Dataset

from emote_cli.errors import DataError, EmoteError
from emote_cli.perception.geometry import euler_deg, region_mask, union_box
from emote_cli.settings import ModelSettings
from emote_cli.settings_tree import Settings
from emote_cli.types import AudioFeatures, Box

DAMAGE = (EmoteError, SafetensorError, OSError, ValueError, KeyError)
"""What reading a damaged clip, cache entry or track raises."""
WHOLE_REGION = 0.1
"""Share of examples whose face region is the whole picture."""
DEGREES_PER_FRAME_FPS = 30.0
"""The paper states head speeds in degrees per frame at this rate."""


class SamplingSettings(Settings):
    """How examples are drawn."""

    retired: ClassVar[dict[str, Any]] = {
        "reference_candidates": 1, "steady": False, "near_pose": 0, "crop": 0, "crop_examples": 0,
    }  # fmt: skip

    image_frames: int = 1
    """Stage 1: target frames per reference."""
    reference_gap: int = 30
    """Frames between the reference and the target, where the clip allows it."""
    first_chunk: float = 0.1
    """Share of windows without motion frames."""
    mouth_weight: float = 0.0
    """Extra loss weight inside the mouth box."""
    face_weight: float = 0.0
    """Extra loss weight inside the face box."""


@runtime_checkable
class FrameStore(Protocol):
    """Frames by index: a tensor in memory, or something that reads them from the disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Tensor:
        """One frame [c h w], or one per entry of an index array [rows c h w]."""
        ...


@dataclass(frozen=True, slots=True)
class ClipArrays:
    """One clip, ready to be drawn from.

    Attributes:
        id: its name in the manifest.
        latents: scaled latents of every frame, or its pictures in [-1, 1].
        features: speech features at the video frame rate.
        boxes_px: face box per frame, in clip pixels.
        mouths_px: mouth box per frame.
        speed: head speed in degrees per frame at 30 fps; NaN where unknown.
        pose: pitch, yaw, roll in degrees and the face's center in percent of the picture.
        found: whether a face was seen.
        lips: what they do (data/lips.py); NaN where unknown.
        weight: how often the clip is drawn, relative to others.
        portrait: latents of the one reference that motion latents are seen from; None: any frame may be it.
        cell_weights: loss weights on the latent grid that come with it.
    """

    id: str
    latents: FrameStore
    features: AudioFeatures
    boxes_px: Float[np.ndarray, "frames 4"]
    mouths_px: Float[np.ndarray, "frames 4"]
    speed: Float[np.ndarray, " frames"]
    pose: Float[np.ndarray, "frames 5"]
    found: Bool[np.ndarray, " frames"]
    lips: Float[np.ndarray, "frames 3"]
    weight: float = 1.0
    portrait: Float[Tensor, "c h w"] | None = None
    cell_weights: Float[Tensor, "c h w"] | None = None

    @property
    def n_frames(self) -> int:
        """Frames that have everything: pictures, sound and track."""
        return min(len(self.latents), self.features.n_frames, len(self.found))

    def open(self) -> ClipArrays:
        """Itself: it is open already."""
        return self


@dataclass(frozen=True, slots=True)
class LazyClip:
    """A clip that is read when it is drawn: data sets may be larger than the memory.

    Attributes:
        id: its name in the manifest.
        n_frames: as the manifest (and the tempo of an altered copy) says.
        weight: how often the clip is drawn, relative to others.
        read: opens it.
    """

    id: str
    n_frames: int
    weight: float
    read: Callable[[], ClipArrays]

    def open(self) -> ClipArrays:
        """Read what is small, and leave pictures and sound on the disk."""
        return self.read()


class TrainingExample(NamedTuple):
    """Tensors of one example; a batch has one more axis in front. f frames, n motion frames.

    Attributes:
        target: latents (or pictures) to be predicted.
        motion: latents of the frames before; zeros where there are none.
        has_motion: whether there are frames before.
        reference: latents of the portrait.
        audio: speech features around each frame.
        face_region: 1 where the face may be, 0 elsewhere.
        speed: of the head around each frame, degrees per frame at 30 fps.
        weight: how much an error counts at each place.
    """

    target: Float[Tensor, "*b f c h w"]
    motion: Float[Tensor, "*b n c h w"]
    has_motion: Bool[Tensor, "*b"]
    reference: Float[Tensor, "*b c h w"]
    audio: Float[Tensor, "*b f window layers embed"]
    face_region: Float[Tensor, "*b 1 size size"]
    speed: Float[Tensor, "*b f window"]
    weight: Float[Tensor, "*b f _ h w"]


def describe_pose(
    pose_4x4: Float[np.ndarray, "frames 4 4"], boxes_px: Float[np.ndarray, "frames 4"], size: int
) -> Float[np.ndarray, "frames 5"]:
    """Describe the head of each frame for choosing references: NaN rows stay NaN.

    Args:
        pose_4x4: of the head.
        boxes_px: of the face: x0, y0, x1, y1.
        size: side of the picture in pixels.

    Returns:
        Pitch, yaw and roll in degrees, and the face's center in percent of the picture.
    """
    angles = [euler_deg(pose) if np.isfinite(pose).all() else (np.nan,) * 3 for pose in pose_4x4]
    centers = (boxes_px[:, :2] + boxes_px[:, 2:]) / 2 / size * 100
    return np.concatenate([np.array(angles).reshape(-1, 3), centers], 1)


class ClipDataset(Dataset[TrainingExample]):
    """Examples of one stage.

    Args:
        clips: what to draw from.
        model: sizes, windows and frame counts.
        sampling: how to draw.
        seed: of the stream.
        temporal: False for stage 1 (single frames), True for windows of n + f frames.
    """

    def __init__(
        self,
        clips: Sequence[ClipArrays | LazyClip],
        model: ModelSettings,
        sampling: SamplingSettings,
        *,
        seed: int,
        temporal: bool,
    ) -> None:
        self.model, self.sampling, self.seed, self.temporal = model, sampling, seed, temporal
        self.shortest = model.temporal.motion_frames + model.temporal.chunk_frames if temporal else 2
        self.clips = [clip for clip in clips if clip.n_frames >= self.shortest and _has_faces(clip)]
        weights = np.array([clip.weight for clip in self.clips])
        self.probabilities = weights / weights.sum() if len(weights) else weights

    def __getitem__(self, key: int) -> TrainingExample:
        """Example number `key` of the endless stream.

        Raises:
            DataError: the clip that it falls on is damaged.
        """
        return self.example(key)

    def example(self, key: int, attempt: int = 0) -> TrainingExample:
        """Draw example number `key`; another `attempt` draws another clip in place of a damaged one.

        Args:
            key: number of the example in the stream; the same number, the same example.
            attempt: 0, or how often a damaged clip was drawn for this example.

        Raises:
            DataError: the clip that was drawn is damaged.
        """
        rng = np.random.default_rng([self.seed, key, attempt] if attempt else [self.seed, key])
        chosen = self.clips[int(rng.choice(len(self.clips), p=self.probabilities))]
        try:
            return self._cut(self._open(chosen), rng)
        except DAMAGE as error:
            raise DataError(f"clip {chosen.id} is damaged: {error}", "prepare the data set again") from error

    def _open(self, chosen: ClipArrays | LazyClip) -> ClipArrays:
        clip = chosen.open()
        if clip.n_frames < self.shortest or not _has_faces(clip):
            raise DataError(
                f"it has {clip.n_frames} frames, {int(clip.found.sum())} with a face", "prepare it again"
            )
        return clip

    def _cut(self, clip: ClipArrays, rng: np.random.Generator) -> TrainingExample:
        n, f = self.model.temporal.motion_frames, self.model.temporal.chunk_frames
        if self.temporal:
            start = int(rng.integers(clip.n_frames - n - f + 1))
            motion, frames = np.arange(start, start + n), np.arange(start + n, start + n + f)
        else:
            frames = rng.choice(np.flatnonzero(clip.found), self.sampling.image_frames)
            motion = np.repeat(frames[:1], n)
        reference = self._choose_reference(clip, frames, rng)
        has_motion = self.temporal and rng.random() >= self.sampling.first_chunk
        return TrainingExample(
            target=clip.latents[frames].float(),
            motion=clip.latents[motion].float()
            if self.temporal
            else clip.latents[motion[:1]].float().repeat(n, 1, 1, 1),
            has_motion=torch.tensor(has_motion),
            reference=clip.latents[reference].float() if clip.portrait is None else clip.portrait,
            audio=torch.from_numpy(self._audio(clip, frames)),
            face_region=torch.from_numpy(self._region(clip, rng)),
            speed=torch.from_numpy(self._speed(clip, frames)),
            weight=self._weights(clip, frames),
        )

    def _choose_reference(
        self, clip: ClipArrays, frames: Int[np.ndarray, " f"], rng: np.random.Generator
    ) -> int:
        """Draw a frame with a face, away from the target (paper 3.3)."""
        found = np.flatnonzero(clip.found)
        distance = np.abs(found[:, None] - frames[None, :]).min(1)
        far = found[distance >= min(self.sampling.reference_gap, int(distance.max()))]
        return int(rng.choice(far))

    def _audio(
        self, clip: ClipArrays, frames: Int[np.ndarray, " f"]
    ) -> Float[np.ndarray, "f window layers embed"]:
        margin = self.model.audio.margin
        return np.concatenate([clip.features.windows(int(frame), 1, margin) for frame in frames]).astype(
            np.float32
        )

    def _speed(self, clip: ClipArrays, frames: Int[np.ndarray, " f"]) -> Float[np.ndarray, "f window"]:
        margin = self.model.speed.margin
        index = np.clip(frames[:, None] + np.arange(-margin, margin + 1), 0, len(clip.speed) - 1)
        return clip.speed[index].astype(np.float32)

    def _region(self, clip: ClipArrays, rng: np.random.Generator) -> Float[np.ndarray, "1 size size"]:
        whole = rng.random() < WHOLE_REGION
        box = union_box(clip.boxes_px[clip.found])
        return region_mask(box, self.model.image_size, math.inf if whole else 1.0).astype(np.float32)

    def _weights(self, clip: ClipArrays, frames: Int[np.ndarray, " f"]) -> Float[Tensor, "f _ h w"]:
        """Loss weights on the latent grid: the clip's own, or 1, more in the face box, most around the mouth."""
        if clip.cell_weights is not None:
            seen = torch.from_numpy(clip.found[frames].astype(np.float32))
            return clip.cell_weights[None] * seen[:, None, None, None]
        cells = self.model.latent_size
        weights = np.ones((len(frames), 1, cells, cells), np.float32)
        for row, frame in enumerate(frames):
            if clip.found[frame]:
                mouth = Box(*(float(v) for v in clip.mouths_px[frame])).scaled(1.3)
                face = Box(*(float(v) for v in clip.boxes_px[frame]))
                weights[row, 0] += self.sampling.face_weight * measure_coverage(
                    face, cells, self.model.image_size
                )
                weights[row, 0] += self.sampling.mouth_weight * measure_coverage(
                    mouth, cells, self.model.image_size
                )
        return torch.from_numpy(weights)


def _has_faces(clip: ClipArrays | LazyClip) -> bool:
    return isinstance(clip, LazyClip) or bool(clip.found.sum() >= 2)


def measure_coverage(box: Box, cells: int, size: int) -> Float[np.ndarray, "cells cells"]:
    """Measure which share of each grid cell a box covers.

    Args:
        box: in pixels.
        cells: along one side of the grid.
        size: side of the picture in pixels.

    Returns:
        0 ... 1 for each cell.
    """
    edges = np.arange(cells + 1) * (size / cells)

    def overlap(low: float, high: float) -> Float[np.ndarray, " cells"]:
        return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) / (size / cells)

    return np.outer(overlap(box.y0, box.y1), overlap(box.x0, box.x1)).astype(np.float32)
