"""Draws the frames of a model of motion latents: the portrait itself, moved, with what was hidden painted in.

The network says where the landmarks of the face go. The portrait's mesh goes there, the picture follows its
triangles. The inside of the mouth is the portrait's own where it shows teeth, else a sketch, and the Painter adds to
it. All of it happens at the picture's own size: nothing is enlarged but the field of motion and what is painted.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int

from emote_cli.animation.device import FULL, Precision
from emote_cli.model.painter import HINTS, VIEW, Painter
from emote_cli.perception.face_mesh import (
    RIM,
    fill_mouth,
    lift_lids,
    places,
    similarity,
    warp_field,
    warp_shift,
)
from emote_cli.perception.landmarks import LID_EDGES, OVAL, SKULL
from emote_cli.perception.mouth_inside import find_teeth, measure_blur, show_inside
from emote_cli.perception.mouth_sketch import lip_lines, sketch
from emote_cli.types import Pixels

FIELD_SIDE = 320
"""The motion field is made at most so large, then enlarged: it is smooth."""
FIELD_BLUR = 0.8
"""Pixels, at 256 x 256: it rounds the edges between triangles."""
VIEW_SHARE = 0.62
"""Side of the Painter's square over the height of the face."""
UNDER_EYE = 0.5
"""How far below an eye, over its width, a lid that comes down may change the picture."""
_UPPER_LIP, _LOWER_LIP, _CORNERS, _NOSE = 0, 17, (61, 291), 2

_LOOK_UP: dict[str, Any] = {"interpolation": cv2.INTER_CUBIC, "borderMode": cv2.BORDER_REPLICATE}

Points = Float[np.ndarray, "478 2"]


class View(NamedTuple):
    """The Painter's square in a frame.

    Attributes:
        corner: upper left, x and y in pixels of the frame.
        scale: pixels of the square per pixel of the frame.
        head: the motion of the head from portrait to frame: turn, scale and shift.
    """

    corner: Float[np.ndarray, " 2"]
    scale: float
    head: Float[np.ndarray, "2 3"]


def view_of(points: Points, rest: Points) -> View:
    """Where the Painter looks: a square around the mouth that follows the head, not the lips.

    Args:
        points: the frame's landmarks, in pixels.
        rest: the portrait's.
    """
    skull = list(SKULL)
    head = similarity(rest[skull], points[skull])
    height = np.ptp(rest[list(OVAL), 1])
    middle = rest[[*_CORNERS, _UPPER_LIP, _LOWER_LIP]].mean(0)
    middle[1] += 0.04 * height
    side = VIEW_SHARE * height * math.sqrt(abs(np.linalg.det(head[:, :2])))
    return View(head[:, :2] @ middle + head[:, 2] - side / 2, VIEW / side, head)


def inside_frame(view: View, frame: Pixels) -> tuple[int, int, int, int]:
    """The part of the Painter's square that is in the frame: x0, y0, x1, y1 in whole pixels; may be empty."""
    side = VIEW / view.scale
    x0, y0 = (max(int(v), 0) for v in view.corner)
    x1, y1 = (min(math.ceil(v + side), n) for v, n in zip(view.corner, frame.shape[1::-1], strict=True))
    return x0, y0, x1, y1


class Seen(NamedTuple):
    """What the Painter is told of a frame: see model/painter.py. Pixels are 0..255.

    Attributes:
        moved: the moved portrait, as the frame shows it so far.
        warped: the same with the sketch of a mouth in it.
        portrait: moved with the head only.
        hints: for the Painter.
    """

    moved: Pixels
    warped: Pixels
    portrait: Pixels
    hints: Float[np.ndarray, "5 side side"]


