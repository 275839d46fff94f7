"""Pictures in, the crop function of everything that is made, and the one of what is measured."""

from __future__ import annotations

import contextlib
import functools
import io
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from emote_cli.errors import InputError
from emote_cli.media.ffmpeg import require_file
from emote_cli.types import Box, Pixels

FORMATS = tuple("AVIF BMP DIB GIF HEIF ICO JPEG JPEG2000 MPO PCX PNG PPM PSD QOI SGI TGA TIFF WEBP".split())
"""Pillow's names of what is opened. Others run programs (EPS), or are no pictures of people (FITS, GRIB, MPEG)."""

TIME_LIMIT_S = 60.0
"""A picture that takes longer to decode is refused."""

_WHITE = (255, 255, 255)
_ENDINGS = "JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF"
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Color space of an ICC profile: the picture's mode that it can describe."""


def read_image(path: Path, background: tuple[int, int, int] = _WHITE) -> Pixels:
    """Read a photo as 8-bit sRGB, turned upright as its EXIF data says; an embedded color profile is obeyed.

    Args:
        path: a file of one of `FORMATS`: also grayscale, palette, CMYK, 16-bit and transparent ones.
        background: what shows through transparent pixels.

    Raises:
        InputError: missing, not an image, truncated, of an absurd size, or too slow to decode.
    """
    path = Path(path)
    require_file(path, "image")
    try:
        picture = _within(TIME_LIMIT_S, lambda: _decode(path))
        return np.asarray(_to_rgb(picture, background), np.uint8)
    except TimeoutError as error:
        raise InputError(
            f"{path} was not decoded within {TIME_LIMIT_S:g} s", hint="save it again as PNG"
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large: {error}", hint="shrink it below 100 megapixels") from error
    except UnidentifiedImageError as error:
        more = "install pillow-heif to read HEIC" if path.suffix.lower() in (".heic", ".heif") else ""
        raise InputError(
            f"{path} is not an image that can be opened", hint=more or f"save it as {_ENDINGS}"
        ) from error
    except Exception as error:  # Pillow's decoders raise errors of many kinds on damaged files
        raise InputError(
            f"{path} could not be read: {error}", hint="the file may be damaged: save it again"
        ) from error


def _decode(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a file's flaws; what matters is an error
        with Image.open(path, formats=_known_formats()) as opened:
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    return picture


def _within(limit_s: float, work: Callable[[], Image.Image]) -> Image.Image:
    """The result of `work`; decoders cannot be stopped, but they can be left behind.

    Raises:
        TimeoutError: it took longer than `limit_s`.
    """
    results: list[Image.Image | Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    worker.join(limit_s)
    if not results:
        raise TimeoutError
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


@functools.cache
def _known_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow knows; HEIC where the optional package is there."""
    with contextlib.suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _to_rgb(picture: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith(("I", "F")):
        picture = _to_eight_bits(picture)
    alpha = None
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        gray = picture.mode in ("LA", "La", "L")
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
        picture = picture.convert("RGB").convert("L") if gray else picture.convert("RGB")
    picture = _to_srgb(picture, profile)
    if alpha is None:
        return picture
    ground = Image.new("RGBA", picture.size, (*background, 255))
    picture.putalpha(alpha)
    return Image.alpha_composite(ground, picture).convert("RGB")


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture in sRGB, by its embedded profile; one that is damaged or of another color space is ignored."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else None
        mode = _PROFILE_MODES.get(source.profile.xcolor_space.strip()) if source else picture.mode
        if mode == "LAB" or picture.mode == "LAB":
            source, mode = source or ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB"
        if (
            source is None
            or mode is None
            or ({mode, picture.mode} & {"CMYK", "LAB"} and mode != picture.mode)
        ):
            return picture.convert("RGB")
        if mode == "L" and picture.mode not in ("L", "1"):
            return picture.convert("RGB")
        change = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode == "RGB" and _changes_nothing(change):
            return picture.convert("RGB")
        changed = ImageCms.applyTransform(picture.convert(mode), change)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture.convert("RGB")
    return changed if changed is not None else picture.convert("RGB")


def _changes_nothing(change: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB's under another name: then every pixel stays as it is stored."""
    values = (
        np.stack(np.meshgrid(*[np.linspace(0, 255, 9)] * 3), -1).reshape(27, 27, 3).round().astype(np.uint8)
    )
    changed = ImageCms.applyTransform(Image.fromarray(values), change)
    return changed is not None and bool(np.abs(np.asarray(changed, int) - values).max() <= 2)


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

    Args:
        pixels: the picture.
        box: of the square, in pixels; it may reach over the edge.
        size: side of the result in pixels.

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


def cut_window(
    pixels: Pixels, square: Box, side: int, outside: int = 0
) -> UInt8[np.ndarray, "{side} {side} 3"]:
    """Cut a square out of a picture to measure it: gray over the edge, scaled by areas or bicubically.

    Args:
        pixels: the picture.
        square: in pixels, rounded to whole ones; it may reach over the edge, or lie beside the picture.
        side: of the result in pixels.
        outside: the gray beyond the edge, 0..255.
    """
    x0, y0, x1, y1 = (round(v) for v in (square.x0, square.y0, square.x1, square.y1))
    height, width = pixels.shape[:2]
    piece = pixels[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    around = (max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0))
    if not piece.size:
        return np.full((side, side, 3), outside, np.uint8)
    if any(around):
        piece = cv2.copyMakeBorder(piece, *around, cv2.BORDER_CONSTANT, value=(outside,) * 3)
    way = cv2.INTER_AREA if x1 - x0 > side else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(piece, (side, side), interpolation=way))


def resize(pixels: Pixels, size: tuple[int, int]) -> UInt8[np.ndarray, "{size[1]} {size[0]} 3"]:
    """Scale a picture to (width, height): area average when it shrinks, Lanczos when it grows."""
    if pixels.shape[1::-1] == size:
        return np.ascontiguousarray(pixels)
    shrinks = size[0] < pixels.shape[1] or size[1] < pixels.shape[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
    return np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)
