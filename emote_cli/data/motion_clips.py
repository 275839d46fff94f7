"""Clips in motion latents: made from the tracks alone, in seconds, without decoding a picture.

Each clip is seen from several portraits (frames of its own), and once more as altered copies: mirrored, larger,
turned, faster, in another room. The head is held as the portrait holds it (`data.hold_heads`): sound tells how the face
moves; where the head goes is another matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from emote_cli.data.dataset import DAMAGE, DEGREES_PER_FRAME_FPS, ClipArrays, describe_pose
from emote_cli.data.layout import audio_path
from emote_cli.data.lips import lip_values
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.tracks import read_tracks
from emote_cli.data.variants import Variant, variant_of
from emote_cli.errors import DataError
from emote_cli.media.audio import read_audio
from emote_cli.perception.geometry import measure_gap
from emote_cli.perception.landmarks import LIPS, SKULL
from emote_cli.perception.motion_latents import Grid, mean_face, unit_px
from emote_cli.settings import ModelSettings
from emote_cli.types import AudioFeatures, Waveform

GROUP_WEIGHTS = (1.0, 4.0, 4.0, 2.0, 1.0)
"""How much an error counts at a landmark of each group: see perception/motion_latents.py."""
SMILING = 0.75
"""Share of the altered copies' portraits that smile."""
BACKGROUND_WEIGHT = 0.02
"""How much it counts where there is no landmark."""

Points3 = Float[np.ndarray, "frames 478 3"]


@cache
def find_mirror_pairs() -> Int[np.ndarray, " 478"]:
    """Find for each landmark the one on the other side of the face."""
    face = mean_face()
    away = ((face[:, None] - (face * [-1, 1])[None]) ** 2).sum(-1)
    return np.asarray(away.argmin(1))


def hold_head(points: Points3, portrait: Float[np.ndarray, "478 3"]) -> Points3:
    """Turn, scale and move faces in space until the skull is where the portrait has it."""
    skull = list(SKULL)
    goal = portrait[skull].astype(np.float64)
    middle = goal.mean(0)
    faces = points[:, skull].astype(np.float64)
    middles = faces.mean(1, keepdims=True)
    spread = faces - middles
    u, size, vt = np.linalg.svd(np.einsum("fpi,pj->fij", spread, goal - middle))
    flip = np.sign(np.linalg.det(u @ vt))
    u[..., 2] *= flip[:, None]
    size[..., 2] *= flip
    turn = u @ vt
    scale = size.sum(-1) / np.maximum((spread**2).sum((1, 2)), 1e-9)
    held = np.einsum("fpi,fij->fpj", points - middles, turn) * scale[:, None, None] + middle
    return held.astype(np.float32)


def alter(points: Points3, variant: Variant, size: int) -> Points3:
    """Move landmarks as an altered copy of the clip has them.

    Args:
        points: in pixels.
        variant: how the copy differs.
        size: side of the picture in pixels.
    """
    affine = variant.affine(size)
    moved = points.copy()
    moved[..., :2] = points[..., :2] @ affine[:, :2].T + affine[:, 2]
    moved[..., 2] *= variant.scale
    return moved[:, find_mirror_pairs()] if variant.mirrored else moved


@cache
def load_smiles() -> tuple[Float[np.ndarray, "3 478 2"], Float[np.ndarray, "seen 3"]]:
    """Read how smiling moves a face, from 779 portraits in the public domain: portraits smile, speakers do not.

    Returns:
        How the landmarks go with the opening, the width and the corners of a mouth, in distances between the eyes; and
        how far those were from a closed mouth's in each portrait that smiled.
    """
    with resources.files("emote_cli").joinpath("data", "smiles.npz").open("rb") as file:
        stored = np.load(file)
        return stored["ways"].astype(np.float32), stored["seen"].astype(np.float32)


def make_smile(portrait: Float[np.ndarray, "478 3"], rng: np.random.Generator) -> Float[np.ndarray, "478 3"]:
    """Put somebody's smile on a face."""
    ways, seen = load_smiles()
    way = np.einsum("k,kpd->pd", seen[int(rng.integers(len(seen)))] * rng.uniform(0.3, 1.1), ways)
    smiling = portrait.copy()
    smiling[:, :2] += way * float(unit_px(torch.from_numpy(portrait[:, :2])))
    return smiling


def weigh_cells(grid: Grid) -> Float[Tensor, "c y x"]:
    """Weigh the cells of the latent grid for the loss: by where each group's landmarks are."""
    maps = []
    for lookup, weight in zip(grid.lookups, GROUP_WEIGHTS, strict=True):
        share = lookup.sum(0).reshape(grid.cells, grid.cells)
        maps += [BACKGROUND_WEIGHT + weight * share / share.sum() * 20] * 2
    return torch.stack(maps)


