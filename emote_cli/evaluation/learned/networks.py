"""The networks that `emote download metrics` fetched, opened once."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emote_cli.zoo.catalog import registry
from emote_cli.zoo.locate import locate_metric

if TYPE_CHECKING:
    from emote_cli.evaluation.learned.inception import Inception
    from emote_cli.evaluation.learned.syncnet import SyncNet

INCEPTION, I3D, SYNCNET = "inception.safetensors", "i3d.torchscript", "syncnet.safetensors"
"""Their files in the folder of `emote download metrics`."""


@dataclass(frozen=True)
class Networks:
    """Those that are there.

    Attributes:
        inception: for FID.
        i3d: for FVD.
        syncnet: for LSE-C and LSE-D.
    """

    inception: Inception | None = None
    i3d: Any | None = None
    syncnet: SyncNet | None = None

    @property
    def names(self) -> str:
        """Which ones there are."""
        there = {"inception": self.inception, "i3d": self.i3d, "syncnet": self.syncnet}
        return " ".join(name for name, network in there.items() if network is not None)


def any_fetched() -> bool:
    """Whether there are any, without opening them.

    Raises:
        WeightsError: a file is damaged.
    """
    return any(locate_metric(name) for name in (INCEPTION, I3D, SYNCNET))


def open_networks() -> Networks | None:
    """The networks that were fetched; None where there are none.

    Raises:
        WeightsError: a file is damaged, or of another network.
    """
    paths = tuple(locate_metric(name) for name in (INCEPTION, I3D, SYNCNET))
    if not any(paths):
        return None
    return _open(paths, tuple(path.stat().st_mtime_ns if path else 0 for path in paths))


@functools.lru_cache(maxsize=1)
def _open(paths: tuple[Path | None, ...], _times: tuple[int, ...]) -> Networks:
    from emote_cli.evaluation.learned.i3d import load_i3d
    from emote_cli.evaluation.learned.inception import load_inception
    from emote_cli.evaluation.learned.syncnet import load_syncnet

    inception, i3d, syncnet = paths
    known = {file.to: file.sha256 for file in registry()["metrics"].files}
    return Networks(
        load_inception(inception) if inception else None,
        load_i3d(i3d, known[I3D]) if i3d else None,
        load_syncnet(syncnet) if syncnet else None,
    )
