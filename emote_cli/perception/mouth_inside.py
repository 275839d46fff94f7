"""What a frame shows between the lips: the portrait's own teeth where it shows them, a sketch where it does not.

Teeth do not stretch: upper ones are fixed to the skull, lower ones go with the jaw. All is drawn at the frame's size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from emote_cli.perception.face_mesh import fill_mouth
from emote_cli.perception.geometry import measure_gap
from emote_cli.perception.landmarks import LID_EDGES, LOWER_INNER_LIP, UPPER_INNER_LIP
from emote_cli.perception.mouth_sketch import (
    SOFTNESS,
    draw_mouth,
    find_box,
    find_light,
    lip_lines,
    millimeter,
)
from emote_cli.types import Pixels

SKETCHED = 0.8
"""How much of a new opening shows the sketch itself; the rest is the Painter's."""
_WIDER_MM = (0.8, 2.5)
"""How much farther than in the portrait lips are apart when the sketch begins to show, and shows."""
_OWN_MM = (1.0, 1.8)
"""Gaps of the portrait's lips from which on its own inside begins to be kept, and is kept whole."""
_LIP_MM = 0.8
"""So near to the portrait's lips a pixel may be theirs."""
_WHITE = (0.4, 0.65)
"""Shares of white between the lips from which on it may be teeth, and is teeth."""
_WHITE_ABOVE, _LOWER_HALF = 0.4, 0.4
"""Teeth that are so much rarer above than below are the lower ones, from this share of the gap down."""
LEAST_BLUR_PX, _MOST_BLUR_PX = 0.6, 6.0
"""A face so sharp is blurred by nothing; one more blurred is not believed."""
_LEAN_DEG = (30.0, 45.0)
"""A face that leans farther is left to the Painter, little by little."""
_AROUND_EYE_MM = 3.0

Points = Float[np.ndarray, "478 2"]


class Teeth(NamedTuple):
    """What an open mouth shows.

    Attributes:
        share: how sure it is that these are teeth, 0..1.
        lower: whether they are the lower ones.
    """

    share: float
    lower: bool


def find_teeth(picture: Pixels, points: Points) -> Teeth:
    """Look for teeth between the lips: less red than the lips, and not darker.

    Args:
        picture: with a face.
        points: its landmarks, in pixels.
    """
    upper, lower = (points[list(lip[3:-3])].mean(0) for lip in (UPPER_INNER_LIP, LOWER_INNER_LIP))
    half = 0.25 * float(np.ptp(points[list(UPPER_INNER_LIP), 0]))
    depth, across = np.mgrid[0.2:0.8:7j, -half:half:9j].astype(np.float32)
    inside = upper + depth[..., None] * (lower - upper) + np.stack([across, np.zeros_like(across)], -1)
    lips = (points[[37, 0, 267, 84, 17, 314]] + points[[81, 13, 311, 178, 14, 402]]) / 2
    light, red, _ = np.moveaxis(_lab_at(picture, inside) - np.median(_lab_at(picture, lips[None]), 1), -1, 0)
    white = (red < -5) & (light > -8)
    gap_mm = float(measure_gap(points)) / millimeter(points)
    share = _ramp(gap_mm, _OWN_MM) * _ramp(float(white.mean()), _WHITE) * _upright(points)
    return Teeth(share, bool(white[:3].mean() < _WHITE_ABOVE * white[4:].mean()))


def _upright(points: Points) -> float:
    """1 for a face that stands, 0 for one that lies: a mouth is drawn from above to below in the picture."""
    across = points[263] - points[33]
    lean_deg = math.degrees(math.atan2(abs(float(across[1])), float(across[0])))
    return 1 - _ramp(lean_deg, _LEAN_DEG)


def _ramp(value: float, ends: tuple[float, float]) -> float:
    """0 up to the first end, 1 from the second one on."""
    return float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0, 1))


def _lab_at(picture: Pixels, places: Float[np.ndarray, "h w 2"]) -> Float[np.ndarray, "h w 3"]:
    """CIELAB colors at some places."""
    colors = cv2.remap(picture, places.astype(np.float32), None, cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(colors.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))


