"""Faces in pictures: MediaPipe's landmarker, and the search for small faces. No torch."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from emote_cli.errors import WeightsError
from emote_cli.perception.geometry import face_box, overlap, to_crop
from emote_cli.types import Box, Face, Pixels

_SAME_FACE = 0.3
"""Overlap from which on two boxes are one face, seen twice."""

_LEVELS = ((1.0, 0.5, 64), (0.5, 0.5, 64), (0.22, 0.4, 144))
"""Sides of the squares to search, over the picture's shorter side; how much neighbors share; the smallest, in pixels.

In smaller ones MediaPipe sees faces where there are none.
"""

MOST_LOOKS = 128
"""How often the detector is asked about one picture at most. Enough for all levels of a 16:9 picture."""


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep what C++ libraries write to file descriptor 2 off the user's terminal."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "w") as sink:
            os.dup2(sink.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


class FaceAnalyzer:
    """MediaPipe's face landmarker; use it as a context manager.

    Args:
        model_path: the `face_landmarker.task` file.
        max_faces: how many faces to look for; with 1 MediaPipe picks one, not the largest.
        video: track from picture to picture (smoother, faster); the pictures must then follow in time.

    Raises:
        WeightsError: the model file is missing or damaged.
    """

    def __init__(self, model_path: Path, max_faces: int = 5, video: bool = False) -> None:
        if not Path(model_path).is_file():
            raise WeightsError(f"the face model {model_path} is missing", hint="reinstall emote-cli")
        os.environ.setdefault("GLOG_minloglevel", "2")
        self.video = video
        self._next_ms = 0
        with _quiet_stderr():
            self._landmarker = self._load(Path(model_path), max_faces)
            # The first picture makes MediaPipe talk on stderr.
            self._detect(np.zeros((64, 64, 3), np.uint8), 0)
        self._next_ms = 1

    def _load(self, model_path: Path, max_faces: int) -> Any:
        from mediapipe.tasks.python import BaseOptions, vision

        mode = vision.RunningMode.VIDEO if self.video else vision.RunningMode.IMAGE
        try:
            return vision.FaceLandmarker.create_from_options(
                vision.FaceLandmarkerOptions(
                    base_options=BaseOptions(model_asset_buffer=model_path.read_bytes()),
                    running_mode=mode,
                    num_faces=max_faces,
                    output_face_blendshapes=True,
                    output_facial_transformation_matrixes=True,
                )
            )
        except (RuntimeError, ValueError) as error:
            raise WeightsError(
                f"the face model {model_path} could not be loaded: {error}", hint="reinstall emote-cli"
            ) from error

    def __enter__(self) -> FaceAnalyzer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._landmarker.close()

    def analyze(self, rgb: Pixels, timestamp_ms: int | None = None) -> list[Face]:
        """The faces that one look at a picture shows, largest first; an empty list if there is none.

        MediaPipe overlooks faces below about a tenth of the picture's width; see `find_faces`.

        Args:
            rgb: uint8 [height, width, 3].
            timestamp_ms: in video mode, the time of the picture; raised where needed to keep times ascending.
                None counts on by 40 ms.
        """
        if not self.video:
            return _drop_duplicates(self._faces(rgb, 0))
        when = self._next_ms if timestamp_ms is None else max(timestamp_ms, self._next_ms)
        self._next_ms = when + (40 if timestamp_ms is None else 1)
        return _sort(self._faces(rgb, when))

    def _faces(self, rgb: Pixels, when: int) -> list[Face]:
        result = self._detect(rgb, when)
        height, width = rgb.shape[:2]
        return [
            _to_face(landmarks, shapes, matrix, width, height)
            for landmarks, shapes, matrix in zip(
                result.face_landmarks,
                result.face_blendshapes,
                result.facial_transformation_matrixes,
                strict=True,
            )
        ]

    def _detect(self, rgb: Pixels, when: int) -> Any:
        import mediapipe

        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        return (
            self._landmarker.detect_for_video(image, when) if self.video else self._landmarker.detect(image)
        )


MOST_FACES = 20
"""How many faces of a photo are found."""


@lru_cache(maxsize=1)
def _photo_analyzer(model_path: Path) -> FaceAnalyzer:
    analyzer = FaceAnalyzer(model_path, max_faces=MOST_FACES)
    # MediaPipe closes by means of a thread, and atexit comes when threads are gone.
    threading._register_atexit(analyzer.__exit__, None, None, None)  # type: ignore[attr-defined]
    return analyzer


_asking = threading.Lock()


def find_all_faces(pixels: Pixels, model_path: Path) -> list[Face]:
    """Find all faces of a photo; see `find_faces`. The analyzer, which takes half a second to make, stays.

    Args:
        pixels: the photo.
        model_path: see `FaceAnalyzer`.

    Raises:
        WeightsError: the model file is missing or damaged.
    """
    with _asking:
        return find_faces(pixels, _photo_analyzer(model_path))


def find_faces(pixels: Pixels, analyzer: FaceAnalyzer) -> list[Face]:
    """Find all faces of a photo, each once, largest first.

    Where one look shows none, ever smaller squares that overlap are searched, until some show a face.

    Args:
        pixels: the photo.
        analyzer: one that is not in video mode; asked at most `MOST_LOOKS` times.
    """
    height, width = pixels.shape[:2]
    faces, looks = analyzer.analyze(pixels), 1
    for share, shared, smallest in _LEVELS:
        side = round(min(height, width) * share)
        corners = plan_squares(width, height, side, shared)
        looks += len(corners)
        if faces or side < smallest or looks > MOST_LOOKS:
            break
        for x, y in corners:
            found = analyzer.analyze(pixels[y : y + side, x : x + side])
            faces += [to_crop(face, Box(-x, -y, side - x, side - y), side) for face in found]
    return _drop_duplicates(faces)


def plan_squares(width: int, height: int, side: int, shared: float) -> list[tuple[int, int]]:
    """Upper left corners of squares that cover a picture evenly.

    Args:
        width: of the picture, in pixels.
        height: likewise.
        side: of the squares, no more than width and height.
        shared: how much of its side each square has in common with the next one, at least; 0..1.
    """

    def starts(length: int) -> list[int]:
        room = length - side
        steps = math.ceil(room / max(side * (1 - shared), 1))
        return [room * i // max(1, steps) for i in range(steps + 1)]

    return [(x, y) for y in starts(height) for x in starts(width)]


def _drop_duplicates(faces: list[Face]) -> list[Face]:
    """Each face once, largest first; of those that overlap, the one that was seen first."""
    kept: list[Face] = []
    for face in faces:
        if all(overlap(face.box_px, other.box_px) < _SAME_FACE for other in kept):
            kept.append(face)
    return _sort(kept)


def _sort(faces: list[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: -face.box_px.area)


def _to_face(landmarks: Any, shapes: Any, matrix: Any, width: int, height: int) -> Face:
    points = np.array([(p.x * width, p.y * height, p.z * width) for p in landmarks], np.float32)
    return Face(
        box_px=face_box(points),
        landmarks_px=points,
        pose_4x4=np.asarray(matrix, np.float32).reshape(4, 4),
        blendshapes={shape.category_name: float(shape.score) for shape in shapes},
    )
