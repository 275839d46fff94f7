"""Which face of a picture is meant, and the numbered preview that helps to choose."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from emote_cli.animation.options import FaceChoice
from emote_cli.errors import FaceError
from emote_cli.files import write_file
from emote_cli.perception.geometry import overlap
from emote_cli.perception.landmarks import N_LANDMARKS
from emote_cli.types import Box, Face, Pixels

_SAME = 0.1


def choose_face(faces: list[Face], choice: FaceChoice, source: Path, size: tuple[int, int]) -> Face:
    """Choose the face that is meant.

    Args:
        faces: those that were found, largest first.
        choice: which; a box also works where no face was found (drawings, say).
        source: the picture, for messages.
        size: its width and height in pixels.

    Raises:
        FaceError: there is no face, not that many, or the box lies outside the picture.
    """
    width, height = size
    if isinstance(choice, tuple):
        box = Box(*choice)
        if not (0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height):
            raise FaceError(
                f"the face box {format_box(box)} lies outside {source} ({width}x{height})",
                hint="give x0,y0,x1,y1 in pixels of the upright picture",
            )
        near = max(faces, key=lambda face: overlap(face.box_px, box), default=None)
        return near if near is not None and overlap(near.box_px, box) > _SAME else _face_in_box(box)
    if not faces:
        raise FaceError(
            f"no face found in {source} ({width}x{height})",
            hint="use a photo with one face from the front, 100 pixels wide or more; or --face x0,y0,x1,y1",
        )
    number = 1 if choice == "largest" else choice
    if number > len(faces):
        which = "--face 1" if len(faces) == 1 else f"--face 1 to {len(faces)}"
        raise FaceError(
            f"there is no face {number} in {source}: {len(faces)} found",
            hint=which,
        )
    return faces[number - 1]


def format_box(box: Box) -> str:
    """Write a box as `x0,y0,x1,y1`, in whole pixels."""
    return ",".join(f"{value:.0f}" for value in (box.x0, box.y0, box.x1, box.y1))


def _face_in_box(box: Box) -> Face:
    """A face that only a person sees: its landmarks are points on an ellipse in the box."""
    angles = np.linspace(0, 2 * np.pi, N_LANDMARKS, endpoint=False)
    x, y = box.center
    points = np.stack(
        [x + np.cos(angles) * box.width / 2, y + np.sin(angles) * box.height / 2, np.zeros(N_LANDMARKS)], 1
    )
    return Face(box, points.astype(np.float32), np.eye(4, dtype=np.float32), {})


def draw_numbers(pixels: Pixels, faces: list[Face]) -> Pixels:
    """Draw a numbered frame around every face, on a copy of the picture."""
    drawn = pixels.copy()
    thick = max(2, round(max(pixels.shape) / 400))
    for number, face in enumerate(faces, 1):
        x0, y0, x1, y1 = (round(v) for v in (face.box_px.x0, face.box_px.y0, face.box_px.x1, face.box_px.y1))
        cv2.rectangle(drawn, (x0, y0), (x1, y1), (255, 220, 0), thick)
        scale = max(thick / 2, (y1 - y0) / 120)
        cv2.putText(
            drawn,
            str(number),
            (x0, max(y0 - thick, 24)),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            (255, 220, 0),
            thick,
        )
    return drawn


def write_preview(path: Path, pixels: Pixels, faces: list[Face]) -> Path:
    """Write the numbered picture as PNG.

    Args:
        path: of the PNG file; it is overwritten.
        pixels: the photo.
        faces: in it, largest first: this is how they are numbered, from 1 on.

    Returns:
        The path.

    Raises:
        OutputError: the folder is missing, full or not writable.
    """
    picture = Image.fromarray(draw_numbers(pixels, faces))
    write_file(path, lambda file: picture.save(file, format="PNG"))
    return path
