"""The portrait as the page shows it: its faces numbered, to be chosen with a click."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from emote_cli.animation.choice import draw_numbers
from emote_cli.media.image import read_image, resize
from emote_cli.perception.faces import find_all_faces
from emote_cli.types import Box, Pixels
from emote_cli.zoo.locate import locate_bundled

SHOWN_PX = 1024
"""The longest side of the picture that is shown."""


@dataclass(frozen=True, slots=True)
class Faces:
    """A picture with numbers, and where they are.

    Attributes:
        picture: the portrait with a numbered frame around every face.
        boxes: the frames in pixels of `picture`, number 1 first.
    """

    picture: Pixels
    boxes: tuple[Box, ...]


def number_faces(path: Path) -> Faces:
    """Find the faces of a portrait, largest first.

    Raises:
        InputError: the picture cannot be read.
    """
    pixels = read_image(path)
    faces = find_all_faces(pixels, locate_bundled("face_landmarker.task"))
    drawn = draw_numbers(pixels, faces)
    height, width = drawn.shape[:2]
    scale = min(1.0, SHOWN_PX / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    boxes = (face.box_px for face in faces)
    return Faces(
        resize(drawn, size),
        tuple(Box(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale) for box in boxes),
    )


def face_at(boxes: tuple[Box, ...], x: float, y: float) -> int:
    """Find the face that a click means: the one whose middle is nearest, over its size.

    Args:
        boxes: of the faces, largest first.
        x: of the click, in pixels of the picture.
        y: of the click.

    Returns:
        Its number, from 1 on.
    """
    distances = [math.dist(box.center, (x, y)) / max(box.width, box.height, 1.0) for box in boxes]
    return distances.index(min(distances)) + 1
