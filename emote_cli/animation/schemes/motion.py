"""Animation with motion latents (the mini): the network moves landmarks, and the portrait is drawn with them.

Chunks hold landmarks in place of pictures; they become pictures at the size that is asked for, and not before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from emote_cli.animation.aids.idle import closed_share, sway_deg
from emote_cli.animation.aids.paste import map_to_photo
from emote_cli.animation.background import run_ahead
from emote_cli.animation.chunks import Carry, MadeChunk
from emote_cli.animation.finishing import find_idle_speed
from emote_cli.animation.moving_portrait import MovingPortrait
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.portrait import cut_square
from emote_cli.animation.runtime import Runtime
from emote_cli.animation.scene import Scene
from emote_cli.animation.schemes.emo import EmoScheme
from emote_cli.media.image import resize
from emote_cli.perception.landmarks import LID_EDGES, LID_FOLDS, LOWER_INNER_LIP, UPPER_INNER_LIP
from emote_cli.perception.motion_latents import Grid, mean_face
from emote_cli.types import Face, Pixels, Portrait, Sound

LID_PASSES = 0.15
"""How far the upper lid's edge passes over the lower one's, over the eye's width: landmarks are not exact."""
FOLD_FOLLOWS = 0.6
"""How much of the lid's way its fold makes in a blink: the lid comes down whole, and the skin above it stretches."""
PIVOT_DEPTH = 0.45
"""How far behind the face the head turns, over the width of the face."""

Points = Float[np.ndarray, "478 2"]


def landmarks_of(face: Face) -> Float[np.ndarray, "478 3"]:
    """The landmarks of a face; a mean face in its box where a person gave only the box."""
    if face.blendshapes:
        return face.landmarks_px
    mean, box = mean_face(), face.box_px
    low, high = mean.min(0), mean.max(0)
    scale = np.array([box.width, box.height]) / (high - low)
    flat = (mean - low) * scale + (box.x0, box.y0)
    return np.concatenate([flat, np.zeros((len(flat), 1))], 1).astype(np.float32)


class MotionScheme(EmoScheme):
    """EMO's scheme with chunks that are landmarks, in pixels of the portrait at the model's size.

    Args:
        runtime: with a model of motion latents.
    """

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.runs_ahead = runtime.device.type == "cpu"

    def raw_frames(self, portrait: Portrait, speech: Sound, options: AnimateOptions) -> Iterator[Pixels]:
        """Frames at the model's size, with nothing but speech in them; see `Animator.raw_frames`."""
        moving = self._moving(portrait.pixels, landmarks_of(portrait.face)[:, :2])
        for made in self.raw_chunks(portrait, speech, options):
            for points in made.frames:
                yield moving.draw(points)

    def raw_chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Landmarks of round(seconds x fps) frames, chunk by chunk; see `Animator.raw_chunks`."""
        settings = self.runtime.model.settings
        rest = torch.from_numpy(landmarks_of(portrait.face)[:, :2].astype(np.float32))
        grid = Grid(rest, settings.latent_size, self.runtime.size)
        with torch.inference_mode(), self.runtime.precision.autocast(self.runtime.device):
            told = self._tell(portrait, speech, grid.place().to(self.runtime.device), options)
            still = self._sample_silence(told).float().mean(1, keepdim=True)
        times = settings.aids.articulation if options.articulation is None else options.articulation
        chunks = self._sample_chunks(told, after)
        for chunk in run_ahead(chunks) if self.runs_ahead else chunks:
            shown = still + times * (chunk.latents - still)
            points = close_lips(grid.decode(shown[0].cpu()).numpy())
            yield MadeChunk(chunk.start, points, chunk.carry, chunk.is_last)

    def _moving(self, picture: Pixels, rest: Points) -> MovingPortrait:
        return MovingPortrait(picture, rest, self.runtime.model.painter, self.runtime.precision)

    def make_finisher(self, scene: Scene, options: AnimateOptions) -> Callable[[Any, float], Pixels]:
        """Make the function from landmarks, and their times in seconds, to frames of the output."""
        photo, portrait, size = scene.photo, scene.portrait, scene.size
        face = landmarks_of(portrait.face).astype(np.float64)
        if options.frame == "crop":
            picture = cut_square(photo, portrait.crop_px, portrait.roll_deg, size[0])
            matrix = np.array([[1, 0, 0], [0, 1, 0]]) * (size[0] / self.runtime.size)
        else:
            picture = resize(photo, size)
            matrix = map_to_photo(portrait.crop_px, portrait.roll_deg)
            matrix[:, :2] *= portrait.crop_px.width / self.runtime.size
            matrix *= size[0] / photo.shape[1]
        moving = self._moving(picture, place(face[:, :2], matrix))
        speed = find_idle_speed(scene, options)

        def finish(points: Points, time_s: float) -> Pixels:
            if speed is None:
                return moving.draw(place(points, matrix))

            def swayed(points: Points) -> Points:
                return place(sway(points, face, time_s, speed, options.seed), matrix)

            lids = blink(points, closed_share(time_s, options.seed))
            return moving.draw(swayed(points), None if lids is None else swayed(lids))

        return finish


def place(points: Float[np.ndarray, "n 2"], matrix: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "n 2"]:
    """Move points by an affine map."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def close_lips(points: Float[np.ndarray, "f 478 2"]) -> Float[np.ndarray, "f 478 2"]:
    """Keep lips from passing through each other: each gives way by half."""
    upper, lower = list(UPPER_INNER_LIP[1:-1]), list(LOWER_INNER_LIP[1:-1])
    over = np.maximum(points[:, upper, 1] - points[:, lower, 1], 0) / 2
    closed = points.copy()
    closed[:, upper, 1] -= over
    closed[:, lower, 1] += over
    return closed