def show_painter(picture: Pixels, rest: Points, points: Points, view: View) -> Seen:
    """The Painter's inputs for a frame.

    Args:
        picture: the portrait.
        rest: its landmarks, in pixels.
        points: the frame's.
        view: where to look, of `view_of`.
    """
    corner, scale, head = view
    now, before = (((np.asarray(p) - corner) * scale).astype(np.float32) for p in (points, rest))
    field = warp_field(now, before, VIEW, VIEW)
    field = cv2.GaussianBlur(field, (0, 0), FIELD_BLUR * max(scale / 2, 1)) / scale + corner
    line = np.arange(VIEW, dtype=np.float64)
    back = cv2.invertAffineTransform(head)
    across, down = (np.stack([line, line], -1) / scale + corner).T
    rigid = [(row[0] * across + row[1] * down[:, None] + row[2]).astype(np.float32) for row in back]
    closed = (((rest @ head[:, :2].T + head[:, 2]) - corner) * scale).astype(np.float32)
    inside, was = (fill_mouth(p, VIEW, VIEW).astype(np.float32) / 255 for p in (now, closed))
    nose = (head[:, :2] @ rest[_NOSE] + head[:, 2] - corner) * scale
    hints = np.empty((HINTS, VIEW, VIEW), np.float32)
    hints[0], hints[1] = inside, was
    hints[2], hints[3] = (line - nose[0]) / VIEW * 2, ((line - nose[1]) / VIEW * 2)[:, None]
    hints[4] = _depth(now)
    moved = cv2.remap(picture, field.astype(np.float32), None, **_LOOK_UP)
    portrait = cv2.remap(picture, *rigid, **_LOOK_UP)
    return Seen(moved, sketch(moved, now, closed, inside), portrait, hints)


def _depth(points: Points) -> Float[np.ndarray, "side side"]:
    """How deep between the lips a pixel is: -0.5 at the upper one, 0.5 at the lower one."""
    line = np.arange(VIEW, dtype=np.float32)
    upper, lower = lip_lines(points, line)
    return np.asarray(np.clip((line[:, None] - upper) / np.maximum(lower - upper, 4), -0.5, 1.5) - 0.5)