@dataclass(frozen=True, slots=True)
class SeenClip:
    """A clip, or an altered copy of it, before a portrait is chosen.

    Attributes:
        points: landmarks in pixels.
        lips: what they do (data/lips.py).
        found: whether a face was seen.
        speed: of the head, degrees per frame at 30 fps.
        pose: see `describe_pose`.
        features: of the speech.
    """

    points: Points3
    lips: Float[np.ndarray, "frames 3"]
    found: Bool[np.ndarray, " frames"]
    speed: Float[np.ndarray, " frames"]
    pose: Float[np.ndarray, "frames 5"]
    features: AudioFeatures

    @property
    def gaps(self) -> Float[np.ndarray, " frames"]:
        """How far the mouth is open, in pixels."""
        return measure_gap(self.points[..., :2])


def make_motion_clips(
    folder: Path,
    records: Sequence[ClipRecord],
    weights: Sequence[float],
    model: ModelSettings,
    listen: Callable[[Waveform], AudioFeatures],
    *,
    variants: int,
    portraits: int,
    hold_heads: bool = True,
    on_bad: Callable[[ClipRecord, str], None],
) -> Iterator[ClipArrays]:
    """Make every clip that is not damaged, seen from some portraits, with its altered copies.

    Args:
        folder: the prepared data set.
        records: its clips.
        weights: how often each is drawn, relative to others.
        model: sizes and speech features.
        listen: sound -> speech features.
        variants: altered copies of each clip.
        portraits: how many of its frames each copy is seen from.
        hold_heads: whether the head is held as the portrait holds it, or its own motion is part of the latents.
        on_bad: told of clips that cannot be read.
    """
    for record, weight in zip(records, weights, strict=True):
        for number in range(variants + 1):
            try:
                clip = _see(folder, record, number, model, listen)
                frames = _portraits(clip, portraits, record.id, number)
            except DAMAGE as error:
                on_bad(record, str(error))
                break
            rng = np.random.default_rng([number, 1, *record.id.encode()])
            share = weight / (len(frames) * (1 if number == 0 else variants) * (2 if variants else 1))
            for frame in frames:
                portrait = clip.points[frame]
                if number and rng.random() < SMILING:
                    portrait = make_smile(portrait, rng)
                yield _from_portrait(record.id, clip, portrait, share, model, hold_heads)


def _see(
    folder: Path,
    record: ClipRecord,
    number: int,
    model: ModelSettings,
    listen: Callable[[Waveform], AudioFeatures],
) -> SeenClip:
    tracks = read_tracks(folder, record)
    size, variant = model.image_size, variant_of(record.id, number)
    points = tracks["landmarks_px"].astype(np.float32) * (size / record.size)
    found = tracks["found"] & np.isfinite(points).all((1, 2))
    speed = tracks["head_speed_deg_s"] / DEGREES_PER_FRAME_FPS
    pose = describe_pose(tracks["pose_4x4"], tracks["box_px"], record.size)
    lips, sound = lip_values(tracks), read_audio(audio_path(folder, record.id))
    if variant is not None:
        order = variant.order(len(points))
        points, sound = alter(points, variant, size)[order], variant.alter_sound(sound)
        lips, found, speed, pose = lips[order], found[order], speed[order] * variant.tempo, pose[order]
    return SeenClip(points, lips, found, speed.astype(np.float32), pose, listen(sound))


def _portraits(clip: SeenClip, count: int, name: str, number: int) -> list[int]:
    """Frames that stand for a portrait: the first one of the clip itself, one with closed lips, others by chance."""
    rng = np.random.default_rng([number, *name.encode()])
    found = np.flatnonzero(clip.found)
    if len(found) < 2:
        raise DataError("no face is seen in it", "prepare the data set again")
    first = found[0] if number == 0 else rng.choice(found)
    closed = found[np.argsort(clip.gaps[found])[int(rng.integers(max(len(found) // 5, 1)))]]
    return [int(frame) for frame in (first, closed, *rng.choice(found, max(count - 2, 0)))][:count]


def _from_portrait(
    name: str,
    clip: SeenClip,
    portrait: Float[np.ndarray, "478 3"],
    weight: float,
    model: ModelSettings,
    hold: bool,
) -> ClipArrays:
    grid = Grid(torch.from_numpy(portrait[:, :2].copy()), model.latent_size, model.image_size)
    known = np.where(clip.found[:, None, None], clip.points, portrait)
    held = hold_head(known, portrait) if hold else known
    x, y = portrait[:, 0], portrait[:, 1]
    box = np.array([x.min(), y.min(), x.max(), y.max()], np.float32)
    mouth = portrait[list(LIPS), :2]
    lips_box = np.concatenate([mouth.min(0), mouth.max(0)])
    count = len(clip.points)
    return ClipArrays(
        id=name,
        latents=grid.encode(torch.from_numpy(held[..., :2].copy())).half(),
        features=clip.features,
        boxes_px=np.repeat(box[None], count, 0),
        mouths_px=np.repeat(lips_box[None], count, 0),
        speed=clip.speed,
        pose=clip.pose,
        found=clip.found,
        lips=clip.lips,
        weight=weight,
        portrait=grid.place()[0],
        cell_weights=weigh_cells(grid),
    )
