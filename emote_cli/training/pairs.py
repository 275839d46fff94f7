"""Pairs of a portrait and a frame of the same face, around the mouth, for training the Painter.

Two frames of a clip are such a pair, and often the portrait's mouth is closed and the frame's open: that is what the
Painter is for. A still picture, a clip of one frame, is a pair with itself: its own mouth is closed by a warp, and the
picture as it is shows what was inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from emote_cli.animation.moving_portrait import FIELD_BLUR, View, show_painter, view_of
from emote_cli.data.dataset import DAMAGE
from emote_cli.data.layout import clip_path
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.tracks import read_tracks
from emote_cli.errors import DataError
from emote_cli.media.video import read_frames
from emote_cli.model.painter import VIEW
from emote_cli.perception.face_mesh import warp, warp_field
from emote_cli.perception.geometry import measure_gap
from emote_cli.perception.landmarks import LOWER_INNER_LIP, UPPER_INNER_LIP
from emote_cli.perception.motion_latents import groups
from emote_cli.types import Pixels

CLOSED_FIRST, OPEN_FIRST = 0.6, 0.6
"""Share of pairs whose portrait is drawn among closed mouths, and whose frame among open ones."""
JITTER_PX = 0.35
"""Deviation at most, at 256 x 256, of the landmarks that are told: a network does not know them exactly."""
LEAST_FACE_PX = 8
"""Width and height of a face below which there is nothing to see."""
CHIN_FOLLOWS = 0.9
"""How much of a closing lip's way the chin makes."""

Points = Float[np.ndarray, "478 2"]


class Pair(NamedTuple):
    """What the Painter is shown, and what it should have painted, in [-1, 1]; a batch has one more axis in front.

    Attributes:
        warped: the moved portrait with the sketch of a mouth in it.
        portrait: moved with the head only.
        hints: for the Painter, see model/painter.py.
        target: the true frame.
    """

    warped: Float[Tensor, "*b 3 side side"]
    portrait: Float[Tensor, "*b 3 side side"]
    hints: Float[Tensor, "*b hints side side"]
    target: Float[Tensor, "*b 3 side side"]


class Shot(NamedTuple):
    """One frame of a clip and the landmarks of its face, in its pixels."""

    pixels: Pixels
    points: Points

    @property
    def openness(self) -> float:
        """The mouth's opening over the face's height."""
        return float(measure_gap(self.points) / max(float(np.ptp(self.points[:, 1])), 1.0))


@dataclass(frozen=True, slots=True)
class Pairs:
    """An endless stream of pairs; number k depends on (seed, k) only.

    Attributes:
        clips: the frames of each clip.
        weights: how often each is drawn.
        seed: of the stream.
    """

    clips: Sequence[Sequence[Shot]]
    weights: Float[np.ndarray, " clips"]
    seed: int
    openness: list[Float[np.ndarray, " shots"]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "openness", [np.array([s.openness for s in clip]) for clip in self.clips])

    def example(self, key: int, attempt: int = 0) -> Pair:
        """Pair number `key`, in other colors, mirrored or not."""
        rng = np.random.default_rng([self.seed, key, attempt])
        number = int(rng.choice(len(self.clips), p=self.weights))
        portrait, frame = self._draw(number, rng)
        noise = rng.normal(0, rng.uniform(0, JITTER_PX) * len(frame.pixels) / 256, frame.points.shape)
        told = (frame.points + noise).astype(np.float32)
        view = view_of(told, portrait.points)
        seen = show_painter(portrait.pixels, portrait.points, told, view)
        target = cut(frame.pixels, view)
        mirrored = rng.random() < 0.5
        gain, gamma = rng.uniform(0.8, 1.1) * rng.uniform(0.6, 1.15, 3), rng.uniform(0.8, 1.25)

        def finish(pixels: UInt8[np.ndarray, "side side 3"]) -> Tensor:
            values = np.clip((pixels.astype(np.float32) / 255) ** gamma * gain, 0, 1) * 2 - 1
            values = values[:, ::-1] if mirrored else values
            return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1), np.float32))

        hints = seen.hints.copy()
        if mirrored:
            hints = np.ascontiguousarray(hints[..., ::-1])
            hints[2] *= -1
        return Pair(finish(seen.warped), finish(seen.portrait), torch.from_numpy(hints), finish(target))

    def _draw(self, number: int, rng: np.random.Generator) -> tuple[Shot, Shot]:
        clip, openness = self.clips[number], self.openness[number]
        if len(clip) == 1:
            return close_mouth(clip[0], float(rng.uniform(0.3, 1.05))), clip[0]
        closed, opened = 1 / (openness + 0.02), openness + 0.01
        a = rng.choice(len(clip), p=closed / closed.sum() if rng.random() < CLOSED_FIRST else None)
        b = rng.choice(len(clip), p=opened / opened.sum() if rng.random() < OPEN_FIRST else None)
        return clip[int(a)], clip[int(b)]


