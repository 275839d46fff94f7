"""A talking head whose every motion is known: a portrait, drawn by the face's mesh."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from planted import Clip, find_points

from emote_cli.media.audio import SPEECH_RATE_HZ, read_audio
from emote_cli.media.image import read_image
from emote_cli.perception.face_mesh import fill_mouth, warp, warp_field
from emote_cli.perception.landmarks import (
    EYE_CORNERS,
    LID_EDGES,
    LID_FOLDS,
    LIPS,
    LOWER_INNER_LIP,
    LOWER_LIP_SKIN,
)
from emote_cli.perception.lip_reading import read_lips_from_sound
from emote_cli.types import Waveform

CROP = (slice(10, 210), slice(122, 322))
"""The head of tests/assets/portrait.png, and what is beside it."""
SIDE = 256
WIDEST = 0.22
"""Lip gap at the loudest moment, over the distance of the eyes."""
NARROWER = 0.13
"""How far each corner of the mouth moves inwards then."""
BLINKS_S = (0.4, 1.2, 2.0, 2.8)
INSIDE = np.array([90, 45, 40], np.float32)


def draw_head(portrait: Path, speech: Path, seconds: float, fps: Fraction) -> Clip:
    """Lips open as the sound tells, the head sways, the eyes blink at `BLINKS_S`."""
    picture = cv2.resize(read_image(portrait)[CROP], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    found = find_points([picture], 25.0)[0]
    rest, depth = found[:, :2], found[:, 2:]
    sound = read_audio(speech, duration_s=seconds).samples
    count = int(seconds * fps)
    told = read_lips_from_sound(Waveform(sound, SPEECH_RATE_HZ), float(fps), count)
    opening = np.clip((told - np.percentile(told, 15)) / (told.max() - np.percentile(told, 15)), 0, 1)
    frames, points = [], []
    for k in range(count):
        moved = pose(rest, float(opening[k]), k / float(fps))
        frames.append(draw(picture, moved, rest))
        points.append(np.concatenate([moved, depth], 1))
    return Clip(frames, np.stack(points), sound, fps)


def pose(rest: np.ndarray, opening: float, time_s: float) -> np.ndarray:
    """The landmarks at a time."""
    eyes = np.linalg.norm(rest[EYE_CORNERS[0]] - rest[EYE_CORNERS[1]])
    points = rest.astype(np.float32).copy()
    mouth = rest[list(LIPS)]
    middle, half = mouth.mean(0), np.ptp(mouth[:, 0]) / 2
    below = points[:, 1] > middle[1] + 0.03 * eyes
    below[list({*LOWER_LIP_SKIN, *LOWER_INNER_LIP[1:-1]})] = True
    near = np.clip(1 - ((points[:, 0] - middle[0]) / (1.1 * half)) ** 2, 0, 1)
    points[:, 1] += below * near * opening * WIDEST * eyes
    aside, down = ((rest - middle) / half).T
    points[:, 0] -= np.exp(-(aside**4) / 2 - (down / 0.6) ** 4) * aside * opening * NARROWER * eyes
    away_s = min(abs(time_s - at) for at in BLINKS_S)
    closed = float(np.clip(1.5 - away_s / 0.08, 0, 1))
    for (upper, lower), fold in zip(LID_EDGES, LID_FOLDS, strict=True):
        way = closed * (points[list(lower[1:-1])] - points[list(upper[1:-1])])
        points[list(upper[1:-1])] += way
        points[list(fold)] += 0.6 * way
    angle = np.radians(2.0) * np.sin(2 * np.pi * time_s / 2.6)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    neck = rest[152] + np.array([0, eyes], np.float32)
    return ((points - neck) @ turn.T + neck).astype(np.float32)


def draw(picture: np.ndarray, points: np.ndarray, rest: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    frame = warp(picture, warp_field(points, rest, width, height)).astype(np.float32)
    inside = fill_mouth(points, width, height)[..., None] / np.float32(255)
    return np.rint(frame + inside * (INSIDE - frame)).clip(0, 255).astype(np.uint8)
