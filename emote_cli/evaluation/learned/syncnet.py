"""SyncNet's judgement of lips and sound (Chung and Zisserman 2016): LSE-D and LSE-C, as Wav2Lip's authors named them.

Five frames at 25 a second, and 0.2 s of sound, become 1024 numbers each; the nearer, the better they go together. The network
and its conventions (blue first, 0..255, sound in 16-bit steps, zeros beyond the ends) are those of joonson's syncnet_python,
so that its weights (`syncnet_v2.model`, MIT) give its numbers. Not verified against the real weights.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.evaluation.findings import MISSING, Findings, Measure
from emote_cli.evaluation.learned.mfcc import RATE_HZ, STEP, WINDOW, mfcc
from emote_cli.evaluation.learned.weights import load_named
from emote_cli.types import Sound

FPS, SIDE = 25, 224
"""Frames per second, and side in pixels, of the pictures that it was trained on."""

REACH = 15
"""Offsets that are tried, in frames, to both sides."""

_FRAMES, _COLUMNS, _WIDTH = 5, 20, 1024
_PER_FRAME = RATE_HZ // FPS
_FEWEST = 50
"""Looks below which most of the 31 offsets would be compared with nothing."""
_BATCH = 32

MEASURES = {
    "syncnet.lse_d": Measure(
        "lips far from the sound (SyncNet)",
        "LSE-D: mean distance of SyncNet's vectors of five frames and of 0.2 s of sound, at the best of the offsets -15..15. Frames at"
        " 25 a second (the nearest ones of other rates), cut out 2.8 half sides of the face's box wide, smoothed over 13 frames, scaled to"
        " 224x224; MediaPipe's box stands in for S3FD's. Not verified against the real weights.",
        better="lower",
        notable=0.5,
    ),
    "syncnet.lse_c": Measure(
        "lips sure of the sound (SyncNet)",
        "LSE-C: median over the offsets of these mean distances, less the least one. Not verified against the real weights.",
        better="higher",
        notable=0.5,
    ),
    "syncnet.lag_ms": Measure(
        "lips late against the sound (SyncNet)", "The best offset, in steps of 40 ms; negative: the lips come first.", "ms", "zero", 80.0
    ),
}  # fmt: skip


class SyncNet(nn.Module):
    """Both halves of the network, under the published names."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_layer(nn.Conv2d(1, 64, 3, padding=1), nn.MaxPool2d(1)),
            *_layer(nn.Conv2d(64, 192, 3, padding=1), nn.MaxPool2d(3, (1, 2))),
            *_layer(nn.Conv2d(192, 384, 3, padding=1)),
            *_layer(nn.Conv2d(384, 256, 3, padding=1)),
            *_layer(nn.Conv2d(256, 256, 3, padding=1), nn.MaxPool2d(3, 2)),
            *_layer(nn.Conv2d(256, 512, (5, 4))),
        )
        halve = nn.MaxPool3d((1, 3, 3), (1, 2, 2))
        self.netcnnlip = nn.Sequential(
            *_layer(nn.Conv3d(3, 96, (_FRAMES, 7, 7), (1, 2, 2)), halve),
            *_layer(
                nn.Conv3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)),
                nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            ),
            *_layer(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_layer(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1))),
            *_layer(nn.Conv3d(256, 256, (1, 3, 3), padding=(0, 1, 1)), halve),
            *_layer(nn.Conv3d(256, 512, (1, 6, 6))),
        )
        self.netfcaud, self.netfclip = (
            nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, _WIDTH))
            for _ in range(2)
        )

    def hear(self, columns: Float[Tensor, "b 1 13 20"]) -> Float[Tensor, "b 1024"]:
        """Vectors of 0.2 s of sound each."""
        return self.netfcaud(self.netcnnaud(columns).flatten(1))

    def look(self, frames: Float[Tensor, "1 3 f 224 224"]) -> Float[Tensor, "looks 1024"]:
        """Vectors of each five frames that follow one another; there are four fewer than frames."""
        return self.netfclip(self.netcnnlip(frames).flatten(2)[0].T)


