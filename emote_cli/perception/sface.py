"""SFace: a vector per face, whose cosine with another says how alike two faces are. No torch.

The network is OpenCV's `face_recognition_sface_2021dec.onnx` (Apache-2.0; `emote download metrics`). Two pictures of one
person have a cosine above 0.363 by its authors; a face and the frames made of it should stay above 0.7.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from emote_cli.errors import WeightsError
from emote_cli.files import sha256_once
from emote_cli.types import Face, Pixels

# Where SFace wants both eyes, the nose tip and the corners of the mouth in its 112x112 picture.
_POINTS = np.array(
    [[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]], np.float32
)
_SIDE = 112
_LEFT_EYE, _RIGHT_EYE, _NOSE, _MOUTH = (33, 133), (362, 263), 1, (61, 291)


class SFace:
    """The network.

    Args:
        path: its ONNX file.

    Attributes:
        key: which network it is: the sha256 of its file.

    Raises:
        WeightsError: the file is missing or unreadable.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise WeightsError(f"no SFace model at {path}", "emote download metrics, or name its ONNX file")
        level = cv2.utils.logging.setLogLevel(
            cv2.utils.logging.LOG_LEVEL_ERROR
        )  # errors only: OpenCV warns of a choice of its own
        try:
            self._net = cv2.FaceRecognizerSF.create(str(path), "")
        except cv2.error as error:
            raise WeightsError(
                f"{path} is no SFace model", "name face_recognition_sface's ONNX file"
            ) from error
        finally:
            cv2.utils.logging.setLogLevel(level)
        self.key = sha256_once(path)

    def embed(self, pixels: Pixels, face: Face) -> Float[np.ndarray, " d"]:
        """Compute the embedding of a face, a vector of length 1."""
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
        matrix, _ = cv2.estimateAffinePartial2D(five, _POINTS, method=cv2.LMEDS)
        aligned = cv2.warpAffine(np.ascontiguousarray(pixels[..., ::-1]), matrix, (_SIDE, _SIDE))
        vector = np.asarray(self._net.feature(aligned), np.float32).ravel()
        return vector / np.linalg.norm(vector)
