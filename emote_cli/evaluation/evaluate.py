"""One video, measured: `from emote_cli import evaluate`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from emote_cli.errors import FaceError, InputError
from emote_cli.evaluation import drift, head, identity, lips, seams, sharpness, sound, sync, timing
from emote_cli.evaluation.findings import Findings, Measure
from emote_cli.evaluation.footage import Footage, load, require_face, save, watch
from emote_cli.files import make_folder
from emote_cli.media.ffmpeg import require_file
from emote_cli.media.image import read_image
from emote_cli.perception.faces import FaceAnalyzer, find_faces
from emote_cli.perception.sface import SFace
from emote_cli.zoo.locate import home, locate_bundled

SFACE_NAME = "face_recognition_sface_2021dec.onnx"
PROTOCOL = 3
"""Counts up whenever a recipe changes, so that numbers of different recipes are never compared in silence."""

MEASURES: dict[str, Measure] = {
    **lips.MEASURES,
    **sync.MEASURES,
    **sound.MEASURES,
    **identity.MEASURES,
    **head.MEASURES,
    **seams.MEASURES,
    **drift.MEASURES,
    **sharpness.MEASURES,
    **timing.MEASURES,
}
"""Everything that is measured without downloads, by name (identity needs SFace)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured of one video.

    Attributes:
        video: the file.
        numbers: by name; see `MEASURES`.
        not_measured: reasons, by name.
        footage: the curves behind them.
        cosines: identity at each of `footage.looked`; empty where it was not measured.
        chunk_frames: frames from seam to seam, as said.
        truth: the true video, measured by itself by the same recipes: what a real video reaches.
    """

    video: Path
    numbers: dict[str, float]
    not_measured: dict[str, str]
    footage: Footage
    cosines: Float[np.ndarray, " looks"]
    chunk_frames: int | None = None
    truth: Evaluation | None = None


def evaluate(
    video: Path | str,
    truth: Path | str | None = None,
    portrait: Path | str | None = None,
    *,
    chunk_frames: int | None = None,
    closures_s: Sequence[float] = (),
    sface: Path | None = None,
    keep: Path | None = None,
    on_frame: Callable[[int], object] = int,
) -> Evaluation:
    """Measure a talking head. The same files give the same numbers.

    Args:
        video: a finished video.
        truth: the video that it should be like.
        portrait: the picture that it was made from: the face to keep.
        chunk_frames: frames from seam to seam; None looks for them.
        closures_s: moments at which lips should be closed, where they are known.
        sface: SFace's ONNX file; None takes the one that `emote download metrics` fetched, if it is there.
        keep: folder in which watched videos are kept as numbers, to go on after an interruption.
        on_frame: called with the number of frames just seen.

    Raises:
        InputError: a file cannot be read, or shows no face.
        WeightsError: `sface` is missing or damaged.
    """
    for path in (video, truth, portrait):
        if path is not None:
            require_file(Path(path), "file")
    network = open_sface(sface)
    seen = watch_or_load(Path(video), network, keep, on_frame)
    true = None if truth is None else watch_or_load(Path(truth), network, keep, on_frame)
    person = find_reference(None if portrait is None else Path(portrait), true, network)
    alone = None
    if truth is not None and true is not None:
        alone = _judge(Path(truth), true, person, chunk_frames, closures_s)
    return _judge(Path(video), seen, person, chunk_frames, closures_s, alone)


def _judge(
    video: Path,
    seen: Footage,
    person: Float[np.ndarray, " d"] | None,
    chunk_frames: int | None,
    closures_s: Sequence[float],
    truth: Evaluation | None = None,
) -> Evaluation:
    true = None if truth is None else truth.footage
    found = measure(seen, true, person, chunk_frames, closures_s)
    numbers = {name: value for name, value in found.items() if not isinstance(value, str)}
    reasons = {name: value for name, value in found.items() if isinstance(value, str)}
    cosines = identity.compare_with(seen, person)
    return Evaluation(video, numbers, reasons, seen, cosines, chunk_frames, truth)


def measure(
    footage: Footage,
    truth: Footage | None = None,
    reference: Float[np.ndarray, " d"] | None = None,
    chunk_frames: int | None = None,
    closures_s: Sequence[float] = (),
) -> Findings:
    """All numbers of a watched video, in the order of `MEASURES`."""
    found = {
        **lips.measure_lips(footage, truth, closures_s),
        **sync.measure_sync(footage),
        **sound.measure_sound(footage),
        **identity.measure_identity(footage, reference),
        **head.measure_head(footage),
        **seams.measure_seams(footage, chunk_frames),
        **drift.measure_drift(footage, reference),
        **sharpness.measure_sharpness(footage, truth),
        **timing.measure_timing(footage, truth),
    }
    return {name: found[name] for name in MEASURES if name in found}


def open_sface(path: Path | None = None) -> SFace | None:
    """SFace, from its file or from where `emote download metrics` puts it; None where it was not fetched."""
    if path is not None:
        return SFace(path)
    fetched = home("metrics") / SFACE_NAME
    return SFace(fetched) if fetched.is_file() else None


def watch_or_load(
    path: Path, sface: SFace | None, keep: Path | None = None, on_frame: Callable[[int], object] = int
) -> Footage:
    """Watch a video, or load what was kept of it.

    Raises:
        InputError: it cannot be read, or shows no face.
    """
    require_file(path, "video")
    stat = path.stat()
    key = f"{PROTOCOL} {path.resolve()} {stat.st_size} {stat.st_mtime_ns} {'sface' if sface else ''}"
    kept = (
        None
        if keep is None
        else keep / f"{path.stem[:60]}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"
    )
    footage = load(kept, key) if kept else None
    if footage is None:
        footage = watch(path, sface, on_frame)
        if keep is not None and kept is not None:
            make_folder(keep)
            save(footage, kept, key)
    require_face(footage, path)
    return footage


def find_reference(
    portrait: Path | None, truth: Footage | None, sface: SFace | None
) -> Float[np.ndarray, " d"] | None:
    """SFace's vector of the person: the portrait's, else the true video's first; None without either.

    Raises:
        InputError: the portrait cannot be read, or shows no face.
    """
    if sface is not None and portrait is not None:
        pixels = read_image(portrait)
        with FaceAnalyzer(locate_bundled("face_landmarker.task")) as analyzer:
            faces = find_faces(pixels, analyzer)
        if not faces:
            raise FaceError(f"no face in {portrait}", "give the portrait that the video was made from")
        return sface.embed(pixels, faces[0])
    return truth.identity[0] if truth is not None and truth.identity.size else None


def find_truth(video: Path, truth: Path | None) -> Path | None:
    """The true video of a video: the file itself, or the one of the same name in a folder.

    Raises:
        InputError: the folder has none.
    """
    if truth is None or not truth.is_dir():
        return truth
    near = sorted(path for path in truth.iterdir() if path.stem == video.stem and path.is_file())
    if not near:
        raise InputError(f"no video named {video.stem} in {truth}", "name the files alike")
    return near[0]
