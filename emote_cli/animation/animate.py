"""From a portrait and speech to frames, chunk after chunk: the same model functions that training uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from emote_cli.animation.chunks import Carry, MadeChunk, plan_chunks
from emote_cli.animation.compose import make_portrait
from emote_cli.animation.detail import transfer_detail
from emote_cli.animation.device import Precision, choose_device, choose_precision
from emote_cli.diffusion.sampler import chunk_noise, guided, sample
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.media.audio import open_audio
from emote_cli.model.checkpoint import random_model
from emote_cli.model.conditioning import Conditioning, Reference
from emote_cli.model.emo import Emo
from emote_cli.model.imports import load_folder
from emote_cli.perception.faces import FaceAnalyzer, FaceRegion, region_mask
from emote_cli.perception.speech import listen
from emote_cli.settings import load_preset
from emote_cli.shapes import MotionLatents, VideoLatents
from emote_cli.types import Chunk, Pixels, Portrait, Sound, SpeechFeatures
from emote_cli.weights import bundled, locate


@dataclass(frozen=True, slots=True, kw_only=True)
class AnimateOptions:
    """How to sample. None means: the model's own default.

    Attributes:
        steps: denoising steps per chunk.
        guidance: classifier-free guidance scale; 1 is off.
        seed: of the noise.
        head_speed: degrees per frame at 30 fps, 0 ... 2 (paper 4.1: one constant value).
        motion_region: how far the head may move (paper 4.5).
        solver: "ddim" or "dpm".
        detail: whether still places get the portrait's own detail back.
    """

    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    head_speed: float | None = None
    motion_region: FaceRegion = "wide"
    solver: Literal["ddim", "dpm"] | None = None
    detail: bool | None = None


class Animator:
    """A loaded model that turns portraits and speech into frames.

    Args:
        model: in evaluation mode.
        device: where it runs.
        precision: of the computation.
    """

    def __init__(self, model: Emo, device: torch.device, precision: Precision) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device, self.precision = device, precision
        self.schedule = NoiseSchedule(model.settings.diffusion)

    @classmethod
    def load(cls, model: str | Path, device: str = "auto", dtype: str = "auto") -> Animator:
        """Load a model by name or path.

        Args:
            model: tiny, mini, or the path of a model or run folder.
            device: auto, cpu, cuda or mps.
            dtype: auto, float32, bfloat16 or float16.

        Raises:
            WeightsError: unknown, missing or damaged.
            DeviceError: the device is not there.
        """
        chosen = choose_device(device)
        folder = locate(str(model))
        loaded = random_model(load_preset(str(model))) if folder is None else load_folder(folder)
        return cls.of(loaded)(loaded, chosen, choose_precision(dtype, chosen))

    @classmethod
    def of(cls, model: Emo) -> type[Animator]:
        """The animator for the model's family of checkpoints."""
        from emote_cli.animation.public import animator_for

        return animator_for(model.settings)

    @property
    def size(self) -> int:
        """Side of the square frames in pixels."""
        return self.model.settings.image_size

    @property
    def fps(self) -> Fraction:
        """Frame rate that the model was trained for."""
        return Fraction(self.model.settings.fps)

    def stream(
        self, portrait: Path | str, audio: Path | str, options: AnimateOptions | None = None
    ) -> Iterator[Pixels]:
        """Frames from files: the largest face of a picture, and the whole of a recording; see `frames`.

        Raises:
            InputError: a file cannot be read.
            FaceError: there is no face in the picture.
        """
        with FaceAnalyzer(bundled("face_landmarker.task")) as analyzer:
            cut = make_portrait(Path(portrait), self.size, analyzer)
        return self.frames(cut, open_audio(Path(audio)), options or AnimateOptions())

    def frames(self, portrait: Portrait, speech: Sound, options: AnimateOptions) -> Iterator[Pixels]:
        """Generate round(seconds x fps) frames, one after the other.

        Args:
            portrait: cropped at `size`.
            speech: mono, 16 kHz.
            options: how to sample.

        Raises:
            InputError: the speech is shorter than one frame.
        """
        for made in self.chunks(portrait, speech, options):
            yield from made.frames

    def chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """The same, chunk by chunk; each says what is needed to go on behind it.

        Args:
            portrait: cropped at `size`.
            speech: mono, 16 kHz.
            options: how to sample.
            after: of the last chunk that is made already.

        Raises:
            InputError: the speech is shorter than one frame.
        """
        settings = self.model.settings
        features = listen(speech, settings.audio, settings.fps)
        mask = region_mask(portrait.face.box_px, self.size, options.motion_region)
        region = torch.from_numpy(mask.astype(np.float32))[None].to(self.device)
        with torch.inference_mode(), self.precision.autocast(self.device):
            picture = to_tensor(portrait.pixels[None]).to(self.device)
            reference = self.model.encode_reference(self.model.autoencoder.encode(picture))
            decoded = self.model.autoencoder.decode(reference.latents)
        detail = settings.detail_transfer if options.detail is None else options.detail
        motion: MotionLatents | None = (
            None if after is None else torch.from_numpy(after.motion).to(self.device)
        )
        for chunk in plan_chunks(features.n_frames, settings.temporal.chunk_frames):
            if after is not None and chunk.start < after.frame:
                continue
            with torch.inference_mode(), self.precision.autocast(self.device):
                conditioning = self._condition(reference, motion, features, region, chunk, options)
                latents = self._sample(reference, conditioning, chunk, options)
                frames = self.model.decode(latents[:, : chunk.keep])[0].float()
            motion = latents[:, -settings.temporal.motion_frames :]
            shown = to_bytes(transfer_detail(frames, picture, decoded.float()) if detail else frames)
            carry = Carry(chunk.stop, to_numpy(motion))
            yield MadeChunk(chunk.start, shown, carry, chunk.stop >= features.n_frames)

    def _condition(
        self,
        reference: Reference,
        motion: MotionLatents | None,
        features: SpeechFeatures,
        region: Float[Tensor, "1 1 image_height image_width"],
        chunk: Chunk,
        options: AnimateOptions,
    ) -> Conditioning:
        settings = self.model.settings
        count = chunk.stop - chunk.start
        windows = features.windows(chunk.start, count, settings.audio.margin)
        head_speed = settings.head_speed if options.head_speed is None else options.head_speed
        speed = torch.full((1, count, 2 * settings.speed.margin + 1), head_speed, device=self.device)
        return self.model.condition(
            reference=reference,
            motion=motion,
            audio=torch.from_numpy(windows)[None].to(self.device),
            face_region=region,
            speed=speed,
        )

    def _sample(
        self, reference: Reference, conditioning: Conditioning, chunk: Chunk, options: AnimateOptions
    ) -> VideoLatents:
        settings = self.model.settings
        cells = settings.latent_size
        shape = (settings.autoencoder.latent_channels, cells, cells)
        noise = chunk_noise(options.seed, range(chunk.start, chunk.stop), shape).to(self.device)
        null = conditioning.null(1)
        target = sample(
            guided(
                lambda noisy, timestep: self.model(noisy, timestep, conditioning),
                lambda noisy, timestep: self.model(noisy, timestep, null),
                settings.diffusion.guidance if options.guidance is None else options.guidance,
            ),
            noise,
            self.schedule,
            steps=options.steps or settings.diffusion.steps,
            solver=options.solver or settings.diffusion.solver,
        )
        return self.model.from_target(target, reference.latents)


def to_tensor(pixels: UInt8[np.ndarray, "f h w 3"]) -> Float[Tensor, "f 3 h w"]:
    """RGB bytes to [-1, 1]."""
    return rearrange(torch.from_numpy(np.ascontiguousarray(pixels)), "f h w c -> f c h w").float() / 127.5 - 1


def to_bytes(pixels: Float[Tensor, "f 3 h w"]) -> UInt8[np.ndarray, "f h w 3"]:
    """[-1, 1] to RGB bytes, rounded."""
    values = ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(rearrange(values, "f c h w -> f h w c").cpu().numpy())


def to_numpy(motion: Float[Tensor, ...]) -> Float[np.ndarray, ...]:
    """Motion frames as they are stored: float32, nothing lost."""
    return motion.float().cpu().numpy()
