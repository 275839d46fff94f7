"""How large the latents of a new autoencoder are: their scale is set once, before stage 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from emote_cli.data.dataset import DAMAGE
from emote_cli.data.layout import clip_path
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.tracks import read_tracks
from emote_cli.media.video import read_frames
from emote_cli.model.autoencoder import to_tensor
from emote_cli.model.emo import Emo


@torch.no_grad()
def measure_latent_scale(folder: Path, records: Sequence[ClipRecord], model: Emo, *, clips: int = 8) -> float:
    """Measure the scaling factor that gives what is diffused a deviation near 1, like the noise's.

    That is the latents of the face, or for a model with reference latents their change within a clip.

    Args:
        folder: the prepared data set.
        records: its clips, of which `clips` are looked at, evenly spread.
        model: with any scaling factor.
        clips: how many to look at.
    """
    autoencoder, size = model.autoencoder, model.settings.image_size
    device, found = next(autoencoder.parameters()).device, []
    for record in records[:: max(len(records) // clips, 1)][:clips]:
        try:
            frames = list(read_frames(clip_path(folder, record.id), size=(size, size)))[::5]
            boxes = read_tracks(folder, record)["box_px"]
        except DAMAGE:
            continue  # the stage that reads all clips tells of it
        box = boxes[np.isfinite(boxes).all(1)][0] * (size / record.size)
        latents = autoencoder.encode(to_tensor(np.stack(frames)).to(device)) / autoencoder.scaling_factor
        middle = (
            latents[:1] if model.settings.family.reference_latents else latents.mean((0, 2, 3), keepdim=True)
        )
        x0, y0, x1, y1 = (round(float(v) * latents.shape[-1] / size) for v in box)
        face = (latents - middle)[1:, :, max(y0, 0) : max(y1, y0 + 1), max(x0, 0) : max(x1, x0 + 1)]
        found.append(float(face.square().mean().sqrt()))
    usable = [deviation for deviation in found if np.isfinite(deviation) and deviation > 0]
    return 1.0 if not usable else float(1 / np.mean(usable))
