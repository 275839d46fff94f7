"""What training would compute again every epoch, computed once: VAE latents and speech features.

Kept as `cache/<key>/<id>.safetensors` in fp16; the key is a hash of the weights and settings that made them.
Training reads them whole into memory, or windows of them from the disk; without latents in the cache it
decodes the frames it needs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emote_cli.data.dataset import DAMAGE, DEGREES_PER_FRAME_FPS, ClipArrays, LazyClip, describe_pose
from emote_cli.data.encoding import PLAIN, Hear, View, encode_clip
from emote_cli.data.frame_stores import StoredLatents, VideoFrames, map_tensor
from emote_cli.data.layout import cache_folder, clip_path
from emote_cli.data.lips import lip_values
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.tracks import read_tracks
from emote_cli.data.variants import move_boxes
from emote_cli.errors import DataError
from emote_cli.files import part_name
from emote_cli.model.autoencoder import Autoencoder
from emote_cli.settings import ModelSettings
from emote_cli.types import AudioFeatures

OnBad = Callable[[ClipRecord, str], None]
CacheMode = Literal["memory", "disk", "off"]


def cache_key(autoencoder: Autoencoder, settings: ModelSettings) -> str:
    """Compute a cache's key, twelve hex digits: it changes with the autoencoder, the pictures or speech features."""
    digest = hashlib.sha256()
    for name, value in sorted(autoencoder.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().numpy().tobytes())
    for part in (settings.autoencoder, settings.audio):
        digest.update(part.model_dump_json().encode())
    digest.update(f"{settings.image_size} {settings.fps}".encode())
    return digest.hexdigest()[:12]


def features_key(settings: ModelSettings) -> str:
    """Compute the key of a cache without latents: it changes when the speech features do."""
    text = f"{settings.audio.model_dump_json()} {settings.fps}"
    return "sound-" + hashlib.sha256(text.encode()).hexdigest()[:12]


def cached_clips(
    folder: Path,
    records: Sequence[ClipRecord],
    autoencoder: Autoencoder,
    settings: ModelSettings,
    hear: Hear,
    *,
    mode: CacheMode = "memory",
    weights: Sequence[float] | None = None,
    on_bad: OnBad | None = None,
    variants: int = 0,
) -> Iterator[ClipArrays | LazyClip]:
    """Yield every clip and its altered copies, encoding those that the cache does not hold yet.

    Args:
        folder: the prepared data set.
        records: its clips.
        autoencoder: makes the latents.
        settings: of the model.
        hear: makes the speech features.
        mode: `memory` reads all in; `disk` and `off` yield clips that are read when they are drawn.
        weights: how often each clip is drawn.
        on_bad: told of each damaged clip, which is then left out; None raises instead.
        variants: altered copies of each clip (data/variants.py).

    Raises:
        DataError: clips cannot be altered without latents in the cache.
    """
    latents = mode != "off"
    if variants and not latents:
        raise DataError("altered copies need cached latents, and data.cache is off", "--set data.cache=disk")
    key = cache_key(autoencoder, settings) if latents else features_key(settings)
    place = cache_folder(folder, key)
    place.mkdir(parents=True, exist_ok=True)
    size, views = settings.image_size, [View(number) for number in range(variants + 1)]
    weighted = zip(records, weights or [1.0] * len(records), strict=True)
    for (record, weight), view in product(weighted, views):
        path = place / f"{view.name(record)}.safetensors"
        try:
            if not is_current(path, record, view):
                encoder = autoencoder if latents else None
                write_entry(encode_clip(folder, record, encoder, settings, hear, view), path, record, view)
            whole = None
            if mode == "memory":
                whole = load_clip(folder, record, load_file(path), size, weight, view)
        except DAMAGE as error:
            if on_bad is None:
                raise
            if not view.number:  # its copies are as bad
                on_bad(record, str(error))
            continue
        yield whole or LazyClip(
            view.name(record),
            len(view.order(record)),
            weight,
            partial(open_clip, folder, record, path, size, latents, weight, view),
        )


