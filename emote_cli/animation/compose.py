"""Crop in: from a photo of any size and shape to the square portrait that is animated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from emote_cli.errors import FaceError
from emote_cli.media.image import crop_and_resize, read_image
from emote_cli.perception.faces import FaceAnalyzer, crop_square, to_crop
from emote_cli.types import Box, Face, Pixels, Portrait

_TILE_SHARES = (1.0, 0.5, 0.3)
"""Sides of the squares to search, over the picture's shorter side: small faces need small squares."""

_SMALLEST_TILE_PX = 144
"""In smaller squares MediaPipe sees faces where there are none."""


def make_portrait(path: Path, size: int, analyzer: FaceAnalyzer) -> Portrait:
    """Read a photo, find its largest face and cut out the padded square around it.

    Args:
        path: any picture that Pillow reads.
        size: side of the square, in pixels.
        analyzer: one that is not in video mode.

    Raises:
        InputError: the photo cannot be read.
        FaceError: there is no face in it.
    """
    return cut_portrait(read_image(path), path, size, analyzer)


def cut_portrait(pixels: Pixels, source: Path, size: int, analyzer: FaceAnalyzer) -> Portrait:
    """The same for a photo that is already read; `source` is named in messages."""
    height, width = pixels.shape[:2]
    faces = find_faces(pixels, analyzer)
    if not faces:
        raise FaceError(
            f"no face found in {source} ({width}x{height})",
            hint="use a photo that shows one face upright, from the front and at least 100 pixels wide",
        )
    crop = crop_square(faces[0].box_px, width, height)
    return Portrait(
        pixels=crop_and_resize(pixels, crop, size),
        face=to_crop(faces[0], crop, size),
        crop_px=crop,
        source=source,
    )


def find_faces(pixels: Pixels, analyzer: FaceAnalyzer) -> list[Face]:
    """All faces of a photo, largest first.

    MediaPipe overlooks faces below a tenth of the picture's side, and some in very long pictures: where it
    sees none at all, ever smaller squares of the picture are searched.
    """
    faces = analyzer.analyze(pixels)
    height, width = pixels.shape[:2]
    for share in _TILE_SHARES:
        if faces:
            break
        side = round(min(height, width) * share)
        for tile in _tiles(width, height, side) if side >= _SMALLEST_TILE_PX else ():
            faces += [_shifted(face, tile) for face in analyzer.analyze(crop_and_resize(pixels, tile, side))]
    return sorted(faces, key=lambda face: -face.box_px.area)


def _tiles(width: int, height: int, side: int) -> Iterator[Box]:
    """Squares that cover a picture and overlap by half."""
    for y in _starts(height, side):
        for x in _starts(width, side):
            yield Box(x, y, x + side, y + side)


def _starts(length: int, side: int) -> list[int]:
    return [*range(0, length - side, max(side // 2, 1)), length - side]


def _shifted(face: Face, tile: Box) -> Face:
    """A face found in a tile, in coordinates of the whole picture: a crop the other way round."""
    inverse = Box(-tile.x0, -tile.y0, tile.width - tile.x0, tile.height - tile.y0)
    return to_crop(face, inverse, round(tile.width))
