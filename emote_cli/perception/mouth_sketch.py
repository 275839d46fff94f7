"""A sketch of a mouth's inside: where teeth are, how dark it is behind them.

Anatomy, not a picture: upper teeth are fixed to the skull, a little below the resting upper lip; an incisor is
8.5 mm wide; eyes are 62 mm apart. Where the portrait's mouth is closed, the Painter sees the sketch in place of
stretched lips and adds to it. What a frame shows of the sketch is in mouth_inside.py.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from jaxtyping import Float

from emote_cli.perception.geometry import measure_gap
from emote_cli.perception.landmarks import LOWER_INNER_LIP, UPPER_INNER_LIP
from emote_cli.types import Pixels

EYES_MM = 62.0
TOOTH_WIDTHS_MM = (8.5, 6.6, 7.4, 6.6, 6.4)
"""From the middle outwards: incisors, canine, premolars."""
EDGE_MM = 2.2
"""How far the incisors' edges are below the resting upper lip."""
TEETH, GUM_SHADE, CAVITY, TONGUE = (206, 190, 172), 0.72, (58, 26, 28), (142, 76, 74)
"""Colors in RGB on skin of the usual brightness; the shade is of teeth right under the lip."""
SKIN = (190, 148, 130)

Points = Float[np.ndarray, "478 2"]
_SEAM, _SEAM_MM = 0.3, 0.3
"""How much darker it is where two teeth meet, and how wide."""
SOFTNESS = 0.7
"""Pixels by which the opening's edge is blurred."""
_SHOWS = 0.6
"""A mouth that is open so far of the way shows its own inside."""


def sketch(warped: Pixels, now: Points, rest: Points, inside: Float[np.ndarray, "height width"]) -> Pixels:
    """Draw a sketched mouth onto the warped portrait where the portrait had none.

    Args:
        warped: the moved portrait.
        now: the frame's landmarks, in its pixels.
        rest: the portrait's, moved with the head only.
        inside: the mouth's opening, 0..1.
    """
    share = _share_of_new(now, rest)
    if share == 0 or measure_gap(now) < 1 or not inside.any():
        return warped
    box = find_box(inside, SOFTNESS)
    alpha = (cv2.GaussianBlur(inside, (0, 0), SOFTNESS)[box] * share)[..., None]
    mouth = draw_mouth(now, rest, box) * find_light(warped)
    sketched = warped.copy()
    sketched[box] = np.rint(warped[box] * (1 - alpha) + mouth * alpha).clip(0, 255)
    return sketched


def _share_of_new(now: Points, rest: Points) -> float:
    """How much of the opening the portrait did not show, 0..1."""
    opened, was = float(measure_gap(now)), float(measure_gap(rest))
    return float(np.clip(1 - was / (_SHOWS * opened + 1e-3), 0, 1))


def millimeter(points: Points) -> float:
    """How many pixels a millimeter of the face is."""
    right, left = points[[33, 133]].mean(0), points[[362, 263]].mean(0)
    return float(np.linalg.norm(left - right)) / EYES_MM


def find_box(inside: Float[np.ndarray, "height width"], blur_px: float) -> tuple[slice, slice]:
    """Find the rows and columns that the blurred opening reaches."""
    far = math.ceil(4 * blur_px)
    spans = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    rows, columns = (
        slice(max(int(span[0]) - far, 0), min(int(span[-1]) + far + 1, size))
        for span, size in zip(spans, inside.shape, strict=True)
    )
    return rows, columns


def draw_mouth(now: Points, rest: Points, box: tuple[slice, slice]) -> Float[np.ndarray, "h w 3"]:
    """Draw teeth, tongue and cavity in some rows and columns, in the usual light; RGB, 0..255.

    Args:
        now: the frame's landmarks, in its pixels.
        rest: the portrait's, moved with the head only.
        box: rows and columns of the frame that are drawn.
    """
    y, x = (v.astype(np.float32) for v in np.mgrid[box])
    mm = millimeter(rest)
    middle = rest[[61, 291]].mean(0)
    tilt = (rest[291] - rest[61]) / max(float(np.linalg.norm(rest[291] - rest[61])), 1e-3)
    across = (x - middle[0]) * tilt[0] + (y - middle[1]) * tilt[1]
    upper, lower = (np.broadcast_to(lip.astype(np.float32), x.shape) for lip in lip_lines(now, x[0]))
    edge = rest[13, 1] + (EDGE_MM + 0.0016 * -((across / mm) ** 2)) * mm + (across * tilt[1])
    sides = np.clip(1 - (np.abs(across) / (27 * mm)) ** 2, 0.25, 1)
    white = _soft(edge - y) * _shade_between_teeth(np.abs(across) / mm, mm) * sides
    shade = GUM_SHADE + (1 - GUM_SHADE) * np.clip((y - upper) / (2.5 * mm), 0, 1)
    depth = np.clip((y - upper) / np.maximum(lower - upper, 1), 0, 1)
    tongue = np.clip((depth - 0.55) / 0.4, 0, 1) * np.clip((lower - upper) / (7 * mm) - 0.3, 0, 1) * sides
    dark, flesh, bright = (np.array(c, np.float32) for c in (CAVITY, TONGUE, TEETH))
    inner = dark + tongue[..., None] * (flesh - dark)
    return np.asarray(inner + white[..., None] * (bright * shade[..., None] - inner))


def find_light(warped: Pixels) -> Float[np.ndarray, " 3"]:
    """Find how bright and of what color the light on the face is, from the skin around the mouth."""
    height, width = warped.shape[:2]
    skin = np.median(warped[height // 4 : 3 * height // 4, width // 5 : 4 * width // 5].reshape(-1, 3), 0)
    ratio = skin / np.array(SKIN, np.float32)
    brightness = float(np.clip(ratio.mean(), 0.2, 1.15)) ** 0.7
    tint = (ratio / max(float(ratio.mean()), 1e-3)) ** 0.4
    return np.asarray(brightness * tint, np.float32)


def lip_lines(
    points: Points, x: Float[np.ndarray, " w"]
) -> tuple[Float[np.ndarray, " w"], Float[np.ndarray, " w"]]:
    """Heights of the upper and the lower inner lip at each x, in pixels, y down."""
    upper, lower = (interpolate_line(points[list(lip)], x) for lip in (UPPER_INNER_LIP, LOWER_INNER_LIP))
    return upper, lower


def interpolate_line(points: Float[np.ndarray, "n 2"], x: Float[np.ndarray, " w"]) -> Float[np.ndarray, " w"]:
    """Interpolate the line through some points at each x; heights in pixels, y down."""
    order = np.argsort(points[:, 0])
    return np.interp(x, points[order, 0], points[order, 1])


def _soft(distance: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """1 above an edge, 0 below it, a pixel wide."""
    return np.clip(distance + 0.5, 0, 1)


def _shade_between_teeth(across_mm: Float[np.ndarray, "h w"], mm: float) -> Float[np.ndarray, "h w"]:
    """A little darker where two teeth meet."""
    seams = np.concatenate([[0.0], np.cumsum(TOOTH_WIDTHS_MM)])
    away = np.abs(across_mm[..., None] - seams).min(-1)
    return (1 - _SEAM * np.exp(-((away / max(_SEAM_MM, 0.8 / mm)) ** 2))).astype(np.float32)
