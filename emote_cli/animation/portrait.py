"""Crop in: from a photo of any size and shape to the square portrait that is animated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from emote_cli.animation.choice import choose_face
from emote_cli.animation.options import FaceChoice
from emote_cli.media.image import crop_and_resize, resize
from emote_cli.perception.echomimic_box import echomimic_square
from emote_cli.perception.geometry import CROP_EXPAND, crop_square, euler_deg, face_box, to_crop
from emote_cli.perception.hidden import are_eyes_closed, is_mouth_covered
from emote_cli.perception.landmarks import EYE_CORNERS
from emote_cli.settings import ModelSettings
from emote_cli.types import Box, Face, Pixels, Portrait

_LEVEL_DEG = 12
"""Heads that lean further are cut out upright."""

_SMALL_SHARE = 0.6
_PROFILE_DEG = 40
_BLURRED = 0.05


CutSquare = Callable[[Pixels, Face], tuple[Face, Box]]
"""A picture and a face in it -> the face as the model is told of it, and the square to cut out."""


def square_for(settings: ModelSettings) -> CutSquare | None:
    """How a model wants faces cut out; None: with a padded margin."""
    return echomimic_square if settings.family.long_video == "overlap" else None


def cut_portrait(
    pixels: Pixels,
    source: Path,
    size: int,
    faces: list[Face],
    choice: FaceChoice = "largest",
    square: CutSquare | None = None,
) -> Portrait:
    """Cut out the padded square around a face, turned upright with it.

    Args:
        pixels: the photo.
        source: its path, for messages.
        size: side of the square, in pixels.
        faces: that were found in the photo, largest first.
        choice: which of them.
        square: cuts out upright faces as a model wants them; None: with a padded margin.

    Raises:
        FaceError: there is no such face.
    """
    height, width = pixels.shape[:2]
    face = choose_face(faces, choice, source, (width, height))
    roll = roll_deg(face)
    if abs(roll) > _LEVEL_DEG:
        crop = tilted_square(face, roll)
        face = _turn_face(face, crop, roll)
    elif square is not None:
        (face, crop), roll = square(pixels, face), 0.0
    else:
        crop, roll = crop_square(face.box_px, width, height), 0.0
    return Portrait(cut_square(pixels, crop, roll, size), to_crop(face, crop, size), crop, source, roll)


def cut_square(pixels: Pixels, crop: Box, roll: float, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Cut a square out of a photo and turn it upright.

    Args:
        pixels: the photo.
        crop: the square before it is turned, in pixels of the photo.
        roll: degrees by which the head leans clockwise (`roll_deg`); the square is turned by them around
            its center.
        size: side of the result in pixels.
    """
    if roll == 0:
        return crop_and_resize(pixels, crop, size)
    return resize(cut_level(pixels, crop, roll), (size, size))


def roll_deg(face: Face) -> float:
    """Measure how far the head leans, from the line through the outer corners of the eyes: clockwise is positive."""
    (x0, y0), (x1, y1) = face.landmarks_px[list(EYE_CORNERS), :2].astype(float)
    return math.degrees(math.atan2(y1 - y0, x1 - x0)) if face.blendshapes else 0.0


def tilted_square(face: Face, roll: float) -> Box:
    """Find the square that, turned by `roll` around its center, holds the head upright."""
    upright = face_box(_turn_face(face, face.box_px, roll).landmarks_px)
    side = max(round(max(upright.width, upright.height) * CROP_EXPAND), 2)
    turn = turn_matrix(face.box_px.center, -roll)
    x, y = (round(float(v) - side / 2) for v in turn[:, :2] @ np.array(upright.center) + turn[:, 2])
    return Box(x, y, x + side, y + side)


def cut_level(pixels: Pixels, square: Box, roll: float) -> UInt8[np.ndarray, "side side 3"]:
    """Cut out a turned square and turn it upright, at its own size; beyond the picture its edge is repeated.

    Args:
        pixels: the photo.
        square: before it is turned, in pixels of the photo.
        roll: degrees by which the head in it leans clockwise.
    """
    matrix = turn_matrix(square.center, roll)
    matrix[:, 2] -= (square.x0, square.y0)
    side = round(square.width)
    turned = cv2.warpAffine(
        pixels, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(turned, np.uint8)


def turn_matrix(center: tuple[float, float], roll: float) -> np.ndarray:
    """Make the affine matrix that turns a picture counter-clockwise by `roll` degrees around a point."""
    return np.asarray(cv2.getRotationMatrix2D(center, roll, 1.0))


def _turn_face(face: Face, around: Box, roll: float) -> Face:
    """The face in a picture that is turned upright around the center of a box."""
    matrix = turn_matrix(around.center, roll)
    points = face.landmarks_px.copy()
    points[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return Face(face_box(points), points, face.pose_4x4, face.blendshapes)


def list_doubts(portrait: Portrait, size: int) -> Iterator[str]:
    """Say what may make the result poor, a sentence each: a small, blurred, turned or covered face.

    Args:
        portrait: the square and its face.
        size: side of the square that the model works on, in pixels.
    """
    side = portrait.crop_px.width
    if side < _SMALL_SHARE * size:
        yield f"the face is small: its square is {side:.0f} pixels wide and is enlarged to {size}"
    pitch, yaw, _ = euler_deg(portrait.face.pose_4x4)
    if abs(yaw) > _PROFILE_DEG or abs(pitch) > _PROFILE_DEG:
        yield f"the face is turned away (yaw {yaw:.0f}, pitch {pitch:.0f} degrees); frontal photos do better"
    if is_mouth_covered(portrait.pixels, portrait.face):
        yield "the mouth cannot be told from its surroundings: a mask, a hand or a microphone would be animated, too"
    if are_eyes_closed(portrait.face):
        yield "the eyes are closed and stay so; a photo with open eyes does better"
    if side >= _SMALL_SHARE * size and sharpness(portrait.pixels) < _BLURRED:
        yield "the photo looks blurred; a sharper one does better"


def sharpness(pixels: Pixels) -> float:
    """Measure sharpness: the Laplacian's deviation over that of the brightness; below 0.05 a photo looks blurred."""
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(gray, cv2.CV_32F).std() / max(float(gray.std()), 1.0))