class MovingPortrait:
    """A picture whose face can be moved.

    Args:
        picture: the portrait, or the whole photo that it is in.
        rest: landmarks of the face to move, in its pixels.
        painter: of the model.
        precision: in which it paints.
    """

    def __init__(self, picture: Pixels, rest: Points, painter: Painter, precision: Precision = FULL) -> None:
        self.picture, self.rest, self.painter = picture, rest.astype(np.float32), painter
        self.precision = precision
        self.teeth, self.blur_px = find_teeth(picture, self.rest), measure_blur(picture, self.rest)
        height, width = picture.shape[:2]
        oval = self.rest[list(OVAL)]
        reach = np.abs(oval - oval.mean(0)).max(0) * RIM * 1.1
        low, high = oval.mean(0) - reach, oval.mean(0) + reach
        self.x0, self.y0 = (max(int(v), 0) for v in low)
        self.x1, self.y1 = min(math.ceil(high[0]), width), min(math.ceil(high[1]), height)

    def draw(self, points: Points, lids: Points | None = None) -> Pixels:
        """Draw the picture with the face's landmarks at other places, in its pixels.

        Args:
            points: where they are.
            lids: where they are for upper lids that come down; below the lids' edges `points` holds.
        """
        frame = self.picture.copy()
        frame[self.y0 : self.y1, self.x0 : self.x1] = self._warped(points)
        if lids is not None:
            self._lower_lids(frame[self.y0 : self.y1, self.x0 : self.x1], points, lids)
        view = view_of(points, self.rest)
        x0, y0, x1, y1 = inside_frame(view, frame)
        if x1 <= x0 or y1 <= y0:
            return frame
        part, corner = frame[y0:y1, x0:x1], np.array([x0, y0])
        if self.teeth.share < 1:
            self._paint(part, corner, points, view)
        self._show_inside(part, corner, points, view)
        return frame

    def _lower_lids(self, part: Pixels, points: Points, lids: Points) -> None:
        """Let upper lids cover the eyes, in place: an eye keeps its place in the skull and is not squeezed."""
        closed, origin = self._warped(lids), np.array([self.x0, self.y0], np.float32)
        edges, below = lift_lids(lids, self.rest) - origin, points - origin
        seen = np.zeros(part.shape[:2], np.uint8)
        for upper, lower in LID_EDGES:
            first, last = below[lower[0]], below[lower[-1]]
            across = last - first
            down = np.array([-across[1], across[0]], np.float32) * np.copysign(1, across[0])
            beside = [last + 0.3 * across + 0.1 * down, first - 0.3 * across + 0.1 * down]
            under = [point + UNDER_EYE * down for point in beside]
            outline = np.stack([*edges[list(upper)], beside[0], *under, beside[1]])
            cv2.fillPoly(seen, [np.round(outline * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        share = (seen.astype(np.float32) / 255)[..., None]
        part[:] = np.rint(closed * (1 - share) + part * share)

    def _warped(self, points: Points) -> Pixels:
        width, height = self.x1 - self.x0, self.y1 - self.y0
        scale = min(FIELD_SIDE / max(width, height), 1.0)
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        origin, steps = np.array([self.x0, self.y0]), np.array([size[0] / width, size[1] / height])
        now, before = (
            ((p - origin) * steps - (1 - steps) / 2).astype(np.float32) for p in (points, self.rest)
        )
        shift = warp_shift(now, before, *size)
        face = np.ptp(before[list(OVAL), 1])
        shift = cv2.GaussianBlur(shift, (0, 0), max(FIELD_BLUR * face / 150, 0.3))
        if size != (width, height):
            shift = cv2.resize(shift, (width, height), interpolation=cv2.INTER_LINEAR) / steps.astype(
                np.float32
            )
        field = shift + places(width, height) + origin.astype(np.float32)
        return np.asarray(cv2.remap(self.picture, field, None, **_LOOK_UP))

    def _show_inside(self, part: Pixels, corner: Int[np.ndarray, " 2"], points: Points, view: View) -> None:
        """Draw the opening, in place: at the frame's size, the portrait's own teeth as sharp as the photo."""
        portrait = None
        if self.teeth.share:
            back = cv2.invertAffineTransform(view.head)
            back[:, 2] += back[:, :2] @ corner
            flags, size = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, part.shape[1::-1]
            portrait = cv2.warpAffine(self.picture, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        rest = self.rest @ view.head[:, :2].T + view.head[:, 2]
        now, closed = ((p - corner).astype(np.float32) for p in (points, rest))
        show_inside(part, portrait, now, closed, self.teeth, self.blur_px)

    def _paint(self, part: Pixels, corner: Int[np.ndarray, " 2"], points: Points, view: View) -> None:
        """Add what is new, in place."""
        new = self._painted(show_painter(self.picture, self.rest, points, view))
        x, y = (
            (np.arange(a, a + n) - c) * view.scale
            for a, n, c in zip(corner, part.shape[1::-1], view.corner, strict=True)
        )
        at = np.empty((len(y), len(x), 2), np.float32)
        at[..., 0], at[..., 1] = x, y[:, None]
        new = cv2.remap(new, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        new += part
        part[:] = np.rint(np.clip(new, 0, 255, out=new), out=new)

    @torch.inference_mode()
    def _painted(self, seen: Seen) -> Float[np.ndarray, "side side 3"]:
        """What is new, less what the frame shows so far, in -255..255; nothing at the square's edges."""
        weight = self.painter.conv_in.weight
        told = (np.concatenate([seen.warped, seen.portrait], -1, dtype=np.float32) / 127.5 - 1).transpose(
            2, 0, 1
        )
        maps = [torch.from_numpy(v)[None].to(weight) for v in (told[:3], told[3:], seen.hints)]
        with self.precision.autocast(weight.device):
            painted = self.painter.paint(*maps)
        pixels = (painted[0].permute(1, 2, 0).float().clamp(-1, 1) + 1).mul(127.5).cpu().numpy()
        return np.ascontiguousarray((pixels - seen.moved) * _FADE)


def _fade() -> Float[np.ndarray, "side side 1"]:
    """1 in the square, falling to 0 at its edges."""
    line = np.clip(np.minimum(np.arange(VIEW), np.arange(VIEW)[::-1]) / (0.1 * VIEW), 0, 1)
    return np.asarray(np.outer(line, line), np.float32)[..., None]


_FADE = _fade()
