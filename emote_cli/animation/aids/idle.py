"""Lets the head of a finished picture sway a little, and its eyes blink: a warp outside the network.

A one-step sampler outputs the mean over all motions; head motion is random, so the head stays still. Here the finished
square is warped: the head turns as if it were a dome (yaw and pitch), leans a little (roll), and the upper lids are
drawn over the eyes now and then. Nothing moves that is more than a head's width away.

Where the head is at a time depends on (seed, time) only: a resumed video goes on as if it had not stopped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from emote_cli.animation.aids.masks import draw_head_mask
from emote_cli.perception.landmarks import EYES
from emote_cli.types import Box, Face

Square = Float[np.ndarray, "side side 3"]
Field = Float[np.ndarray, "side side"]

SWAYS_DEG = (3.0, 2.2, 0.9)
"""Amplitudes of yaw, pitch and roll at head speed 0.4."""
MOST_DEG = (4.5, 3.5, 1.5)
"""What they tend to, however fast: a warped picture cannot turn farther."""
USUAL_SPEED = 0.4
PERIODS_S = (1.0, 3.0)
"""Between the shortest and the longest period of the sines that a sway is made of, at head speed 0.4."""
SINES = 2

BLINK_EVERY_S = 3.6
CLOSING_S, SHUT_S, OPENING_S = 0.08, 0.04, 0.16
SHUT = 0.94
"""How much of the eye's opening the lid covers at most."""
LID = 0.6
"""How much of the skin between lid and brow is drawn down with it."""


def sway_deg(time_s: float, head_speed: float, seed: int) -> tuple[float, float, float]:
    """Compute yaw, pitch and roll of the idle head at a time, in degrees.

    Args:
        time_s: from the video's begin, 0 or more; the head starts where the portrait has it.
        head_speed: degrees per frame at 30 fps; 0 is a still head.
        seed: another one, another sway.
    """
    rng = np.random.default_rng([seed, 7])
    hurry, angles = math.sqrt(max(head_speed / USUAL_SPEED, 0.1)), []
    for usual, most in zip(SWAYS_DEG, MOST_DEG, strict=True):
        amplitude = most * math.tanh(usual * head_speed / USUAL_SPEED / most)
        periods, phases = rng.uniform(*PERIODS_S, SINES) / hurry, rng.uniform(0, 2 * math.pi, SINES)
        waves = np.sin(2 * math.pi * time_s / periods + phases) - np.sin(phases)
        angles.append(amplitude * float(waves.mean()) * min(time_s / 0.5, 1.0))
    return angles[0], angles[1], angles[2]