def cut(pixels: Pixels, view: View) -> UInt8[np.ndarray, "side side 3"]:
    """Cut the Painter's square out of a frame."""
    matrix = np.array([[1 / view.scale, 0, view.corner[0]], [0, 1 / view.scale, view.corner[1]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(pixels, matrix, (VIEW, VIEW), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    )


def close_mouth(shot: Shot, share: float) -> Shot:
    """Close a mouth by a warp: the lower lip goes up, and the chin with it.

    Args:
        shot: of the face.
        share: how far; 1 is all the way.
    """
    points, moved = shot.points, shot.points.copy()
    upper, lower = (points[list(lip)] for lip in (UPPER_INNER_LIP, LOWER_INNER_LIP))
    upper, lower = (lip[np.argsort(lip[:, 0])] for lip in (upper, lower))
    x, lip, jaw = points[:, 0], groups()[2], groups()[3]
    gap = np.maximum(np.interp(x, *lower.T) - np.interp(x, *upper.T), 0)
    moved[lip, 1] -= share * gap[lip]
    corners = points[[61, 291]]
    middle, half = corners[:, 0].mean(), max(abs(float(np.ptp(corners[:, 0]))), 1.0)
    down = (points[:, 1] - corners[:, 1].mean()) / max(float(points[17, 1] - corners[:, 1].mean()), 1.0)
    follows = np.exp(-(((x - middle) / half) ** 2)) * np.clip(down, 0, 1) * CHIN_FOLLOWS
    moved[jaw, 1] -= share * float(gap.max()) * follows[jaw]
    height, width = shot.pixels.shape[:2]
    warped = warp_field(moved, points, width, height)
    return Shot(warp(shot.pixels, cv2.GaussianBlur(warped, (0, 0), FIELD_BLUR)), moved)


def read_pairs(
    folder: Path,
    records: Sequence[ClipRecord],
    weights: Sequence[float],
    per_clip: int,
    seed: int,
    *,
    on_clip: Callable[[int], object],
    on_bad: Callable[[ClipRecord, str], object],
) -> Pairs:
    """Read frames of all clips into memory.

    Args:
        folder: the prepared data set.
        records: its clips.
        weights: how often each is drawn, relative to others: a factor times its length in frames.
        per_clip: frames of each clip, evenly spread; more by the root of a factor above 1.
        seed: of the stream.
        on_clip: called with the number of clips read so far.
        on_bad: told of clips that cannot be read, which are left out.

    Raises:
        DataError: no frame shows a face.
    """
    clips, shares = [], []
    for count, (record, weight) in enumerate(zip(records, weights, strict=True), start=1):
        try:
            shots = read_shots(folder, record, round(per_clip * max(weight / record.frames, 1) ** 0.5))
            if shots:
                clips.append(shots)
                shares.append(weight)
        except DAMAGE as error:
            on_bad(record, str(error))
        on_clip(count)
    if not clips:
        raise DataError(f"no frame of {len(records)} clips shows a face", "prepare the data set again")
    return Pairs(clips, np.array(shares) / sum(shares), seed)


def read_shots(folder: Path, record: ClipRecord, count: int) -> list[Shot]:
    """Read some frames of a clip that show a face, evenly spread.

    Args:
        folder: the prepared data set.
        record: of the clip.
        count: about how many frames, from the whole clip.
    """
    tracks = read_tracks(folder, record)
    points = tracks["landmarks_px"][..., :2].astype(np.float32)
    stride = max(record.frames // count, 1)
    frames = enumerate(read_frames(clip_path(folder, record.id)))
    return [
        Shot(frame, points[index])
        for index, frame in frames
        if index % stride == 0 and index < len(points) and is_drawable(points[index])
    ]


def is_drawable(points: Points) -> bool:
    """Whether landmarks are known, and of a face that is large enough to be drawn."""
    return bool(np.isfinite(points).all() and np.ptp(points, 0).min() >= LEAST_FACE_PX)
