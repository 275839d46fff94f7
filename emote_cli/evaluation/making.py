"""By what the measured videos were made, where they say so: numbers are worth little without it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from emote_cli.animation.provenance import read_making
from emote_cli.errors import InputError


def describe_maker(video: Path) -> dict[str, str]:
    """Tell by which model, weights and version of emote a video was made; empty where it does not say.

    A model's folder is told by its last name only: a report goes to other people.

    Args:
        video: any video.
    """
    return dict(_describe(video, video.stat().st_mtime_ns)) if video.exists() else {}


@functools.lru_cache(maxsize=4096)
def _describe(video: Path, mtime_ns: int) -> tuple[tuple[str, str], ...]:
    try:
        making = read_making(video)
    except InputError:
        return ()
    settings = making.get("settings")
    model = str(settings.get("model", "?")) if isinstance(settings, dict) else "?"
    told = {
        "model": Path(model).name,
        "weights_sha256": str(making.get("weights_sha256", "?")),
        "made_by": str(making["made_by"]),
    }
    return tuple(told.items())


def tell_makers(videos: Iterable[Path]) -> str:
    """Tell in words who made the videos, each model once; empty where none of them says."""
    makers = [each for video in videos if (each := describe_maker(video))]
    told = [
        f"{each['model']} ({each['made_by']}, weights {_short(each['weights_sha256'])})" for each in makers
    ]
    return ", ".join(dict.fromkeys(told))


def _short(weights: str) -> str:
    """The beginning of a hash; what is no hash, whole."""
    return weights[:12] if len(weights) == 64 else weights
