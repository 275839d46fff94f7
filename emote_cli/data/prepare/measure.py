"""What the filters look at: numbers measured on the frames, the track and the sound of one segment."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from emote_cli.media.banner import PictureKind
from emote_cli.perception.geometry import euler_deg
from emote_cli.perception.tracking import head_speed_deg_s
from emote_cli.types import Box, Face, FaceTrack, Pixels

_LOOK_EVERY = 5
"""Brightness and sharpness are taken from every fifth frame."""

_FACE_SIZE = 128
_FROZEN_WIDTH = 160
_FROZEN_STEP = 2
"""Frames whose pixels all differ by at most this (of 255) are the same picture, encoded twice."""

_SECOND_FACE = 0.1
"""A second face counts from this share of the first one's area on."""


@dataclass(slots=True)
class FrameStatistics:
    """Gathers what can only be seen while the frames go by.

    Attributes:
        several: frames with a second face that is nearly as large.
        frozen: frames that are equal to the one before.
        n_frames: seen so far.
        brightness: of the largest face, every few frames, 0 ... 255.
        sharpness: of the largest face, every few frames.
    """

    several: int = 0
    frozen: int = 0
    n_frames: int = 0
    brightness: list[float] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    _before: np.ndarray | None = None

    def add(self, frame: Pixels, faces: list[Face]) -> None:
        """Take in one frame and the faces in it, largest first."""
        height = max(1, round(frame.shape[0] * _FROZEN_WIDTH / frame.shape[1]))
        now = cv2.cvtColor(
            cv2.resize(frame, (_FROZEN_WIDTH, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY
        )
        if self._before is not None:
            self.frozen += int(cv2.absdiff(now, self._before).max() <= _FROZEN_STEP)
        self._before = now
        self.several += len(faces) > 1 and faces[1].box_px.area >= _SECOND_FACE * faces[0].box_px.area
        if faces and self.n_frames % _LOOK_EVERY == 0:
            self._look_at(frame, faces[0].box_px)
        self.n_frames += 1

    def _look_at(self, frame: Pixels, box: Box) -> None:
        height, width = frame.shape[:2]
        x0, x1 = (min(max(round(v), 0), width) for v in (box.x0, box.x1))
        y0, y1 = (min(max(round(v), 0), height) for v in (box.y0, box.y1))
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        face = cv2.resize(frame[y0:y1, x0:x1], (_FACE_SIZE, _FACE_SIZE), interpolation=cv2.INTER_AREA)
        gray = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
        self.brightness.append(float(gray.mean()))
        self.sharpness.append(float(cv2.Laplacian(gray, cv2.CV_64F).var()))

    def values(self) -> dict[str, float]:
        """Shares of frames with several faces or a frozen picture, brightness and sharpness of the face."""
        seen = {
            "several": self.several / max(self.n_frames, 1),
            "frozen": self.frozen / max(self.n_frames - 1, 1),
        }
        if self.brightness:
            seen["brightness"] = float(np.median(self.brightness))
            seen["sharpness"] = float(np.median(self.sharpness))
        return seen


def track_values(track: FaceTrack, crop_px: Box | None, width: int, height: int) -> dict[str, float]:
    """Measure what the track tells: share of frames without a face, sizes, angles, speed, jumps.

    Args:
        track: in pixels of the video.
        crop_px: the crop, None if there is no face at all.
        width: of the video in pixels.
        height: of the video in pixels.
    """
    values = {"missing": 1 - float(track.found.mean())}
    if crop_px is None:
        return values
    boxes = track.boxes_px[track.found].astype(np.float64)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    angles = np.abs([euler_deg(pose) for pose in track.pose_4x4[track.found]])
    values["face_px"] = float(np.median(sides))
    values["face_share"] = float(np.median(sides)) / crop_px.width
    values["pitch_deg"], values["yaw_deg"], values["roll_deg"] = (
        float(v) for v in np.percentile(angles, 95, axis=0)
    )
    values["outside"] = float(np.percentile(_outside(boxes, width, height), 95))
    values["jump"] = _largest_jump(track)
    speed = head_speed_deg_s(track)
    if np.isfinite(speed).any():
        values["speed_deg_s"] = float(np.nanmean(speed))
    return values


def _outside(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    inside = np.clip(boxes, 0, [width, height, width, height])
    area, seen = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, inside))
    return np.asarray(1 - seen / np.maximum(area, 1e-6))


def _largest_jump(track: FaceTrack) -> float:
    """The largest step of the face's center between neighboring frames, in longer sides of its box."""
    both = track.found[1:] & track.found[:-1]
    boxes = track.boxes_px.astype(np.float64)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    steps = np.linalg.norm(np.diff(centers, axis=0), axis=1)[both]
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)[1:][both]
    return float((steps / sides).max()) if len(steps) else 0.0


STORAGE = {
    "hdr": "HDR (PQ or HLG), tone-mapped",
    "interlaced": "interlaced, made whole",
    "rotation_deg": "rotated, turned upright",
    "pixel_aspect": "pixels not square, stretched",
}
"""How footage may be stored otherwise than it is shown, in words."""


def storage_values(kind: PictureKind) -> dict[str, float]:
    """Tell how the footage is stored, where that is not how it is shown; by the names of `STORAGE`."""
    values = {
        "hdr": float(kind.is_hdr),
        "interlaced": float(bool(kind.fields)),
        "rotation_deg": float(kind.rotation_deg),
        "pixel_aspect": float(kind.pixel_aspect) if kind.pixel_aspect != 1 else 0.0,
    }
    return {name: value for name, value in values.items() if value}
