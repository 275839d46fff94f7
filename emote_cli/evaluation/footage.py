"""What can be seen and heard in a video, as numbers per frame: read once, whatever the length, and kept in little memory.

Faces are found by MediaPipe in every frame. A square around the first face (1.7 times its box, as `emote animate` cuts it out),
scaled to 256x256, is the window in which pictures are looked at; it moves only where the face leaves it.
Ten minutes of 256x256 at 25 fps take 260 CPU seconds and 0.55 GB; one minute takes 28 s and 0.48 GB.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from emote_cli.errors import InputError
from emote_cli.media.audio import open_audio
from emote_cli.media.image import cut_window
from emote_cli.media.video import probe, read_frames
from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.perception.geometry import crop_square, face_box, mouth_box, overlap, rotation
from emote_cli.perception.landmarks import EYE_CORNERS, EYES, LID_EDGES, LOWER_LIP, NOSE_TIP, UPPER_LIP
from emote_cli.perception.lip_reading import read_lips_from_sound, voice_energy
from emote_cli.perception.sface import SFace
from emote_cli.types import Box, Face, Pixels
from emote_cli.zoo.locate import locate_bundled

SIDE = 256
"""Side of the window in which pictures are looked at."""

IDENTITY_EVERY = 5
"""Frames from one look at the identity to the next."""

_MOUTH_CORNERS = (61, 291)
_INNER_LIPS = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191]
_EYES = [point for eye in EYES for part in eye for point in part]
_OPEN = 0.06
"""Lip gap over the distance of the eyes from which on the inside of the mouth is looked at."""
_HEAD = 1.7
"""Width of the head with its hair, in widths of the face's box."""


@dataclass(frozen=True, slots=True)
class Footage:
    """A watched video. Rows of frames without a face hold NaN.

    Attributes:
        fps: frames per second, as its container says.
        width: of the picture in pixels.
        height: of the picture in pixels.
        sound_s: length of the sound, 0 without any.
        found: whether there is a face.
        boxes_px: x0, y0, x1, y1 of the face.
        mouths_px: the same of the outer lips.
        turn: rotation of the head.
        expressions: MediaPipe's 52 blendshapes, 0..1, in its own order.
        jaw: MediaPipe's jawOpen, 0..1.
        gap: between the inner lips, over the distance of the outer eye corners.
        width_of_mouth: from corner to corner, over the same distance.
        lids: how far they are apart, over the width of the eye; mean of both eyes.
        change: mean difference of the window's gray values to the frame before, in 0..255; NaN where it moved.
        still_change: the same beside the head, above the chin; NaN where there is no room.
        mouth_sharpness: variance of the Laplacian around the mouth.
        eyes_sharpness: around the eyes.
        skin_lab: mean CIELAB color from the forehead to the nose.
        inside_lab: mean CIELAB color inside the lips; NaN where they are nearly closed.
        heard: how far open the lips should be by the sound (`perception.lip_reading`); NaN without any.
        energy: of the voice, every 10 ms (`voice_energy`).
        looked: the frames whose identity was taken.
        identity: SFace's vectors of these frames; none without the network.
    """

    fps: float
    width: int
    height: int
    sound_s: float
    found: Bool[np.ndarray, " frames"]
    boxes_px: Float[np.ndarray, "frames 4"]
    mouths_px: Float[np.ndarray, "frames 4"]
    turn: Float[np.ndarray, "frames 3 3"]
    expressions: Float[np.ndarray, "frames 52"]
    jaw: Float[np.ndarray, " frames"]
    gap: Float[np.ndarray, " frames"]
    width_of_mouth: Float[np.ndarray, " frames"]
    lids: Float[np.ndarray, " frames"]
    change: Float[np.ndarray, " frames"]
    still_change: Float[np.ndarray, " frames"]
    mouth_sharpness: Float[np.ndarray, " frames"]
    eyes_sharpness: Float[np.ndarray, " frames"]
    skin_lab: Float[np.ndarray, "frames 3"]
    inside_lab: Float[np.ndarray, "frames 3"]
    heard: Float[np.ndarray, " frames"]
    energy: Float[np.ndarray, " steps"]
    looked: Int[np.ndarray, " looks"]
    identity: Float[np.ndarray, "looks d"]

    @property
    def n_frames(self) -> int:
        """How many frames there are."""
        return len(self.found)

    @property
    def seconds(self) -> float:
        """Length of the picture."""
        return self.n_frames / self.fps

    @property
    def times_s(self) -> Float[np.ndarray, " frames"]:
        """When each frame is shown."""
        return np.arange(self.n_frames) / self.fps


