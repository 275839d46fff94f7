"""One video, measured: `from emote_cli import evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from emote_cli.data.prepare.layouts import is_video
from emote_cli.errors import FaceError, InputError
from emote_cli.evaluation import drift, head, identity, lips, seams, sharpness, sound, sync, timing
from emote_cli.evaluation.findings import Findings, Measure
from emote_cli.evaluation.footage import Footage, require_face, watch
from emote_cli.evaluation.keeping import make_or_load
from emote_cli.evaluation.learned import syncnet
from emote_cli.evaluation.learned.features import RECIPE, Features, extract
from emote_cli.evaluation.learned.networks import Networks, open_networks
from emote_cli.media.ffmpeg import require_file
from emote_cli.media.image import read_image
from emote_cli.perception.faces import FaceAnalyzer, find_faces
from emote_cli.perception.sface import SFace
from emote_cli.zoo.locate import locate_bundled, locate_metric

SFACE_NAME = "face_recognition_sface_2021dec.onnx"
PROTOCOL = 3
"""Counts up whenever a recipe changes, so that numbers of different recipes are never compared in silence."""

MEASURES: dict[str, Measure] = {
    **lips.MEASURES,
    **sync.MEASURES,
    **syncnet.MEASURES,
    **sound.MEASURES,
    **identity.MEASURES,
    **head.MEASURES,
    **seams.MEASURES,
    **drift.MEASURES,
    **sharpness.MEASURES,
    **timing.MEASURES,
}
"""Everything that is measured of one video, by name (identity needs SFace; syncnet, SyncNet)."""


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
        features: what the fetched networks made of it; None without any.
    """

    video: Path
    numbers: dict[str, float]
    not_measured: dict[str, str]
    footage: Footage
    cosines: Float[np.ndarray, " looks"]
    chunk_frames: int | None = None
    truth: Evaluation | None = None
    features: Features | None = None


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
    network, networks = open_sface(sface), open_networks()
    seen = watch_or_load(Path(video), network, keep, on_frame)
    true = None if truth is None else watch_or_load(Path(truth), network, keep, on_frame)
    person = find_reference(None if portrait is None else Path(portrait), true, network)

    def judge(path: Path, footage: Footage, beside: Evaluation | None = None) -> Evaluation:
        features = extract_or_load(path, footage, networks, keep, on_frame)
        other = None if beside is None else beside.footage
        found = measure(footage, other, person, chunk_frames, closures_s, features)
        numbers = {name: value for name, value in found.items() if not isinstance(value, str)}
        reasons = {name: value for name, value in found.items() if isinstance(value, str)}
        cosines = identity.compare_with(footage, person)
        return Evaluation(path, numbers, reasons, footage, cosines, chunk_frames, beside, features)

    alone = None if truth is None or true is None else judge(Path(truth), true)
    return judge(Path(video), seen, alone)


def measure(
    footage: Footage,
    truth: Footage | None = None,
    reference: Float[np.ndarray, " d"] | None = None,
    chunk_frames: int | None = None,
    closures_s: Sequence[float] = (),
    features: Features | None = None,
) -> Findings:
    """All numbers of a watched video, in the order of `MEASURES`."""
    found = {
        **lips.measure_lips(footage, truth, closures_s),
        **sync.measure_sync(footage),
        **syncnet.measure_syncnet(None if features is None else features.sync_distances),
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
    """SFace, from its file or from where `emote download metrics` puts it; None where it was not fetched.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    found = path or locate_metric(SFACE_NAME)
    return None if found is None else SFace(found)


def watch_or_load(
    path: Path, sface: SFace | None, keep: Path | None = None, on_frame: Callable[[int], object] = int
) -> Footage:
    """Watch a video, or load what was kept of it.

    Raises:
        InputError: it cannot be read, or shows no face.
    """
    require_file(path, "video")
    recipe = f"{PROTOCOL} {sface.key if sface else ''}"
    footage = make_or_load(Footage, lambda: watch(path, sface, on_frame), path, recipe, keep)
    require_face(footage, path)
    return footage


def extract_or_load(
    path: Path,
    footage: Footage,
    networks: Networks | None,
    keep: Path | None = None,
    on_frame: Callable[[int], object] = int,
) -> Features | None:
    """Look at a video with the fetched networks, or load what was kept of it; None without networks."""
    if networks is None:
        return None
    recipe = f"{PROTOCOL} networks {RECIPE} {networks.names}"
    return make_or_load(Features, lambda: extract(path, footage, networks, on_frame), path, recipe, keep)


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
    """The true video of a video: the file itself, or the video of the same name in a folder.

    Raises:
        InputError: the folder has none.
    """
    if truth is None or not truth.is_dir():
        return truth
    near = sorted(path for path in truth.iterdir() if path.stem == video.stem and is_video(path))
    if not near:
        raise InputError(f"no video named {video.stem} in {truth}", "name the files alike")
    return near[0]
