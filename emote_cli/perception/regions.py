"""Where a face and its lips are, as Hallo's weights are used to be told: boxes and soft masks.

Boxes, not outlines. The masks that weigh the three audio branches are blurred at 64x64 and stored as bytes on
the way, which is reproduced here: the weights have seen it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from emote_cli.perception.landmarks import LIPS, OVAL

FACE_RATIO, LIP_RATIO = 1.2, 2.0
MASK_SIDE = 64
FACE_BLUR, LIP_BLUR = 51, 31

Landmarks = Float[np.ndarray, "478 _"]
Mask = UInt8[np.ndarray, "height width"]


@dataclass(frozen=True, slots=True)
class HalloRegions:
    """What Hallo is told of a portrait.

    Attributes:
        face: the hard face box at the model's size, 0..1.
        levels: per level of the U-Net, finest first: weights of the full, face and lip branch at every place.
    """

    face: Float[np.ndarray, "height width"]
    levels: tuple[Float[np.ndarray, "3 _"], ...]


def enlarge_box(
    landmarks_px: Landmarks, which: Sequence[int], ratio: float, width: int, height: int
) -> tuple[int, int, int, int]:
    """Draw a box around some landmarks, enlarge it about its center, and keep it inside the picture.

    Args:
        landmarks_px: of the face.
        which: numbers of the landmarks to put the box around.
        ratio: how many times as wide and high the box becomes.
        width: of the picture in pixels.
        height: of the picture.

    Returns:
        x0, x1, y0, y1 in pixels, half-open.
    """
    points = np.round(landmarks_px[list(which), :2]).astype(int)
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return (*_enlarge(int(x0), int(x1), ratio, width), *_enlarge(int(y0), int(y1), ratio, height))


def _enlarge(low: int, high: int, ratio: float, limit: int) -> tuple[int, int]:
    """One side of the box; what would stick out at one end is added at the other."""
    center, half = (low + high) // 2, int((high - low) * ratio) // 2
    low, high = center - half, center + half
    if low < 0:
        low, high = 0, high - low
    if high > limit:
        low, high = low - (high - limit), limit
    return max(low, 0), min(high, limit)


def box_mask(box: tuple[int, int, int, int], width: int, height: int) -> Mask:
    """Draw a box as a mask: 255 inside, 0 outside.

    Args:
        box: x0, x1, y0, y1 in pixels, half-open.
        width: of the picture in pixels.
        height: of the picture.
    """
    mask = np.zeros((height, width), np.uint8)
    mask[box[2] : box[3], box[0] : box[1]] = 255
    return mask


def blur(mask: Mask, kernel: int) -> UInt8[np.ndarray, "64 64"]:
    """Shrink to 64x64, blur, and stretch to 0..255."""
    small = cv2.resize(mask, (MASK_SIDE, MASK_SIDE))
    soft = cv2.GaussianBlur(small, (kernel, kernel), 0)
    return np.asarray(cv2.normalize(soft, np.zeros_like(soft), 0, 255, cv2.NORM_MINMAX), np.uint8)


def branch_masks(face: Mask, lips: Mask) -> tuple[UInt8[np.ndarray, "64 64"], ...]:
    """Draw the weights of the full, face and lip branch, 0..255: around the face, the face without lips, the lips."""
    soft_face, soft_lips = blur(face, FACE_BLUR), blur(lips, LIP_BLUR)
    around = (255.0 * (1.0 - soft_face / 255.0)).astype(np.uint8)
    return around, np.asarray(cv2.subtract(soft_face, soft_lips), np.uint8), soft_lips


def hallo_regions(
    landmarks_px: Landmarks,
    width: int,
    height: int,
    size: int,
    levels: int = 4,
    face_ratio: float = FACE_RATIO,
) -> HalloRegions:
    """Compute everything that Hallo is told about where the face is.

    Args:
        landmarks_px: 478 landmarks in pixels of the portrait.
        width: of the portrait in pixels.
        height: of the portrait in pixels.
        size: of the model's pictures in pixels; its latents are 8 times smaller.
        levels: of the U-Net.
        face_ratio: how far the face box is enlarged.
    """
    face = box_mask(enlarge_box(landmarks_px, OVAL, face_ratio, width, height), width, height)
    lips = box_mask(enlarge_box(landmarks_px, LIPS, LIP_RATIO, width, height), width, height)
    masks = branch_masks(face, lips)
    sides = [size // 8 // 2**level for level in range(levels)]
    return HalloRegions(
        face=resize_mask(face, size).astype(np.float32) / 255,
        levels=tuple(
            np.stack([resize_mask(mask, side).reshape(-1) for mask in masks]).astype(np.float32) / 255
            for side in sides
        ),
    )


def resize_mask(mask: Mask, side: int) -> UInt8[np.ndarray, "side side"]:
    """Squash a mask to a square, bilinear with Pillow's filter."""
    return np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.BILINEAR))