def watch(path: Path, sface: SFace | None = None, on_frame: Callable[[int], object] = int) -> Footage:
    """Read a video from beginning to end.

    Args:
        path: any video; variable frame rates are straightened to the mean one.
        sface: for the identity; None leaves it out.
        on_frame: called with the number of frames just seen (1).

    Raises:
        InputError: the file is missing, unreadable, or no video.
    """
    info = probe(path)
    notes = _Notes(sface)
    with FaceAnalyzer(locate_bundled("face_landmarker.task"), max_faces=2, video=True) as analyzer:
        for number, frame in enumerate(read_frames(path, fps=info.fps)):
            notes.add(frame, analyzer.analyze(frame, round(number * 1000 / info.fps)))
            on_frame(1)
    fps = float(info.fps)
    sound = open_audio(path) if info.has_audio else None
    n_frames = notes.n_frames
    return Footage(
        fps=fps,
        width=info.width,
        height=info.height,
        sound_s=sound.duration_s if sound else 0.0,
        heard=(
            read_lips_from_sound(sound, fps, n_frames) if sound else np.full(n_frames, np.nan, np.float32)
        ),
        energy=voice_energy(sound, sound.duration_s) if sound else np.zeros(0, np.float32),
        **notes.arrays(),
    )


@dataclass(slots=True)
class _Row:
    """The numbers of one frame; NaN: not known."""

    found: bool = False
    boxes_px: tuple[float, ...] = (math.nan,) * 4
    mouths_px: tuple[float, ...] = (math.nan,) * 4
    turn: np.ndarray = field(default_factory=lambda: np.full((3, 3), np.nan, np.float32))
    expressions: np.ndarray = field(default_factory=lambda: np.full(52, np.nan, np.float32))
    jaw: float = math.nan
    gap: float = math.nan
    width_of_mouth: float = math.nan
    lids: float = math.nan
    change: float = math.nan
    still_change: float = math.nan
    mouth_sharpness: float = math.nan
    eyes_sharpness: float = math.nan
    skin_lab: tuple[float, ...] = (math.nan,) * 3
    inside_lab: tuple[float, ...] = (math.nan,) * 3


class _Notes:
    """Takes frames in, one after the other, and remembers of the last one only what the next needs."""

    def __init__(self, sface: SFace | None) -> None:
        self.n_frames = 0
        self._columns = {each.name: array("f") for each in fields(_Row)}
        self._sface = sface
        self._looked: list[int] = []
        self._vectors: list[np.ndarray] = []
        self._last: Face | None = None
        self._window: Box | None = None
        self._anchored = False
        self._before: UInt8[np.ndarray, "side side"] | None = None
        self._whole_before: UInt8[np.ndarray, "h w"] | None = None

    def add(self, frame: Pixels, faces: list[Face]) -> None:
        """Take in one frame and the faces in it, largest first."""
        row, number = _Row(), self.n_frames
        face = _same_face(faces, self._last)
        self._last = face or self._last
        moved = self._place_window(frame, face)
        assert self._window is not None
        window = cut_window(frame, self._window, SIDE)
        gray = cv2.cvtColor(window, cv2.COLOR_RGB2GRAY)
        if self._before is not None and not moved:
            row.change = float(cv2.absdiff(gray, self._before).mean())
        row.still_change = self._beside_the_head(frame)
        if face is not None:
            _describe(row, face)
            self._look(row, window, gray, face)
            if self._sface is not None and number % IDENTITY_EVERY == 0:
                self._looked.append(number)
                self._vectors.append(self._sface.embed(frame, face))
        self._before = gray
        self.n_frames += 1
        for name, column in self._columns.items():
            column.extend(np.ravel(getattr(row, name)))

    def _place_window(self, frame: Pixels, face: Face | None) -> bool:
        """Put the window around the face if it has none yet, or has left it; says whether it moved."""
        height, width = frame.shape[:2]
        if face is None:
            self._window = self._window or Box(0, 0, min(width, height), min(width, height))
            return False
        mine = crop_square(face.box_px, width, height)
        inside, now = face.box_px, self._window
        if now is not None and self._anchored:
            left = inside.x0 < now.x0 or inside.x1 > now.x1 or inside.y0 < now.y0 or inside.y1 > now.y1
            other_scale = not 0.7 < mine.width / now.width < 1.4
            if not (left and mine != now) and not other_scale:
                return False
        self._window, self._anchored = mine, True
        return True

    def _beside_the_head(self, frame: Pixels) -> float:
        """Mean change of gray values beside the head since the frame before, in a picture of 256 pixels."""
        scale = SIDE / max(frame.shape[:2])
        gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if scale != 1:
            gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        before, self._whole_before = self._whole_before, gray
        if before is None or self._last is None:
            return math.nan
        box = self._last.box_px.resized(scale)
        (x, _), half, chin = box.center, box.width * _HEAD / 2, max(int(box.y1), 0)
        left, right = max(int(x - half), 0), min(max(int(x + half), 0), gray.shape[1])
        change = cv2.absdiff(gray, before)[:chin]
        sides = np.concatenate([change[:, :left].ravel(), change[:, right:].ravel()])
        return float(sides.mean()) if sides.size >= 0.02 * gray.size else math.nan

    def _look(self, row: _Row, window: Pixels, gray: UInt8[np.ndarray, "side side"], face: Face) -> None:
        assert self._window is not None
        scale = SIDE / self._window.width
        points = (face.landmarks_px[:, :2] - [self._window.x0, self._window.y0]) * scale
        flat = np.concatenate([points, np.zeros((len(points), 1))], 1).astype(np.float32)
        row.mouth_sharpness = _sharpness(gray, mouth_box(flat).scaled(1.3))
        row.eyes_sharpness = _sharpness(gray, face_box(flat[_EYES]).scaled(1.1))
        box = face_box(flat)
        skin = Box(
            box.x0 + 0.2 * box.width,
            box.y0 + 0.1 * box.height,
            box.x1 - 0.2 * box.width,
            float(flat[NOSE_TIP, 1]),
        )
        row.skin_lab = _mean_lab(_part(window, skin))
        if row.gap > _OPEN:
            mask = np.zeros(gray.shape, np.uint8)
            cv2.fillPoly(mask, [np.round(points[_INNER_LIPS]).astype(np.int32)], 1)
            row.inside_lab = _mean_lab(window[mask > 0][None])

    def arrays(self) -> dict[str, np.ndarray]:
        """All rows, as the arrays of `Footage` of the same names."""
        arrays = {}
        for name, column in self._columns.items():
            one = np.asarray(getattr(_Row(), name))
            values = np.array(column, np.float32).reshape(self.n_frames, *one.shape)
            arrays[name] = values.astype(bool) if one.dtype == bool else values
        vectors = np.stack(self._vectors) if self._vectors else np.zeros((0, 0), np.float32)
        return arrays | {"looked": np.array(self._looked, int), "identity": vectors}


