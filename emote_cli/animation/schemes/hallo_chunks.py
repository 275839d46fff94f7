"""Hallo's loop over chunks.

The last frames of a chunk go through pixels and the VAE to become the next one's motion frames. Before the
first chunk the portrait itself stands in for them, n times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emote_cli.animation.chunks import plan_chunks
from emote_cli.animation.memory import Guard
from emote_cli.animation.quality import Recipe
from emote_cli.animation.schemes.guidance import guide_network
from emote_cli.diffusion.sampler import sample
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.model.adapters.hallo import HalloVideo, condition, encode_video
from emote_cli.model.conditioning import RegionWeights
from emote_cli.model.emo import Emo
from emote_cli.shapes import VideoLatents
from emote_cli.types import Chunk, SpeechFeatures

ChunkNoise = Callable[[Chunk], VideoLatents]
DrawPlaces = Callable[[], Bool[Tensor, "3 size size"]]
"""Which pixels of a chunk's motion frames are shown; see `draw_places`."""


@dataclass(frozen=True, slots=True)
class HalloInputs:
    """What a video is made from.

    Attributes:
        pixels: the portrait in [-1, 1].
        embedding: of its face (ArcFace, not normalized); zeros if unknown.
        face_mask: the hard face box, 0..1, three equal channels.
        regions: where the three audio branches are heard.
        features: of the speech; a whole number of chunks.
    """

    pixels: Float[Tensor, "3 size size"]
    embedding: Float[Tensor, " embedding"]
    face_mask: Float[Tensor, "3 size size"]
    regions: RegionWeights
    features: SpeechFeatures


def draw_noise(
    seed: int | torch.Generator,
    shape: tuple[int, int, int],
    chunk_frames: int,
    dtype: torch.dtype = torch.float16,
) -> ChunkNoise:
    """Noise as Hallo and EchoMimic draw it: one stream for all chunks, channels before frames, in their weights' dtype.

    Call it once per chunk, in order.

    Args:
        seed: Hallo's own is 42, EchoMimic's 420; or the stream itself, where others draw from it, too.
        shape: channels, height and width of the latents.
        chunk_frames: f.
        dtype: of the draw; another one gives other numbers.
    """
    generator = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    channels, height, width = shape

    def draw(chunk: Chunk) -> VideoLatents:
        noise = torch.randn((1, channels, chunk_frames, height, width), generator=generator, dtype=dtype)
        return noise.transpose(1, 2).float()

    return draw


def draw_places(
    generator: torch.Generator, face_mask: Float[Tensor, "3 size size"], share: float
) -> DrawPlaces:
    """Which pixels of a chunk's motion frames Hallo 2 shows its network: the face, and all but a share of the others.

    The model then follows the face and takes the rest from the portrait, so that noise does not pile up.

    Args:
        generator: of the noise; call this before each chunk's noise.
        face_mask: box of the face.
        share: of the other pixels, that become grey.
    """
    size = face_mask.shape[-1]

    def draw() -> Bool[Tensor, "3 size size"]:
        kept = torch.rand((size, size), generator=generator) > share
        return kept.to(face_mask.device) | (face_mask != 0)

    return draw


class SampledChunk(NamedTuple):
    """A chunk that is sampled, and decoded as far as the next one needs it.

    Attributes:
        start: number of the first frame.
        latents: of the frames that are not decoded yet.
        last: the chunk's last n frames, in [-1, 1].
        keep: how many of all its frames belong to the video.
    """

    start: int
    latents: VideoLatents
    last: Float[Tensor, "n 3 size size"]
    keep: int


@torch.inference_mode()
def sample_chunks(
    model: Emo,
    inputs: HalloInputs,
    noise: ChunkNoise,
    how: Recipe,
    guard: Guard,
    *,
    start: int = 0,
    last: Float[Tensor, "n 3 size size"] | None = None,
    kept: DrawPlaces | None = None,
) -> Iterator[SampledChunk]:
    """Sample chunk after chunk; only the frames that the next chunk follows on are decoded.

    Args:
        model: a Hallo model.
        inputs: portrait and speech.
        noise: of each chunk.
        how: how to sample.
        guard: runs each heavy piece of work; it may run it a second time.
        start: first frame that is not made yet, a whole number of chunks.
        last: the n frames before it, in [-1, 1]; None where there are none.
        kept: draws which pixels of the motion frames are shown, the same for all of a chunk (Hallo 2); None: all.
    """
    settings, schedule = model.settings, NoiseSchedule(model.settings.diffusion)
    n, f = settings.temporal.motion_frames, settings.temporal.chunk_frames
    video = guard(partial(_encode_video, model, inputs, guided=how.guidance != 1.0))
    chunks = plan_chunks(inputs.features.n_frames, f)
    for chunk in chunks:
        places = None if kept is None else kept()
        drawn = noise(chunk).to(inputs.pixels)  # also for chunks that are made: they share a stream
        if chunk.start < start:
            continue
        frames = (
            last
            if places is None
            else places * (inputs.pixels.expand(n, -1, -1, -1) if last is None else last)
        )
        motion = None if frames is None else guard(partial(model.autoencoder.encode, frames))
        windows = inputs.features.windows(chunk.start, f, settings.audio.margin)
        heard = torch.from_numpy(windows)[None].to(inputs.pixels)
        latents = guard(partial(_sample, model, video, motion, heard, drawn, schedule=schedule, how=how))
        last = guard(partial(model.decode, latents[:, -n:], 1))[0]
        yield SampledChunk(chunk.start, latents[:, :-n], last, chunk.keep)


@torch.inference_mode()
def decode_chunk(model: Emo, made: SampledChunk) -> Float[Tensor, "f 3 size size"]:
    """Decode the frames of a chunk that belong to the video; in [-1, 1]."""
    wanted = made.latents[:, : made.keep]
    frames = [model.decode(wanted)[0].to(made.last.dtype)] if wanted.shape[1] else []
    return torch.cat([*frames, made.last])[: made.keep]


def _encode_video(model: Emo, inputs: HalloInputs, *, guided: bool) -> HalloVideo:
    return encode_video(
        model,
        picture=model.autoencoder.encode(inputs.pixels[None]),
        embedding=inputs.embedding[None],
        face_mask=inputs.face_mask[None],
        regions=inputs.regions,
        guided=guided,
    )


def _sample(
    model: Emo,
    video: HalloVideo,
    motion: Float[Tensor, "n c h w"] | None,
    heard: Float[Tensor, "1 f window layers embed"],
    noise: Float[Tensor, "1 f c h w"],
    *,
    schedule: NoiseSchedule,
    how: Recipe,
) -> Float[Tensor, "1 f c h w"]:
    """One chunk's latents."""
    both = condition(model, video, motion=motion, audio=heard)
    return sample(guide_network(model, both, how), noise, schedule, steps=how.steps, solver=how.solver)
