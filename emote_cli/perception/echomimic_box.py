"""Which square EchoMimic sees of a picture, and where in it the face is said to be.

Its own program finds faces with MTCNN. What that detector draws around a face is estimated from MediaPipe's
landmarks: fitted on 119 portraits, its edges are met within 1.4 % of the square's side (root of the mean square).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from emote_cli.perception.landmarks import NOSE_TIP, OVAL
from emote_cli.types import Box, Face

EYES = (33, 133, 263, 362)
CHEEKS, CHIN, FOREHEAD = (234, 454), 152, 10
"""Outermost landmarks on both sides, below and above."""
_COLUMNS, _ROWS = (NOSE_TIP, *CHEEKS), (NOSE_TIP, CHIN, FOREHEAD)
_EDGES = {
    "x0": (0.034, 0.481, 0.043, -0.263), "x1": (-0.017, 0.237, 0.339, 0.382),
    "y0": (-0.393, -0.101, 0.545, -0.080), "y1": (-0.138, 0.578, -0.026, 0.291),
}  # fmt: skip
"""Weights of the places of columns (rows) for an edge, and a constant; from between the eyes, in face sizes."""
CROP_MARGIN, MASK_MARGIN = 0.5, 0.1
"""By how much of its own size the box grows on every side for the square, and for the mask."""


def detector_box(face: Face) -> Box:
    """What MTCNN would draw around a face, in pixels; a face that a person gave as a box is that box."""
    if not face.blendshapes:
        return face.box_px
    points: Float[np.ndarray, "478 2"] = np.asarray(face.landmarks_px[:, :2], float)
    origin, size = points[list(EYES)].mean(0), float(np.ptp(points[list(OVAL)], axis=0).mean())
    x, y = (
        np.append((points[list(which), axis] - origin[axis]) / size, 1.0)
        for axis, which in enumerate((_COLUMNS, _ROWS))
    )
    return Box(
        *(
            float(origin["xy".index(name[0])] + size * np.dot(_EDGES[name], x if name[0] == "x" else y))
            for name in ("x0", "y0", "x1", "y1")
        )
    )


def echomimic_square(face: Face, width: int, height: int) -> Box:
    """The square that is cut out of a picture: it fits into the enlarged box and into the picture.

    Args:
        face: in the picture.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
    """
    box = detector_box(face)
    x0, y0, x1, y1 = (round(edge) for edge in (box.x0, box.y0, box.x1, box.y1))
    across, down = int((x1 - x0) * CROP_MARGIN), int((y1 - y0) * CROP_MARGIN)
    left, right = max(x0 - across, 0), min(x1 + across, width)
    top, bottom = max(y0 - down, 0), min(y1 + down, height)
    side = max(min(right - left, bottom - top), 2)
    corner = (max((left + right) // 2 - side // 2, 0), max((top + bottom) // 2 - side // 2, 0))
    return Box(*corner, corner[0] + side, corner[1] + side)


def echomimic_mask_box(face: Face, side: int) -> tuple[int, int, int, int]:
    """Where the face is said to be: x0, x1, y0, y1 in pixels, half-open, in a square of that side."""
    box = detector_box(face)
    across, down = box.width * MASK_MARGIN, box.height * MASK_MARGIN
    edges = (box.x0 - across, box.x1 + across, box.y0 - down, box.y1 + down)
    x0, x1, y0, y1 = (min(max(round(edge), 0), side) for edge in edges)
    return x0, x1, y0, y1