def _same_face(faces: list[Face], last: Face | None) -> Face | None:
    """The face that was followed so far, or the largest."""
    if not faces:
        return None
    if last is None:
        return faces[0]
    best = max(faces, key=lambda face: overlap(face.box_px, last.box_px))
    return best if overlap(best.box_px, last.box_px) > 0 else faces[0]


def _describe(row: _Row, face: Face) -> None:
    points, box, shapes = face.landmarks_px, face.box_px, face.blendshapes
    mouth = mouth_box(points)

    def distance(a: int, b: int) -> float:
        return float(np.linalg.norm(points[a] - points[b]))

    eyes = max(distance(*EYE_CORNERS), 1e-6)
    row.found = True
    row.boxes_px = (box.x0, box.y0, box.x1, box.y1)
    row.mouths_px = (mouth.x0, mouth.y0, mouth.x1, mouth.y1)
    row.turn = rotation(face.pose_4x4)
    row.expressions = np.array(list(shapes.values()), np.float32)
    row.jaw = shapes["jawOpen"]
    row.lids = float(np.mean([_opening(points, *edges) for edges in LID_EDGES]))
    row.gap = distance(UPPER_LIP, LOWER_LIP) / eyes
    row.width_of_mouth = distance(*_MOUTH_CORNERS) / eyes


def _opening(points: np.ndarray, upper: tuple[int, ...], lower: tuple[int, ...]) -> float:
    """Mean distance of the lids' middle fives, over the distance of the eye's corners."""
    apart = np.linalg.norm(points[list(upper[2:-2]), :2] - points[list(lower[2:-2]), :2], axis=1)
    return float(apart.mean() / max(np.linalg.norm(points[upper[0], :2] - points[upper[-1], :2]), 1e-6))


def _part(picture: np.ndarray, box: Box) -> np.ndarray:
    height, width = picture.shape[:2]
    x0, x1 = (min(max(round(v), 0), width) for v in (box.x0, box.x1))
    y0, y1 = (min(max(round(v), 0), height) for v in (box.y0, box.y1))
    return picture[y0:y1, x0:x1]


def _sharpness(gray: UInt8[np.ndarray, "h w"], box: Box) -> float:
    part = _part(gray, box)
    return float(cv2.Laplacian(part, cv2.CV_32F).var()) if min(part.shape) >= 3 else math.nan


def _mean_lab(pixels: UInt8[np.ndarray, "h w 3"]) -> tuple[float, ...]:
    """Mean L* 0..100, a*, b*."""
    if pixels.size == 0:
        return (math.nan,) * 3
    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return tuple(float(v) for v in lab.reshape(-1, 3).mean(0))


def require_face(footage: Footage, path: Path) -> None:
    """Check that there is a face to measure.

    Raises:
        InputError: no frame shows one.
    """
    if not footage.found.any():
        raise InputError(
            f"no face in any of the {footage.n_frames} frames of {path}", "give a video of a talking head"
        )
