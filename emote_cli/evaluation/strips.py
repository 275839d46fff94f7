"""Frames of a clip side by side: the true ones above, ours below, at the moments that tell most, the mouth enlarged.

A strip is one JPEG within the page (some 150 kB), so that the page can be sent as one file. Only the worst clips of a
report get one (`page.MOST_CLIPS`), else the page of a large set would weigh hundreds of megabytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from emote_cli.errors import EmoteError
from emote_cli.evaluation.evaluate import Evaluation
from emote_cli.evaluation.findings import Curve
from emote_cli.evaluation.footage import Footage
from emote_cli.evaluation.lips import at, lips_of, standardize
from emote_cli.media.image import crop_and_resize
from emote_cli.media.video import probe, read_frames
from emote_cli.perception.geometry import crop_square
from emote_cli.types import Box, Pixels

SIDE = 160
"""Pixels of each picture in a strip."""

_APART_S = 0.3
_MOUTH = 1.7
"""Side of the enlarged square, in usual widths of the mouth."""
_BETWEEN = 6
_QUALITY = 82

Cell = UInt8[np.ndarray, "rows side 3"]


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment worth a look: when, and why."""

    time_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Strip:
    """The strip of a clip.

    Attributes:
        moments: of its columns, in their order.
        jpeg: the picture; None where it could not be made.
        missing: why not.
    """

    moments: Sequence[Moment]
    jpeg: bytes | None = None
    missing: str = ""


def make_strip(evaluation: Evaluation, on_frame: Callable[[int], object] = int) -> Strip:
    """Read the frames again, one after the other, and set them side by side.

    Args:
        evaluation: of the clip; its files are read again.
        on_frame: called with the number of frames just read.

    Returns:
        The strip; without a picture where a file is gone, changed or unreadable.
    """
    true = evaluation.truth
    moments = choose_moments(evaluation.footage, None if true is None else true.footage)
    if not moments:
        return Strip([], missing="no moment shows a face to compare")
    rows: list[UInt8[np.ndarray, "rows columns 3"]] = []
    for each in (true, evaluation):
        if each is None:
            continue
        footage = each.footage
        frames = [frame_at(footage, moment.time_s) for moment in moments]
        try:
            cells = _read_cells(each.video, footage, frames, on_frame)
        except EmoteError as error:
            return Strip(moments, missing=f"{each.video.name} cannot be read again: {type(error).__name__}")
        if len(cells) < len(set(frames)):
            return Strip(moments, missing=f"{each.video.name} has changed since it was measured")
        if rows:
            rows.append(np.full((_BETWEEN, SIDE * len(moments), 3), 128, np.uint8))
        rows.append(np.concatenate([cells[frame] for frame in frames], axis=1))
    file = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return Strip(moments, file.getvalue())


def frames_to_read(evaluation: Evaluation) -> int:
    """How many frames `make_strip` reads."""
    true = evaluation.truth
    last_s = [m.time_s for m in choose_moments(evaluation.footage, None if true is None else true.footage)][
        -1:
    ]
    watched = [each.footage for each in (true, evaluation) if each is not None]
    return sum(frame_at(footage, time_s) + 1 for footage in watched for time_s in last_s)


def frame_at(footage: Footage, time_s: float) -> int:
    """The frame that is shown at a moment, or the last."""
    return min(round(time_s * footage.fps), footage.n_frames - 1)


def choose_moments(footage: Footage, truth: Footage | None) -> list[Moment]:
    """About eight moments with a face, in their order.

    Against a true video: four where the lip gaps differ most, two where the true lips are closed and two where they are
    open widest. Without: three where what is seen and what is heard differ most, three and two of closed and open lips.
    """
    if truth is not None:
        true_gap = at(truth.gap, truth.fps, footage.times_s)
        wanted = [
            ("lips differ most", np.abs(footage.gap - true_gap), 4),
            ("true lips closed", -true_gap, 2),
            ("true lips open widest", true_gap, 2),
        ]
    else:
        seen, heard = standardize(lips_of(footage).opening), standardize(footage.heard)
        wanted = [
            ("lips least like the sound", np.abs(seen - heard), 3),
            ("lips closed", -footage.gap, 2),
            ("lips open widest", footage.gap, 3),
        ]
    free = footage.found & (np.ones(footage.n_frames, bool) if truth is None else np.isfinite(true_gap))
    apart = max(round(_APART_S * footage.fps), 1)
    moments = []
    for why, curve, count in wanted:
        for frame in _pick(curve, free, count, apart):
            moments.append(Moment(frame / footage.fps, why))
    return sorted(moments, key=lambda moment: moment.time_s)


def _pick(curve: Curve, free: Bool[np.ndarray, " frames"], count: int, apart: int) -> Iterable[int]:
    """The frames with the highest values, one after the other; `free` loses them and what is near."""
    for _ in range(count):
        values = np.where(free & np.isfinite(curve), curve, -np.inf)
        best = int(values.argmax())
        if not np.isfinite(values[best]):
            return
        free[max(best - apart, 0) : best + apart + 1] = False
        yield best


def _read_cells(
    video: Path, footage: Footage, frames: Sequence[int], on_frame: Callable[[int], object]
) -> dict[int, Cell]:
    """Head and mouth at each of the frames; the video is read up to the last of them, one frame at a time.

    Raises:
        InputError: it is missing or unreadable.
    """
    cells: dict[int, Cell] = {}
    widths = footage.mouths_px[:, 2] - footage.mouths_px[:, 0]
    mouth_side = float(np.nanmedian(widths)) * _MOUTH
    for number, frame in enumerate(read_frames(video, fps=probe(video).fps)):
        if number in frames:
            cells[number] = _cell(frame, footage.boxes_px[number], footage.mouths_px[number], mouth_side)
        on_frame(1)
        if number == max(frames):
            break
    return cells


def _cell(
    frame: Pixels, face: Float[np.ndarray, " 4"], mouth: Float[np.ndarray, " 4"], mouth_side: float
) -> Cell:
    """The head above, the mouth below; gray where there is no face."""
    if not np.isfinite([*face, *mouth]).all():
        return np.full((2 * SIDE, SIDE, 3), 128, np.uint8)
    height, width = frame.shape[:2]
    head = crop_square(Box(*face.tolist()), width, height)
    (x, y), half = Box(*mouth.tolist()).center, max(round(mouth_side / 2), 1)
    near = Box(round(x) - half, round(y) - half, round(x) + half, round(y) + half)
    return np.concatenate([crop_and_resize(frame, box, SIDE) for box in (head, near)])
