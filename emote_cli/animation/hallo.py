"""Hallo's loop over chunks.

The last frames of a chunk go through pixels and the VAE to become the next one's motion frames. Before the
first chunk the portrait itself stands in for them, n times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.animation.chunks import plan_chunks
from emote_cli.diffusion.sampler import guided, sample
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.model.adapters.hallo import PUBLISHED, HalloQuirks, condition
from emote_cli.model.conditioning import RegionWeights
from emote_cli.model.emo import Emo
from emote_cli.shapes import VideoLatents
from emote_cli.types import Chunk, SpeechFeatures

ChunkNoise = Callable[[Chunk], VideoLatents]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class HalloSampling:
    """How chunks are sampled. The defaults are the published ones.

    Attributes:
        steps: denoising steps.
        guidance: scale; 1 is off.
        solver: "ddim" or "dpm".
        quirks: peculiarities of the published code.
    """

    steps: int = 40
    guidance: float = 3.5
    solver: str = "ddim"
    quirks: HalloQuirks = PUBLISHED


def hallo_noise(
    seed: int, shape: tuple[int, int, int], chunk_frames: int, dtype: torch.dtype = torch.float16
) -> ChunkNoise:
    """Noise as Hallo draws it: one stream for all chunks, channels before frames, in its weights' dtype.

    Call it once per chunk, in order.

    Args:
        seed: Hallo's own is 42.
        shape: channels, height and width of the latents.
        chunk_frames: f.
        dtype: of the draw; another one gives other numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = shape

    def draw(chunk: Chunk) -> VideoLatents:
        noise = torch.randn((1, channels, chunk_frames, height, width), generator=generator, dtype=dtype)
        return noise.transpose(1, 2).float()

    return draw


@torch.inference_mode()
def hallo_chunks(
    model: Emo,
    inputs: HalloInputs,
    noise: ChunkNoise,
    sampling: HalloSampling = HalloSampling(),
    *,
    start: int = 0,
    motion: Float[Tensor, "n 3 size size"] | None = None,
) -> Iterator[Float[Tensor, "f 3 size size"]]:
    """Generate chunk after chunk; frames in [-1, 1].

    Args:
        model: a Hallo model.
        inputs: portrait and speech.
        noise: of each chunk.
        sampling: how to sample.
        start: first frame that is not made yet, a whole number of chunks.
        motion: the last frames before it.
    """
    settings, schedule = model.settings, NoiseSchedule(model.settings.diffusion)
    n, f = settings.temporal.motion_frames, settings.temporal.chunk_frames
    motion = inputs.pixels.repeat(n, 1, 1, 1) if motion is None else motion
    for chunk in plan_chunks(inputs.features.n_frames, f):
        drawn = noise(chunk)
        if chunk.start < start:
            continue
        windows = inputs.features.windows(chunk.start, f, settings.audio.margin)
        both = condition(
            model,
            pictures=model.autoencoder.encode(torch.cat([inputs.pixels[None], motion])),
            embedding=inputs.embedding[None],
            audio=torch.from_numpy(windows)[None].to(inputs.pixels),
            face_mask=inputs.face_mask[None],
            regions=inputs.regions,
            guided=sampling.guidance != 1.0,
            quirks=sampling.quirks,
        )
        latents = sample(
            guided(
                partial(model, conditioning=both.conditional),
                partial(model, conditioning=both.unconditional),
                sampling.guidance,
            ),
            drawn.to(inputs.pixels),
            schedule,
            steps=sampling.steps,
            solver=sampling.solver,
        )
        frames = model.decode(latents)[0]
        motion = frames[-n:].float()
        yield frames[: chunk.keep]
