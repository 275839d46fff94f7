"""What training would compute again every epoch, computed once: VAE latents and speech features of every clip.

Kept as `cache/<key>/<id>.safetensors` in fp16; the key is a hash of the weights and settings that made them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from emote_cli.data.dataset import DEGREES_PER_FRAME_FPS, ClipArrays, pose_key
from emote_cli.data.manifest import ClipRecord
from emote_cli.media.audio import read_audio
from emote_cli.media.video import read_frames
from emote_cli.model.autoencoder import Autoencoder
from emote_cli.settings import ModelSettings
from emote_cli.types import AudioFeatures, Pixels, Waveform

Hear = Callable[[Waveform], AudioFeatures]
BATCH = 25


def cache_key(autoencoder: Autoencoder, settings: ModelSettings) -> str:
    """Changes when the autoencoder, the picture size or the speech features do. Twelve hex digits."""
    digest = hashlib.sha256()
    for name, value in sorted(autoencoder.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().numpy().tobytes())
    for part in (settings.autoencoder, settings.audio):
        digest.update(part.model_dump_json().encode())
    digest.update(f"{settings.image_size} {settings.fps}".encode())
    return digest.hexdigest()[:12]


def to_pixels(frames: list[Pixels]) -> Float[Tensor, "f 3 h w"]:
    """RGB bytes to [-1, 1]."""
    stacked = torch.from_numpy(np.stack(frames))
    return rearrange(stacked, "f h w c -> f c h w").float() / 127.5 - 1


@torch.no_grad()
def encode_clip(
    folder: Path, record: ClipRecord, autoencoder: Autoencoder, settings: ModelSettings, hear: Hear
) -> dict[str, Tensor]:
    """Latents and speech features of one clip, fp16."""
    device = next(autoencoder.parameters()).device
    clip, frames = folder / "clips" / f"{record.id}.mp4", list[Pixels]()
    latents: list[Tensor] = []
    size = (settings.image_size, settings.image_size)

    def flush() -> None:
        if frames:
            latents.append(autoencoder.encode(to_pixels(frames).to(device)).half().cpu())
            frames.clear()

    for frame in read_frames(clip, size=size):
        frames.append(frame)
        if len(frames) == BATCH:
            flush()
    flush()
    features = hear(read_audio(folder / "audio" / f"{record.id}.flac")).hidden
    whole = torch.cat(latents)
    count = min(len(whole), len(features))
    return {"latents": whole[:count].contiguous(), "features": torch.from_numpy(features[:count]).half()}


def load_clip(
    folder: Path, record: ClipRecord, encoded: dict[str, Tensor], size: int, weight: float = 1.0
) -> ClipArrays:
    """Join the encoded parts of a clip with its tracks."""
    tracks = np.load(folder / "tracks" / f"{record.id}.npz")
    count = len(encoded["latents"])
    scale = size / record.size
    boxes = tracks["box_px"][:count] * scale
    return ClipArrays(
        id=record.id,
        latents=encoded["latents"],
        features=AudioFeatures(encoded["features"].float().numpy(), record.fps),
        boxes_px=boxes,
        mouths_px=tracks["mouth_box_px"][:count] * scale,
        speed=tracks["head_speed_deg_s"][:count] / DEGREES_PER_FRAME_FPS,
        pose=pose_key(tracks["pose_4x4"][:count], boxes, size),
        found=tracks["found"][:count],
        weight=weight,
    )


def cached_clips(
    folder: Path,
    records: list[ClipRecord],
    autoencoder: Autoencoder,
    settings: ModelSettings,
    hear: Hear,
) -> Iterator[ClipArrays]:
    """Yield every clip, encoding those that the cache does not hold yet."""
    place = folder / "cache" / cache_key(autoencoder, settings)
    place.mkdir(parents=True, exist_ok=True)
    for record in records:
        path = place / f"{record.id}.safetensors"
        if not path.exists():
            part = path.with_suffix(".part")
            save_file(encode_clip(folder, record, autoencoder, settings, hear), part)
            os.replace(part, path)
        yield load_clip(folder, record, load_file(path), settings.image_size)