def _layer(convolution: nn.Module, *pool: nn.Module) -> list[nn.Module]:
    flat = isinstance(convolution, nn.Conv2d)
    n_out = int(convolution.out_channels)  # type: ignore[arg-type]
    return [convolution, nn.BatchNorm2d(n_out) if flat else nn.BatchNorm3d(n_out), nn.ReLU(), *pool]


def load_syncnet(path: Path) -> SyncNet:
    """The network with its weights (`emote download metrics`).

    Raises:
        WeightsError: the file is unreadable, or of another network.
    """
    return load_named(SyncNet(), path)


class Distances:
    """Mean distances of lips and sound over the offsets, from frames that come one by one: flat memory.

    Args:
        network: see `load_syncnet`.
        sound: mono, at 16 kHz.
        n_frames: how many frames will come, at 25 a second.
    """

    def __init__(self, network: SyncNet, sound: Sound, n_frames: int) -> None:
        self._network, self._sound = network, sound
        self.looks = max(min(n_frames, sound.n_samples // _PER_FRAME) - _FRAMES, 0)
        """How many looks of five frames are compared; one fewer than there are, as published."""
        self._frames: list[UInt8[np.ndarray, "224 224 3"]] = []
        self._done = 0
        self._sums = np.zeros(2 * REACH + 1)

    def add(self, frame: UInt8[np.ndarray, "224 224 3"]) -> None:
        """Take in the next frame's face."""
        if self._done < self.looks:
            self._frames.append(frame)
            if len(self._frames) == min(_BATCH, self.looks - self._done) + _FRAMES - 1:
                self._compare()

    @torch.inference_mode()
    def _compare(self) -> None:
        pixels = np.stack(self._frames)[..., ::-1].transpose(3, 0, 1, 2)
        seen = self._network.look(torch.from_numpy(pixels.astype(np.float32))[None])
        start, count = self._done, len(seen)
        heard = self._hear(start - REACH, start + count + REACH)
        for place in range(2 * REACH + 1):
            apart = functional.pairwise_distance(seen, heard[place : place + count])
            self._sums[place] += float(apart.double().sum())
        self._done += count
        del self._frames[:count]

    def _hear(self, start: int, stop: int) -> Float[Tensor, "looks 1024"]:
        """Vectors of the sound at these looks; zeros beyond both ends, as published."""
        found = torch.zeros(stop - start, _WIDTH)
        low, high = max(start, 0), min(stop, self.looks)
        columns = read_columns(self._sound, 4 * low, 4 * (high - 1) + _COLUMNS)
        windows = np.stack([columns[4 * k : 4 * k + _COLUMNS].T for k in range(high - low)])
        found[low - start : high - start] = self._network.hear(
            torch.from_numpy(windows.astype(np.float32))[:, None]
        )
        return found

    def means(self) -> Float[np.ndarray, " offsets"]:
        """Mean distance at each offset of the sound, -15..15 frames; none where there were too few frames."""
        return self._sums / self._done if self._done >= _FEWEST else np.zeros(0)


def read_columns(sound: Sound, start: int, stop: int) -> Float[np.ndarray, "columns 13"]:
    """The MFCC's columns from `start` to before `stop`, from the samples that they need and no others."""
    first = start * STEP
    samples = sound.read(max(first - 1, 0), (stop - 1) * STEP + WINDOW)
    steps = np.round(samples * 32768).clip(-32768, 32767).astype(np.int16)
    return mfcc(steps[1:], int(steps[0])) if first else mfcc(steps)


def measure_syncnet(distances: Float[np.ndarray, " offsets"] | None) -> Findings:
    """All of `MEASURES`.

    Args:
        distances: see `Distances.means`; None: there is no network.
    """
    if distances is None:
        return dict.fromkeys(MEASURES, MISSING)
    if not len(distances):
        return dict.fromkeys(
            MEASURES,
            f"the video has no sound, is shorter than {(_FEWEST + _FRAMES) / FPS:.1f} s, or shows no face at {FPS} frames a second",
        )
    best = int(distances.argmin())
    return {
        "syncnet.lse_d": float(distances[best]),
        "syncnet.lse_c": float(np.median(distances) - distances[best]),
        "syncnet.lag_ms": (REACH - best) * 1000.0 / FPS,
    }
