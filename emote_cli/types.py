"""The plain data that flows between the rooms of the house: numpy arrays with shapes as types, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

Pixels = UInt8[np.ndarray, "height width 3"]
"""One RGB picture, 0..255."""


@dataclass(frozen=True, slots=True)
class Waveform:
    """Mono sound.

    Attributes:
        samples: in [-1, 1].
        sample_rate_hz: samples per second.
    """

    samples: Float[np.ndarray, " samples"]
    sample_rate_hz: int

    @property
    def n_samples(self) -> int:
        """Length in samples."""
        return len(self.samples)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz

    def read(self, start: int, stop: int) -> Float[np.ndarray, " samples"]:
        """The samples from `start` to before `stop`, as far as there are any."""
        return self.samples[max(start, 0) : max(stop, 0)]


@runtime_checkable
class Sound(Protocol):
    """Mono sound that is read piece by piece: a `Waveform`, or a recording that stays on the disk."""

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second."""
        ...

    @property
    def n_samples(self) -> int:
        """Length in samples."""
        ...

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        ...

    def read(self, start: int, stop: int) -> Float[np.ndarray, " samples"]:
        """The samples from `start` to before `stop`, as far as there are any; in [-1, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of some picture; x1 and y1 lie outside it. It may reach over the picture's edge.

    Attributes:
        x0: left edge.
        y0: upper edge.
        x1: right edge.
        y1: lower edge.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.y1 - self.y0

    @property
    def center(self) -> tuple[float, float]:
        """Center (x, y) in pixels."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return max(self.width, 0.0) * max(self.height, 0.0)

    def scaled(self, factor: float) -> Box:
        """The same center, both sides times `factor`."""
        (cx, cy), w, h = self.center, self.width * factor / 2, self.height * factor / 2
        return Box(cx - w, cy - h, cx + w, cy + h)

    def resized(self, factor: float) -> Box:
        """The same place in a picture `factor` times as large."""
        return Box(self.x0 * factor, self.y0 * factor, self.x1 * factor, self.y1 * factor)


@dataclass(frozen=True, slots=True)
class Face:
    """One face in one picture, as MediaPipe's face landmarker sees it.

    Attributes:
        box_px: around all landmarks, in pixels of the picture.
        landmarks_px: x, y in pixels and MediaPipe's relative depth.
        pose_4x4: canonical face (cm, y up) to camera (looks down -z).
        blendshapes: name -> 0..1 (jawOpen, eyeBlinkLeft, ...).
        mtcnn_px: the box that MTCNN draws around it, for models that are told it (EchoMimic); None: unknown.
    """

    box_px: Box
    landmarks_px: Float[np.ndarray, "478 3"]
    pose_4x4: Float[np.ndarray, "4 4"]
    blendshapes: dict[str, float]
    mtcnn_px: Box | None = None


@dataclass(frozen=True, slots=True)
class FaceTrack:
    """One face through the frames of one clip. Rows where `found` is False hold NaN.

    Attributes:
        boxes_px: x0, y0, x1, y1 per frame.
        landmarks_px: 478 landmarks per frame.
        pose_4x4: head pose per frame.
        jaw_open: MediaPipe's jawOpen, 0..1.
        blink: mean of MediaPipe's two eyeBlink values, 0..1.
        found: whether a face was seen.
        fps: frames per second of the clip.
    """

    boxes_px: Float[np.ndarray, "frames 4"]
    landmarks_px: Float[np.ndarray, "frames 478 3"]
    pose_4x4: Float[np.ndarray, "frames 4 4"]
    jaw_open: Float[np.ndarray, " frames"]
    blink: Float[np.ndarray, " frames"]
    found: Bool[np.ndarray, " frames"]
    fps: float

    @property
    def n_frames(self) -> int:
        """Number of frames, with or without a face."""
        return len(self.found)


@dataclass(frozen=True, slots=True)
class Portrait:
    """The square crop that is animated, and where it came from.

    Attributes:
        pixels: the crop, at the model's size.
        face: the face in crop coordinates.
        crop_px: the crop's square in the source picture (may reach over its edge).
        source: path of the picture, for messages.
        roll_deg: the square is turned by this around its center, clockwise in the picture, as the head is.
        identity: embedding of the face (ArcFace, not normalized), for models that take one; None: unknown.
    """

    pixels: Pixels
    face: Face
    crop_px: Box
    source: Path
    roll_deg: float = 0.0
    identity: Float[np.ndarray, " embedding"] | None = None


@dataclass(frozen=True, slots=True)
class AudioFeatures:
    """Speech features, already at the video frame rate.

    Attributes:
        hidden: per video frame: `layers` vectors of `embed` numbers (wav2vec2 layers, or mel columns).
        fps: video frames per second.
    """

    hidden: Float[np.ndarray, "frames layers embed"]
    fps: float

    @property
    def n_frames(self) -> int:
        """Number of video frames."""
        return len(self.hidden)

    def windows(self, start: int, count: int, margin: int) -> Float[np.ndarray, "count window layers embed"]:
        """Cut one window per video frame, repeating the first and last features at both ends.

        Frame `start + i` sees features `start + i - margin ... start + i + margin` (EMO, audio layers; paper 3.2).

        Args:
            start: number of the first frame.
            count: of frames.
            margin: m, frames on each side.
        """
        return self.hidden[window_index(self.n_frames, start, count, margin)]


def window_index(n_frames: int, start: int, count: int, margin: int) -> Int[np.ndarray, "count window"]:
    """Which frames' features each of `count` frames sees; see `AudioFeatures.windows`."""
    index = np.arange(start, start + count)[:, None] + np.arange(-margin, margin + 1)[None, :]
    return np.clip(index, 0, n_frames - 1)


@runtime_checkable
class SpeechFeatures(Protocol):
    """Speech features for windows of frames: `AudioFeatures`, or some that are computed as they are asked for."""

    @property
    def n_frames(self) -> int:
        """Number of video frames."""
        ...

    def windows(self, start: int, count: int, margin: int) -> Float[np.ndarray, "count window layers embed"]:
        """One window per video frame; see `AudioFeatures.windows`."""
        ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames that are generated together. Indices of video frames; `stop` may lie past the end (padded, then cut).

    Attributes:
        start: first frame.
        stop: one past the last frame.
        keep: how many of the frames are shown (the last chunk is cut).
    """

    start: int
    stop: int
    keep: int


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What ffmpeg says of a video file. Rotation is already applied to width and height.

    Attributes:
        width: in pixels, as shown.
        height: in pixels, as shown.
        fps: frames per second.
        duration_s: of the whole file.
        n_frames: as the file says; None where it does not.
        has_audio: whether there is a sound stream.
    """

    width: int
    height: int
    fps: Fraction
    duration_s: float
    n_frames: int | None
    has_audio: bool
