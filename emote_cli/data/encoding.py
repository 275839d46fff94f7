"""A clip, or an altered copy of it, encoded for a model: latents of its pictures, features of its speech."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from emote_cli.data.layout import audio_path, clip_path
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.tracks import read_tracks
from emote_cli.data.variants import Affines, Variant, variant_of, warp
from emote_cli.media.audio import read_audio
from emote_cli.media.video import read_frames
from emote_cli.model.autoencoder import Autoencoder, to_tensor
from emote_cli.settings import ModelSettings
from emote_cli.types import AudioFeatures, Pixels, Waveform

Hear = Callable[[Waveform], AudioFeatures]
BATCH = 8
"""Frames that are encoded together."""


@dataclass(frozen=True, slots=True)
class View:
    """Which copy of a clip is seen: the clip itself, or an altered one.

    Attributes:
        number: of its altered copy (data/variants.py); 0 is the clip itself.
    """

    number: int = 0

    def name(self, record: ClipRecord) -> str:
        """The clip's name in this view, as of its cache entry."""
        return f"{record.id}~{self.number}" if self.number else record.id

    def variant(self, record: ClipRecord) -> Variant | None:
        """How the copy differs; None for the clip itself."""
        return variant_of(record.id, self.number)

    def order(self, record: ClipRecord) -> Int[np.ndarray, " frames"]:
        """Which frames of the clip are seen, one after another."""
        variant = self.variant(record)
        return np.arange(record.frames) if variant is None else variant.order(record.frames)

    def affines(self, tracks: Mapping[str, Any], record: ClipRecord, size: int) -> Affines:
        """Compute the map of the picture's points for each frame.

        Args:
            tracks: of the clip; their length counts.
            record: of the clip.
            size: side of the square in pixels.
        """
        variant = self.variant(record)
        affine = np.eye(2, 3) if variant is None else variant.affine(size)
        return np.tile(affine, (len(tracks["found"]), 1, 1))


PLAIN = View()


@torch.no_grad()
def encode_clip(
    folder: Path,
    record: ClipRecord,
    autoencoder: Autoencoder | None,
    settings: ModelSettings,
    hear: Hear,
    view: View = PLAIN,
) -> dict[str, Tensor]:
    """Encode one clip: its latents (unless there is no autoencoder) and its speech features, in fp16.

    Args:
        folder: the prepared data set.
        record: of the clip.
        autoencoder: where it is, there the pictures are encoded; None: only the speech.
        settings: of the model: size, frame rate and sizes of the features.
        hear: sound -> speech features.
        view: which copy of the clip.

    Returns:
        `features`, and `latents` where there is an autoencoder; both are cut to the shorter.

    Raises:
        InputError: the clip's picture or sound is missing or damaged.
    """
    features = compute_features(folder, record, settings, hear, view)
    if autoencoder is None:
        return {"features": torch.from_numpy(features).half()}
    device = next(autoencoder.parameters()).device
    frames, latents = list[Pixels](), list[Tensor]()

    def flush() -> None:
        if frames:
            latents.append(autoencoder.encode(to_tensor(np.stack(frames)).to(device)).half().cpu())
            frames.clear()

    for frame in read_pictures(folder, record, settings.image_size, view):
        frames.append(frame)
        if len(frames) == BATCH:
            flush()
    flush()
    whole = torch.cat(latents)
    order = view.order(record)
    whole = whole[torch.from_numpy(order[order < len(whole)])]
    count = min(len(whole), len(features))
    return {"latents": whole[:count].contiguous(), "features": torch.from_numpy(features[:count]).half()}


def read_pictures(folder: Path, record: ClipRecord, size: int, view: View) -> Iterator[Pixels]:
    """Read the frames of a clip at the model's size, as the view has them.

    Args:
        folder: the prepared data set.
        record: of the clip.
        size: side of the square in pixels.
        view: which copy of the clip.
    """
    frames = read_frames(clip_path(folder, record.id), size=(size, size))
    if view == PLAIN:
        yield from frames
        return
    affines, variant = view.affines(read_tracks(folder, record), record, size), view.variant(record)
    for frame, affine in zip(frames, affines, strict=False):  # a frame more or less than tracked is cut later
        moved = warp(frame, affine)
        yield moved if variant is None else variant.recolor(moved)


def compute_features(
    folder: Path, record: ClipRecord, settings: ModelSettings, hear: Hear, view: View = PLAIN
) -> Float[np.ndarray, "frames layers embed"]:
    """Compute the speech features of a clip; zeros for one without sound, which only stage 1 takes.

    Args:
        folder: the prepared data set.
        record: of the clip.
        settings: of the model.
        hear: sound -> speech features.
        view: which copy of the clip.
    """
    if not record.has_audio:
        return np.zeros((len(view.order(record)), settings.audio.layers, settings.audio.embed), np.float32)
    speech, variant = read_audio(audio_path(folder, record.id)), view.variant(record)
    return hear(speech if variant is None else variant.alter_sound(speech)).hidden
