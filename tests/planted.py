"""Faults to plant in a video, drawn on its frames or mixed into its sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import soundfile

from emote_cli.media.audio import SPEECH_RATE_HZ, read_audio
from emote_cli.media.video import VideoWriter, probe, read_frames
from emote_cli.perception.face_mesh import N_SURFACE, warp, warp_field
from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.perception.landmarks import (
    EYES,
    INNER_LIPS,
    JAW,
    LIPS,
    LOWER_LIP,
    LOWER_LIP_SKIN,
    NOSE_TIP,
    OVAL,
    SKULL,
    UPPER_LID_SKIN,
    UPPER_LIP,
    UPPER_LIP_SKIN,
)
from emote_cli.zoo.locate import locate_bundled

MOUTH = sorted({*LIPS, *INNER_LIPS, *LOWER_LIP_SKIN, *UPPER_LIP_SKIN, *JAW})
RIGHT_EYE, LEFT_EYE = ([*upper, *lower] for upper, lower, _ in EYES)
LIDS = sorted({*RIGHT_EYE, *LEFT_EYE, *UPPER_LID_SKIN})


@dataclass(frozen=True)
class Clip:
    """A video in memory: RGB frames, the face's landmarks in them (478, with their depth), and the sound."""

    frames: Sequence[np.ndarray]
    points: np.ndarray
    sound: np.ndarray
    fps: Fraction

    def redrawn(self, draw: Callable[[int, np.ndarray], np.ndarray]) -> Clip:
        """The same with every frame drawn anew."""
        return replace(self, frames=[draw(k, frame) for k, frame in enumerate(self.frames)])


def read_clip(path: Path, seconds: float, fps: Fraction | None = None) -> Clip:
    """The beginning of a video with one face."""
    fps = fps or Fraction(probe(path).fps)
    frames = list(read_frames(path, fps=fps, duration_s=seconds))
    sound = read_audio(path, duration_s=seconds).samples
    return Clip(frames, find_points(frames, float(fps)), sound, fps)


def find_points(frames: Sequence[np.ndarray], fps: float) -> np.ndarray:
    with FaceAnalyzer(locate_bundled("face_landmarker.task"), max_faces=1, video=True) as analyzer:
        faces = [analyzer.analyze(frame, round(k * 1000 / fps))[0] for k, frame in enumerate(frames)]
    return np.stack([face.landmarks_px for face in faces]).astype(np.float32)


def write_clip(clip: Clip, path: Path) -> Path:
    """As a video file, nearly without loss."""
    sound = path.with_suffix(".wav")
    soundfile.write(sound, clip.sound, SPEECH_RATE_HZ)
    with VideoWriter(path, clip.fps, audio=sound, crf=8, preset="ultrafast", threads=1) as writer:
        for frame in clip.frames:
            writer.write(frame)
    return path


# ---------------------------------------------------------------------------------------- sound and time


def shift_sound(clip: Clip, later_ms: float) -> Clip:
    """The sound moved later (below 0: earlier); what falls out at one end comes in at the other."""
    return replace(clip, sound=np.roll(clip.sound, round(later_ms * SPEECH_RATE_HZ / 1000)))


def add_hiss(clip: Clip, below_db: float = 20.0) -> Clip:
    """White noise, so many decibels below the mean level of the sound."""
    level = np.sqrt((clip.sound**2).mean()) * 10 ** (-below_db / 20)
    noise = np.random.default_rng(3).standard_normal(len(clip.sound))
    return replace(clip, sound=(clip.sound + level * noise).astype(np.float32))


def play_at(clip: Clip, fps: Fraction) -> Clip:
    """The same frames, shown at another rate."""
    return replace(clip, fps=fps)


# ------------------------------------------------------------------------------------------ whole pictures


def brighten(clip: Clip) -> Clip:
    """A little more from frame to frame: four gray values a second."""
    step = 4 / float(clip.fps)
    return clip.redrawn(lambda k, frame: np.clip(np.rint(frame + k * step), 0, 255).astype(np.uint8))


def blur(clip: Clip) -> Clip:
    return clip.redrawn(lambda _, frame: cv2.GaussianBlur(frame, (0, 0), frame.shape[0] / 400))


