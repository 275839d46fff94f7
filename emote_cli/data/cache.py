"""What training would compute again every epoch, computed once: VAE latents and speech features.

Kept as `cache/<key>/<id>.safetensors` in fp16; the key is a hash of the weights and settings that made them.
Training reads them whole into memory, or windows of them from the disk; without latents in the cache it
decodes the frames it needs.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emote_cli.data.dataset import DAMAGE, DEGREES_PER_FRAME_FPS, ClipArrays, LazyClip, pose_key
from emote_cli.data.layout import audio_path, cache_folder, clip_path
from emote_cli.data.lips import lip_values
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.tracks import read_tracks
from emote_cli.data.variants import Affines, Variant, move_boxes, variant_of, warp
from emote_cli.errors import DataError
from emote_cli.files import part_name
from emote_cli.media.audio import read_audio
from emote_cli.media.video import read_frames
from emote_cli.model.autoencoder import Autoencoder, to_tensor
from emote_cli.settings import ModelSettings
from emote_cli.types import AudioFeatures, Pixels, Waveform

Hear = Callable[[Waveform], AudioFeatures]
OnBad = Callable[[ClipRecord, str], None]
CacheMode = Literal["memory", "disk", "off"]
BATCH = 8


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


def cache_key(autoencoder: Autoencoder, settings: ModelSettings) -> str:
    """Changes when the autoencoder, the pictures or the speech features do. Twelve hex digits."""
    digest = hashlib.sha256()
    for name, value in sorted(autoencoder.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().numpy().tobytes())
    for part in (settings.autoencoder, settings.audio):
        digest.update(part.model_dump_json().encode())
    digest.update(f"{settings.image_size} {settings.fps}".encode())
    return digest.hexdigest()[:12]


def features_key(settings: ModelSettings) -> str:
    """Changes when the speech features do: the key of a cache without latents."""
    text = f"{settings.audio.model_dump_json()} {settings.fps}"
    return "sound-" + hashlib.sha256(text.encode()).hexdigest()[:12]


@torch.no_grad()
def encode_clip(
    folder: Path,
    record: ClipRecord,
    autoencoder: Autoencoder | None,
    settings: ModelSettings,
    hear: Hear,
    view: View = PLAIN,
) -> dict[str, Tensor]:
    """Latents (unless there is no autoencoder) and speech features of one clip, fp16.

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
    features = clip_features(folder, record, settings, hear, view)
    if autoencoder is None:
        return {"features": torch.from_numpy(features).half()}
    device = next(autoencoder.parameters()).device
    frames, latents = list[Pixels](), list[Tensor]()

    def flush() -> None:
        if frames:
            latents.append(autoencoder.encode(to_tensor(np.stack(frames)).to(device)).half().cpu())
            frames.clear()

    for frame in pictures(folder, record, settings.image_size, view):
        frames.append(frame)
        if len(frames) == BATCH:
            flush()
    flush()
    whole = torch.cat(latents)
    order = view.order(record)
    whole = whole[torch.from_numpy(order[order < len(whole)])]
    count = min(len(whole), len(features))
    return {"latents": whole[:count].contiguous(), "features": torch.from_numpy(features[:count]).half()}


def pictures(folder: Path, record: ClipRecord, size: int, view: View) -> Iterator[Pixels]:
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


def clip_features(
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


class StoredLatents:
    """Latents on the disk, read frame by frame; safe to copy into worker processes.

    Args:
        path: of the cache entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, "pt") as file:
            self.shape = tuple(file.get_slice("latents").get_shape())

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> Tensor:
        rows = np.asarray(index)
        first, last = int(rows.min()), int(rows.max())
        with safe_open(self.path, "pt") as file:
            stored = file.get_slice("latents")
            if rows.ndim == 0:
                one: Tensor = stored[first : first + 1]
                return one[0]
            if last - first < 2 * rows.size:
                window: Tensor = stored[first : last + 1]
                return window[torch.from_numpy(rows - first)]
            each = [stored[int(row) : int(row) + 1][0] for row in rows.reshape(-1)]
        return torch.stack(each)


class VideoFrames:
    """Pictures of a clip in [-1, 1]; only the asked-for frames are decoded, and two seconds before them.

    Args:
        path: of the clip's video.
        record: of the clip.
        size: side in pixels to which frames are scaled.
    """

    def __init__(self, path: Path, record: ClipRecord, size: int) -> None:
        self.path, self.fps, self.count, self.size = path, record.fps, record.frames, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Tensor:
        rows = np.asarray(index)
        if rows.ndim == 0:
            return self._span(int(rows), int(rows))[0]
        first, last = int(rows.min()), int(rows.max())
        if last - first < 4 * rows.size:
            return self._span(first, last)[torch.from_numpy(rows - first)]
        return torch.stack([self._span(int(row), int(row))[0] for row in rows])

    def _span(self, first: int, last: int) -> Float[Tensor, "f 3 h w"]:
        frames = read_frames(
            self.path,
            fps=self.fps,
            size=(self.size, self.size),
            start_s=first / self.fps,
            duration_s=(last - first + 1) / self.fps,
        )
        pixels = to_tensor(np.stack(list(frames)))
        if len(pixels) != last - first + 1:
            raise DataError(f"{self.path} ends before frame {last}", "prepare the data set again")
        return pixels


def map_tensor(path: Path, name: str) -> Float[np.ndarray, "frames layers embed"]:
    """Map one fp16 tensor of a safetensors file: an array that reads the disk only where it is looked at."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))[name]
    return np.memmap(path, np.float16, "r", 8 + length + entry["data_offsets"][0], tuple(entry["shape"]))


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
    pose = pose_key(tracks["pose_4x4"][:count], boxes, size)
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
                store(encode_clip(folder, record, encoder, settings, hear, view), path, record, view)
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


def store(tensors: dict[str, Tensor], path: Path, record: ClipRecord, view: View) -> None:
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