def measure_blur(picture: Pixels, points: Points) -> float:
    """Measure how blurred a face is: the deviation, in pixels, of the Gaussian that would make its eyes' edges so wide.

    Args:
        picture: with a face.
        points: its landmarks, in pixels.
    """
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    around = _AROUND_EYE_MM * millimeter(points)
    blurs = []
    for upper, lower in LID_EDGES:
        edge = points[[*upper, *lower]]
        x0, y0 = np.maximum(edge.min(0) - around, 0).astype(int)
        x1, y1 = np.maximum(edge.max(0) + around + 1, 0).astype(int)
        eye = gray[y0:y1, x0:x1]
        if min(eye.shape) < 2:
            continue
        steepest = float(np.percentile(np.hypot(*np.gradient(eye)), 99))
        height = float(np.percentile(eye, 98) - np.percentile(eye, 2))
        blurs.append(height / max(steepest * math.sqrt(2 * math.pi), 1e-3))
    return min(float(np.mean(blurs)), _MOST_BLUR_PX) if blurs else LEAST_BLUR_PX


def show_inside(
    moved: Pixels, portrait: Pixels | None, now: Points, rest: Points, teeth: Teeth, blur_px: float
) -> None:
    """Put the sketch into an opening that the portrait did not show, and the portrait's own teeth into it. In place.

    Args:
        moved: a part of the moved portrait.
        portrait: the same part of the portrait, moved with the head only; None where it shows no teeth.
        now: the frame's landmarks, in pixels of the part.
        rest: the portrait's, moved with the head only.
        teeth: of `find_teeth`.
        blur_px: of the portrait, of `measure_blur`: a sketch is no sharper.
    """
    wider_mm = float(measure_gap(now) - measure_gap(rest)) / millimeter(rest)
    share = max(teeth.share, SKETCHED * _ramp(wider_mm, _WIDER_MM) * _upright(rest))
    inside = fill_mouth(now, moved.shape[1], moved.shape[0]).astype(np.float32) / 255
    if not share or not inside.any():
        return
    softness = max(SOFTNESS, blur_px)
    box = find_box(inside, softness)
    alpha = (cv2.GaussianBlur(inside, (0, 0), softness)[box] * share)[..., None]
    mouth = draw_mouth(now, rest, box) * find_light(moved)
    if blur_px > LEAST_BLUR_PX:
        mouth = cv2.GaussianBlur(mouth, (0, 0), math.sqrt(blur_px**2 - LEAST_BLUR_PX**2))
    if portrait is not None:
        own = _keep_own(mouth, portrait, now, rest, box, lower_teeth=teeth.lower)
        mouth += teeth.share * (own - mouth)
    moved[box] = np.rint(moved[box] * (1 - alpha) + mouth * alpha).clip(0, 255)


def _keep_own(
    mouth: Float[np.ndarray, "h w 3"],
    portrait: Pixels,
    now: Points,
    rest: Points,
    box: tuple[slice, slice],
    *,
    lower_teeth: bool,
) -> Float[np.ndarray, "h w 3"]:
    """The inside that the portrait shows, over a sketched one: upper teeth stay, lower ones go with the lower lip."""
    y, x = (v.astype(np.float32) for v in np.mgrid[box])
    near = _LIP_MM * millimeter(rest)
    upper, lower = (lip.astype(np.float32) for lip in lip_lines(rest, x[0]))
    gap = lower - upper
    down = np.zeros_like(gap)
    first, last = upper + near, np.maximum(lower - near, upper + near)
    if lower_teeth:
        down = lip_lines(now, x[0])[1].astype(np.float32) - lower
        first = upper + _LOWER_HALF * gap
        shown = np.clip((y - down - first) / near + 0.5, 0, 1)
    else:
        shown = np.clip((last - y) / near + 0.5, 0, 1)
    line = np.clip(y - down, first, np.maximum(last, first))
    own = cv2.remap(portrait, x, line, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shown = shown * np.clip(gap / (4 * near) - 0.5, 0, 1)
    return np.asarray(mouth + shown[..., None] * (own - mouth))