def sway(
    points: Points, face: Float[np.ndarray, "478 3"], time_s: float, head_speed: float, seed: int
) -> Points:
    """Let the head sway, as at a time of the video.

    Args:
        points: of the face that speaks, in the portrait's pose.
        face: the portrait's landmarks: their depth is what turns.
        time_s: of the frame.
        head_speed: degrees per frame at 30 fps.
        seed: of the motion.
    """
    yaw, pitch, roll = (math.radians(v) for v in sway_deg(time_s, head_speed, seed))
    width = np.ptp(face[:, 0])
    pivot = np.array([face[:, 0].mean(), face[:, 1].max(), PIVOT_DEPTH * width])
    x, y, z = (np.concatenate([points, face[:, 2:]], 1) - pivot).T
    x, z = x * math.cos(yaw) - z * math.sin(yaw), z * math.cos(yaw) + x * math.sin(yaw)
    y = y * math.cos(pitch) - z * math.sin(pitch) + pivot[2] * math.sin(-pitch)
    x, y = x * math.cos(roll) + y * math.sin(roll), y * math.cos(roll) - x * math.sin(roll)
    return np.stack([x, y], 1) + pivot[:2]


def blink(points: Points, closed: float) -> Points | None:
    """Draw the upper lids down: the landmarks that lids and lashes follow; None where the eyes are as open as before.

    The lower lids go down by as much: what is below an upper lid's edge is shown as it was (`MovingPortrait.draw`).

    Args:
        points: of the face.
        closed: 0 leaves the lids, 1 shuts the eyes.
    """
    if not closed:
        return None
    moved = points.copy()
    for (upper, lower), fold in zip(LID_EDGES, LID_FOLDS, strict=True):
        above, below = list(upper[1:-1]), list(lower[1:-1])
        over = points[below].mean(0) - points[above].mean(0)
        over *= LID_PASSES * np.ptp(points[list(lower), 0]) / max(float(np.linalg.norm(over)), 1e-3)
        way = closed * (points[below] - points[above] + over)
        moved[above] += way
        moved[below] += way
        moved[list(fold)] += FOLD_FOLLOWS * way
    return moved
