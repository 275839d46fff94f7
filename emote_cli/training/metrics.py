"""Figures of a generated clip against the true one: jaw, identity, pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from emote_cli.errors import WeightsError
from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.types import Face, Pixels

# Where SFace wants both eyes, the nose tip and the corners of the mouth in its 112x112 picture.
_SFACE_POINTS = np.array(
    [[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]], np.float32
)
_LEFT_EYE, _RIGHT_EYE, _NOSE, _MOUTH = (33, 133), (362, 263), 1, (61, 291)


def faces_of(frames: Sequence[Pixels], analyzer: FaceAnalyzer) -> list[Face | None]:
    """The largest face of each frame."""
    found = (analyzer.analyze(frame) for frame in frames)
    return [faces[0] if faces else None for faces in found]


def jaw_curve(faces: Sequence[Face | None]) -> Float[np.ndarray, " frames"]:
    """MediaPipe's jawOpen per frame; NaN without a face."""
    return np.array([math.nan if face is None else face.blendshapes["jawOpen"] for face in faces])


def psnr_db(ours: Sequence[Pixels], theirs: Sequence[Pixels]) -> float:
    """Peak signal-to-noise ratio over all pixels of all frames; infinite for equal frames."""
    errors = [
        np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
        for a, b in zip(ours, theirs, strict=False)
    ]
    error = float(np.mean(errors))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


class Identity:
    """SFace's likeness of two faces.

    Args:
        path: its ONNX file.

    Raises:
        WeightsError: the file is missing or unreadable.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise WeightsError(
                f"no SFace model at {path}", "leave validation.sface out, or name the ONNX file"
            )
        try:
            self._net = cv2.FaceRecognizerSF.create(str(path), "")
        except cv2.error as error:
            raise WeightsError(
                f"{path} is no SFace model", "name face_recognition_sface's ONNX file"
            ) from error

    def embed(self, pixels: Pixels, face: Face) -> Float[np.ndarray, " d"]:
        """A vector of length 1."""
        points = face.landmarks_px[:, :2]
        five = np.array(
            [
                points[list(_LEFT_EYE)].mean(0),
                points[list(_RIGHT_EYE)].mean(0),
                points[_NOSE],
                *points[list(_MOUTH)],
            ],
            np.float32,
        )
        matrix, _ = cv2.estimateAffinePartial2D(five, _SFACE_POINTS, method=cv2.LMEDS)
        aligned = cv2.warpAffine(np.ascontiguousarray(pixels[..., ::-1]), matrix, (112, 112))
        vector = np.asarray(self._net.feature(aligned), np.float32).ravel()
        return vector / np.linalg.norm(vector)

    def likeness(
        self, reference: Pixels, face: Face, frames: Sequence[Pixels], faces: Sequence[Face | None]
    ) -> float:
        """Median cosine of the frames' faces with the reference's; NaN if no frame shows a face."""
        own = self.embed(reference, face)
        each = [
            float(own @ self.embed(frame, seen)) for frame, seen in zip(frames, faces, strict=True) if seen
        ]
        return float(np.median(each)) if each else math.nan