def closed_share(time_s: float, seed: int) -> float:
    """Compute how far the lids are down at a time: 0 is as in the portrait, 1 is shut; one blink in every 3.6 s."""
    slot = int(time_s // BLINK_EVERY_S)
    length = CLOSING_S + SHUT_S + OPENING_S
    begin = slot * BLINK_EVERY_S + np.random.default_rng([seed, 11, slot]).uniform(
        0.5, BLINK_EVERY_S - length
    )
    after = time_s - begin
    if after < 0 or after > length:
        return 0.0
    return float(np.clip(min(after / CLOSING_S, (length - after) / OPENING_S), 0, 1))


@dataclass(frozen=True, slots=True)
class Eye:
    """One eye in the square: a frame of its own, and its lids in it.

    Attributes:
        to_square: columns: the corner on the picture's left, the line between the corners, its normal (downwards).
        upper: of the upper lid along that line, over the eye's width.
        lower: of the lower lid.
        skin: how much skin above the lid is drawn down, over the eye's width.
    """

    to_square: Float[np.ndarray, "2 3"]
    upper: Float[np.ndarray, "9 2"]
    lower: Float[np.ndarray, "9 2"]
    skin: float

    @classmethod
    def of(
        cls,
        points: Float[np.ndarray, "478 2"],
        upper: Sequence[int],
        lower: Sequence[int],
        brow: Sequence[int],
    ) -> Eye:
        """Measure an eye in landmarks.

        Args:
            points: landmarks in pixels of the square.
            upper: numbers of the upper lid's landmarks, from one corner to the other.
            lower: of the lower lid's, in the same direction.
            brow: of the brow's.
        """
        corner, along = points[upper[0]], points[upper[-1]] - points[upper[0]]
        to_square = np.stack([corner, along, np.array([-along[1], along[0]])], 1)
        back = np.linalg.inv(to_square[:, 1:])

        def own(which: Sequence[int]) -> Float[np.ndarray, "n 2"]:
            return np.asarray((points[list(which)] - corner) @ back.T)

        lids = own(upper)
        skin = LID * max(float(lids[:, 1].min() - own(brow)[:, 1].mean()), 0.05)
        return cls(to_square, lids, own(lower), skin)


class Idle:
    """Sways and blinks finished squares.

    Args:
        face: in pixels of the model's square.
        scale: side of the finished square over the model's.
        side: of the finished square, in pixels.
        head_speed: degrees per frame at 30 fps.
        seed: of the motion.
    """

    def __init__(self, face: Face, scale: float, side: int, head_speed: float, seed: int) -> None:
        self.head_speed, self.seed = head_speed, seed
        box = face.box_px.resized(scale)
        self.y, self.x = np.mgrid[0:side, 0:side].astype(np.float32)
        self.reach = draw_head_mask(box, side)
        self.depth = measure_depth(self.x, self.y, box) * self.reach
        self.pivot = (box.center[0], box.y1)
        points = face.landmarks_px[:, :2].astype(np.float64) * scale
        known = bool(face.blendshapes)  # a box that a person gave: its landmarks say nothing
        self.eyes = [Eye.of(points, *eye) for eye in EYES] if known else []

    def __call__(self, square: Square, time_s: float) -> Square:
        """The square at a time of the video; values and size stay as they are."""
        closed = closed_share(time_s, self.seed)
        for eye in self.eyes if closed else ():
            square = blink_eye(square, eye, SHUT * closed)
        yaw, pitch, roll = (math.radians(v) for v in sway_deg(time_s, self.head_speed, self.seed))
        if not (yaw or pitch or roll):
            return square
        turn = roll * self.reach
        x = self.x - math.sin(yaw) * self.depth + turn * (self.y - self.pivot[1])
        y = self.y - math.sin(pitch) * self.depth - turn * (self.x - self.pivot[0])
        return np.asarray(
            cv2.remap(
                square,
                x.astype(np.float32),
                y.astype(np.float32),
                cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            ).clip(0, 255)
        )


def measure_depth(x: Field, y: Field, face: Box) -> Field:
    """Compute how far in front of the head's axis each place is, in pixels; 0 outside the head.

    Args:
        x: of the places, in pixels of the square.
        y: of the places.
        face: box of the face in the same pixels.
    """
    center_x, center_y = face.center
    away = ((x - center_x) / (0.8 * face.width)) ** 2 + (
        (y - center_y + 0.08 * face.height) / (0.85 * face.height)
    ) ** 2
    return np.asarray(0.65 * face.width * np.clip(1 - away, 0, 1) ** 1.5, np.float32)


def blink_eye(square: Square, eye: Eye, closed: float) -> Square:
    """Draw a lid over an eye of the square: the skin above it stretches, the eye is covered and not squeezed.

    Args:
        square: finished picture, 0 ... 255; it is not changed.
        eye: where the eye is in it.
        closed: how far the lid is down, 0 ... 1.

    Returns:
        The picture with the lid; the same picture where the eye is less than two pixels wide.
    """
    corner, axes = eye.to_square[:, 0], eye.to_square[:, 1:]
    width = float(np.linalg.norm(axes[:, 0]))
    low = np.clip(np.floor(corner + axes[:, 0] / 2 - 0.9 * width), 0, None).astype(int)
    high = np.minimum(np.ceil(corner + axes[:, 0] / 2 + 0.9 * width), len(square)).astype(int)
    if width < 2 or (high - low).min() < 2:
        return square
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]].astype(np.float64)
    u, v = np.einsum("ij,jhw->ihw", np.linalg.inv(axes), np.stack([x - corner[0], y - corner[1]]))
    upper = np.interp(u, eye.upper[:, 0], eye.upper[:, 1])
    lower = np.interp(u, eye.lower[:, 0], eye.lower[:, 1])
    now = upper + closed * np.clip(lower - upper, 0, None)
    top = upper - eye.skin
    stretched = top + (v - top) * eye.skin / np.maximum(now - top, 1e-6)
    source = np.where(v > top, stretched, v)
    moved = corner[:, None, None] + np.einsum("ij,jhw->ihw", axes, np.stack([u, source]))
    lid = cv2.remap(
        square,
        moved[0].astype(np.float32),
        moved[1].astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    # Behind the lid's edge the eye is as it was; the edge is a pixel wide.
    cover = np.clip((now - v) * width + 0.5, 0, 1)[..., None]
    out = square.copy()
    part = out[low[1] : high[1], low[0] : high[0]]
    part[:] = cover * lid + (1 - cover) * part
    return out