def load_clip(
    folder: Path,
    record: ClipRecord,
    encoded: dict[str, Any],
    size: int,
    weight: float = 1.0,
    view: View = PLAIN,
) -> ClipArrays:
    """Join the encoded parts of a clip with its tracks.

    Args:
        folder: the prepared data set.
        record: of the clip.
        encoded: `latents` and `features`, as tensors or as what reads them.
        size: side of the model's square in pixels.
        weight: how often the clip is drawn, relative to others.
        view: which copy of the clip.
    """
    plain = read_tracks(folder, record)
    order, variant = view.order(record), view.variant(record)
    order = order[order < len(plain["found"])]
    tracks = {name: each[order] if each.ndim else each for name, each in plain.items()}
    features = encoded["features"]
    features = features.float().numpy() if isinstance(features, Tensor) else features
    count = min(len(encoded["latents"]), len(features), len(order))
    scale, tempo = size / record.size, variant.tempo if variant else 1.0
    boxes, mouths = tracks["box_px"][:count] * scale, tracks["mouth_box_px"][:count] * scale
    pose = describe_pose(tracks["pose_4x4"][:count], boxes, size)
    if view != PLAIN:
        affines = view.affines(plain, record, size)[order[:count]]
        # The maps are of the pixels' centers, boxes of their edges.
        boxes, mouths = (move_boxes(each - 0.5, affines) + 0.5 for each in (boxes, mouths))
    return ClipArrays(
        id=view.name(record),
        latents=encoded["latents"],
        features=AudioFeatures(features[:count], record.fps),
        boxes_px=boxes,
        mouths_px=mouths,
        speed=tracks["head_speed_deg_s"][:count] * tempo / DEGREES_PER_FRAME_FPS,
        pose=pose,
        found=tracks["found"][:count],
        lips=lip_values(tracks)[:count],
        weight=weight,
    )


def open_clip(
    folder: Path,
    record: ClipRecord,
    path: Path,
    size: int,
    latents: bool,
    weight: float,
    view: View = PLAIN,
) -> ClipArrays:
    """Open a clip whose latents (or pictures) and features stay on the disk until they are looked at.

    Args:
        folder: the prepared data set.
        record: of the clip.
        path: of its cache entry.
        size: side of the model's square in pixels.
        latents: whether the entry holds latents; if not, pictures are read from the clip.
        weight: how often the clip is drawn, relative to others.
        view: which copy of the clip.
    """
    frames = StoredLatents(path) if latents else VideoFrames(clip_path(folder, record.id), record, size)
    parts = {"latents": frames, "features": map_tensor(path, "features")}
    return load_clip(folder, record, parts, size, weight, view)


def is_current(path: Path, record: ClipRecord, view: View) -> bool:
    """Whether a cache entry is there, whole, and of the clip as it was last prepared; else it is made again.

    Args:
        path: of the cache entry.
        record: of the clip.
        view: which copy of the clip.
    """
    try:
        with safe_open(path, "pt") as file:
            return "features" in file.keys() and file.metadata() == describe_origin(record, view)
    except (OSError, SafetensorError):
        return False


def describe_origin(record: ClipRecord, view: View) -> dict[str, str]:
    """Describe what an entry depends on, but for the model: the stretch of video, how it was prepared and altered."""
    stretch = [record.start_s, record.end_s, record.crop_px, record.measured.get("sound_late_s", 0.0)]
    return {
        "video": record.sha256,
        "stretch": json.dumps(stretch),
        "prepared_with": record.settings_hash,
        "altered": str(view.variant(record)),
    }


def write_entry(tensors: dict[str, Tensor], path: Path, record: ClipRecord, view: View) -> None:
    """Write a cache entry that is never seen half-written.

    Args:
        tensors: by name.
        path: of the cache entry.
        record: of the clip.
        view: which copy of the clip.
    """
    part = part_name(path)
    try:
        save_file(tensors, part, describe_origin(record, view))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