def jump(clip: Clip, period: int = 12) -> Clip:
    """Two percent of the width to the side, back and forth."""
    return clip.redrawn(lambda k, frame: np.roll(frame, frame.shape[1] // 50 * (k // period % 2), axis=1))


def add_grain(clip: Clip) -> Clip:
    """Noise beside the head, new in each frame: 6 gray values."""
    rng, middle = np.random.default_rng(4), clip.points.mean((0, 1))
    reach = 0.95 * np.ptp(clip.points[..., 0], axis=1).max()

    def draw(_: int, frame: np.ndarray) -> np.ndarray:
        noise = rng.normal(0, 6, (*frame.shape[:2], 1))
        beside = np.abs(np.arange(frame.shape[1]) - middle[0]) > reach
        return np.clip(np.rint(frame + noise * beside[:, None]), 0, 255).astype(np.uint8)

    return clip.redrawn(draw)


# -------------------------------------------------------------------------------------------------- faces


def freeze_lips(clip: Clip) -> Clip:
    """The mouth of one frame in all of them, moved with the head."""
    gaps = np.linalg.norm(clip.points[:, UPPER_LIP] - clip.points[:, LOWER_LIP], axis=1)
    still = int(np.argsort(gaps)[len(gaps) // 2])
    below = np.flatnonzero(clip.points[still, :N_SURFACE, 1] > clip.points[still, NOSE_TIP, 1])
    return clip.redrawn(lambda k, frame: transplant(clip, still, k, frame, (MOUTH,), below.tolist()))


def find_blinks(points: np.ndarray) -> list[range]:
    """Frames around each blink, from open eyes to open eyes."""
    upper, lower = EYES[0][0][4], EYES[0][1][4]
    flat = points[..., :2]
    opening = np.linalg.norm(flat[:, upper] - flat[:, lower], axis=1)
    opening /= np.linalg.norm(flat[:, EYES[0][0][0]] - flat[:, EYES[0][0][-1]], axis=1)
    shut = np.convolve(opening < 0.75 * np.median(opening), np.ones(7), "same") > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], shut.astype(int), [0]])))
    return [range(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]


def remove_blinks(clip: Clip, of: int = 2) -> Clip:
    """Every other blink's eyes are those of the frame before it."""
    sources = {k: max(blink.start - 1, 0) for blink in find_blinks(clip.points)[::of] for k in blink}
    return clip.redrawn(
        lambda k, frame: (
            transplant(clip, sources[k], k, frame, (RIGHT_EYE, LEFT_EYE), LIDS) if k in sources else frame
        )
    )


def transplant(
    clip: Clip,
    source: int,
    target: int,
    frame: np.ndarray,
    regions: Sequence[Sequence[int]],
    moved: Sequence[int],
) -> np.ndarray:
    """Regions of one frame in the place of another's, turned and scaled with the head; soft edges."""
    rest, now = clip.points[source], clip.points[target]
    points = now[:, :2].copy()
    points[list(moved)] = turn_like_the_head(rest, now)[list(moved), :2]
    height, width = frame.shape[:2]
    drawn = warp(clip.frames[source], warp_field(points, rest[:, :2], width, height))
    grow = 0.05 * np.linalg.norm(rest[33] - rest[263])
    hulls = [np.concatenate([points[list(r)], now[list(r), :2]]) for r in regions]
    return blend(frame, drawn, soft_mask(hulls, (height, width), 2 * grow, grow))


def turn_like_the_head(rest: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Landmarks of one frame turned, scaled and shifted as the skull is in another (Umeyama, 1991)."""
    a, b = rest[list(SKULL)], now[list(SKULL)]
    u, s, vt = np.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    scale = s.sum() / ((a - a.mean(0)) ** 2).sum()
    return (scale * (rest - a.mean(0)) @ (u @ vt).T + b.mean(0)).astype(np.float32)


def soft_mask(hulls: Sequence[np.ndarray], shape: tuple[int, int], grow: float, edge: float) -> np.ndarray:
    """1 inside the convex hulls of points, grown by so many pixels, 0 outside."""
    mask = np.zeros(shape, np.uint8)
    for points in hulls:
        cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.int32)), 255)
    side = 2 * max(round(grow), 1) + 1
    grown = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    return cv2.GaussianBlur(grown, (0, 0), max(edge / 2, 0.5)).astype(np.float32)[..., None] / 255


def blend(frame: np.ndarray, drawn: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.rint(frame + mask * (drawn.astype(np.float32) - frame)).clip(0, 255).astype(np.uint8)


def put_face(clip: Clip, stranger: np.ndarray) -> Clip:
    """Another person's face, but for eyes and mouth, as bright as the one below it."""
    height, width = clip.frames[0].shape[:2]
    picture = cv2.resize(stranger, (width, height))
    rest = find_points([picture], 25.0)[0, :, :2]

    def draw(k: int, frame: np.ndarray) -> np.ndarray:
        points = clip.points[k, :, :2]
        drawn = warp(picture, warp_field(points, rest, width, height)).astype(np.float32)
        size = np.linalg.norm(points[33] - points[263])
        face = soft_mask([points[list(OVAL)]], (height, width), 1, 0.1 * size)
        kept = [points[RIGHT_EYE], points[LEFT_EYE], points[list(LIPS)]]
        mask = face * (1 - soft_mask(kept, (height, width), 0.06 * size, 0.04 * size))
        weight = mask / mask.sum()
        drawn += (frame * weight).sum((0, 1)) - (drawn * weight).sum((0, 1))
        return blend(frame, drawn, mask)

    return clip.redrawn(draw)
