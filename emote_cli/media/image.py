"""Pictures in, and the one crop function that everything uses."""

from __future__ import annotations

import contextlib
import functools
import warnings
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from emote_cli.errors import InputError
from emote_cli.media.ffmpeg import require_file
from emote_cli.types import Box, Pixels

_WHITE = (255, 255, 255)


def read_image(path: Path, background: tuple[int, int, int] = _WHITE) -> Pixels:
    """Read a photo as 8-bit RGB, turned upright as its EXIF data says.

    Args:
        path: any format that Pillow reads: also grayscale, palette, CMYK, 16-bit and transparent ones.
        background: what shows through transparent pixels.

    Raises:
        InputError: missing, not an image, truncated, or of an absurd size.
    """
    path = Path(path)
    require_file(path, "image")
    _allow_heif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file's flaws; what matters is an error
            with Image.open(path) as opened:
                picture = ImageOps.exif_transpose(opened)
                picture.load()
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large: {error}", hint="shrink it below 100 megapixels") from error
    except UnidentifiedImageError as error:
        more = "install pillow-heif to read HEIC" if path.suffix.lower() in (".heic", ".heif") else ""
        raise InputError(f"{path} is not an image", hint=more or "give a JPEG, PNG or WebP file") from error
    except Exception as error:  # Pillow's decoders raise errors of many kinds on damaged files
        raise InputError(
            f"{path} could not be read: {error}", hint="the file may be damaged: save it again"
        ) from error
    return np.asarray(_to_rgb(picture, background), np.uint8)


@functools.cache
def _allow_heif() -> None:
    """Teach Pillow HEIC where the optional package is there."""
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()


def _to_rgb(picture: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if picture.mode.startswith(("I", "F")):
        picture = _to_eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*background, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return picture.convert("RGB")


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture, np.float64)
    if picture.mode == "F":
        full = 1.0 if values.max() <= 1.0 else 255.0
    else:
        full = 65535.0 if picture.mode.startswith("I;16") or values.max() > 255 else 255.0
    return Image.fromarray(np.clip(np.rint(values / full * 255), 0, 255).astype(np.uint8))


def crop_and_resize(pixels: Pixels, box: Box, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Cut a square out of a picture and scale it to `size` x `size`.

    The box is rounded to whole pixels; where it reaches over the edge, the edge's pixels are repeated.

    Raises:
        ValueError: the box is not square (to a pixel), or empty.
    """
    x0, y0, x1, y1 = (round(v) for v in (box.x0, box.y0, box.x1, box.y1))
    if abs((x1 - x0) - (y1 - y0)) > 1 or x1 <= x0 or y1 <= y0:
        raise ValueError(f"the crop must be square, got {x1 - x0} x {y1 - y0} pixels")
    height, width = pixels.shape[:2]
    if 0 <= x0 and 0 <= y0 and x1 <= width and y1 <= height:
        crop = pixels[y0:y1, x0:x1]
    else:
        rows, columns = np.arange(y0, y1).clip(0, height - 1), np.arange(x0, x1).clip(0, width - 1)
        crop = pixels[rows[:, None], columns]
    return resize(crop, (size, size))


def resize(pixels: Pixels, size: tuple[int, int]) -> UInt8[np.ndarray, "{size[1]} {size[0]} 3"]:
    """Scale a picture to (width, height): area average when it shrinks, Lanczos when it grows."""
    if pixels.shape[1::-1] == size:
        return np.ascontiguousarray(pixels)
    shrinks = size[0] < pixels.shape[1] or size[1] < pixels.shape[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    return np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)
