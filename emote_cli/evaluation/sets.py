"""Numbers of a whole set of videos against a set of true ones: FID, FVD, and E-FID by blendshapes.

No video has one of its own. From few videos they say more of the sample than of the model, so they are refused there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from emote_cli.evaluation.evaluate import MEASURES, Evaluation
from emote_cli.evaluation.findings import MISSING, Measure
from emote_cli.evaluation.learned.frechet import Moments, frechet_distance

LEAST_VIDEOS, LEAST_ROWS = 50, 500
"""Smaller samples are refused, on either side, unless they are forced."""

_REFERENCE = (
    " The reference set: all true videos of this report, each once. Not verified against the real weights."
)

SET_MEASURES = {
    "fid": Measure(
        "pictures unlike true ones (FID)",
        "Frechet distance of the 2048 features of Google's Inception of 2015 (pytorch-fid's file): up to 50 frames a video, spread evenly, cut"
        " out around the face (a square of 1.7 times its box) and scaled to 299x299, by areas or bicubically. Papers cut and scale otherwise."
        + _REFERENCE,
        better="lower",
        notable=2.0,
    ),
    "fvd": Measure(
        "motion unlike true motion (FVD)",
        "Frechet distance of the 400 numbers of I3D (Kinetics-400, StyleGAN-V's file): up to 20 pieces a video, spread evenly, of 16 frames at 25"
        " a second (the nearest ones of other rates), cut out around the first frame's face as for FID and scaled to 224x224." + _REFERENCE,
        better="lower",
        notable=20.0,
    ),
    "efid.blendshapes": Measure(
        "expressions unlike true ones (E-FID)",
        "Frechet distance of MediaPipe's 52 blendshapes, of all frames with a face. Not the E-FID of EMO's paper, whose coefficients come from a 3D"
        " face model that is not free: compare it with no paper's number. The reference set: all true videos of this report, each once.",
        better="lower",
        notable=0.05,
    ),
}  # fmt: skip

ALL_MEASURES = {**MEASURES, **SET_MEASURES}
"""Of one video, and of a set."""

_NETWORKS = {"fid": "inception", "fvd": "i3d", "efid.blendshapes": ""}
_UNITS = {"fid": "frames", "fvd": "pieces of 16 frames", "efid.blendshapes": "frames"}

Rows = Float[np.ndarray, "rows d"]


@dataclass(frozen=True, slots=True)
class OfSet:
    """What was measured of a set.

    Attributes:
        numbers: by name; see `SET_MEASURES`.
        not_measured: reasons, by name.
        samples: what each number was made of, by name: `500 frames of 50 videos against ...`.
    """

    numbers: dict[str, float] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    samples: dict[str, str] = field(default_factory=dict)


def measure_set(ours: Sequence[Evaluation], true: Sequence[Evaluation], force_small: bool = False) -> OfSet:
    """All of `SET_MEASURES`; the order of the videos makes no difference.

    Args:
        ours: the videos.
        true: the true ones, each once.
        force_small: measure samples, too, that are too small to mean much.
    """
    of_set = OfSet()
    for name, rows_of in _ROWS.items():
        mine, theirs = _gather(ours, rows_of), _gather(true, rows_of)
        if not true:
            of_set.not_measured[name] = "there are no true videos to compare with: --truth FOLDER"
        elif not mine.videos or not theirs.videos:
            looked = all(
                _NETWORKS[name] in each.features.networks for each in (*ours, *true) if each.features
            )
            there = looked and any(each.features for each in ours)
            of_set.not_measured[name] = f"there are no {_UNITS[name]} with a face" if there else MISSING
        else:
            told = f"{mine.told(_UNITS[name])} against {theirs.told(_UNITS[name])} of true ones"
            small = mine.small or theirs.small
            if min(mine.moments.count, theirs.moments.count) < 2:
                of_set.not_measured[name] = f"too small a sample: {told}; one of these alone has no spread"
            elif small and not force_small:
                of_set.not_measured[name] = (
                    f"too small a sample to mean anything: {told}; "
                    f"from {LEAST_ROWS} of {LEAST_VIDEOS} videos on, or with --force-small"
                )
            else:
                of_set.numbers[name] = frechet_distance(mine.moments, theirs.moments)
                of_set.samples[name] = told + (", forced: too few to mean much" if small else "")
    return of_set


@dataclass(frozen=True, slots=True)
class _Sample:
    """One side."""

    videos: int
    moments: Moments

    @property
    def small(self) -> bool:
        return self.videos < LEAST_VIDEOS or self.moments.count < LEAST_ROWS

    def told(self, unit: str) -> str:
        return f"{self.moments.count} {unit} of {self.videos} video{'s' if self.videos > 1 else ''}"


def _gather(evaluations: Sequence[Evaluation], rows_of: Callable[[Evaluation], Rows]) -> _Sample:
    """The moments of all rows, added up in the order of the files' names."""
    moments, videos = Moments(0), 0
    for each in sorted(evaluations, key=lambda e: str(e.video)):
        rows = rows_of(each)
        if len(rows):
            moments = moments if videos else Moments(rows.shape[1])
            moments.add(rows)
            videos += 1
    return _Sample(videos, moments)


def _pictures(evaluation: Evaluation) -> Rows:
    return _NONE if evaluation.features is None else evaluation.features.pictures


def _pieces(evaluation: Evaluation) -> Rows:
    return _NONE if evaluation.features is None else evaluation.features.pieces


def _expressions(evaluation: Evaluation) -> Rows:
    return evaluation.footage.expressions[evaluation.footage.found]


_NONE = np.zeros((0, 0), np.float32)
_ROWS = {"fid": _pictures, "fvd": _pieces, "efid.blendshapes": _expressions}
