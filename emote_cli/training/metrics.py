"""Figures of a generated clip against the true one: jaw, identity, pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.perception.sface import SFace
from emote_cli.types import Face, Pixels


def faces_of(frames: Sequence[Pixels], analyzer: FaceAnalyzer) -> list[Face | None]:
    """Find the largest face of each frame."""
    found = (analyzer.analyze(frame) for frame in frames)
    return [faces[0] if faces else None for faces in found]


def jaw_curve(faces: Sequence[Face | None]) -> Float[np.ndarray, " frames"]:
    """Measure MediaPipe's jawOpen per frame; NaN without a face."""
    return np.array([math.nan if face is None else face.blendshapes["jawOpen"] for face in faces])


def psnr_db(ours: Sequence[Pixels], theirs: Sequence[Pixels]) -> float:
    """Compute the peak signal-to-noise ratio over all pixels of all frames; infinite for equal frames."""
    errors = [
        np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
        for a, b in zip(ours, theirs, strict=False)
    ]
    error = float(np.mean(errors))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


class Identity(SFace):
    """SFace's likeness of two faces; see `SFace`."""

    def likeness(
        self, reference: Pixels, face: Face, frames: Sequence[Pixels], faces: Sequence[Face | None]
    ) -> float:
        """Compare the frames' faces with the reference's.

        Args:
            reference: picture of the person.
            face: in it.
            frames: to compare.
            faces: in each frame; None where none was found.

        Returns:
            Median of the faces' cosines: 1 is the same face, 0 a stranger; NaN if no frame shows a face.
        """
        own = self.embed(reference, face)
        each = [
            float(own @ self.embed(frame, seen)) for frame, seen in zip(frames, faces, strict=True) if seen
        ]
        return float(np.median(each)) if each else math.nan
