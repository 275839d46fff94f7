"""Animators of the public checkpoints: Hallo's and EchoMimic's front ends around this package's network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from einops import rearrange

from emote_cli.animation.animate import AnimateOptions, Animator, to_bytes, to_numpy, to_tensor
from emote_cli.animation.chunks import Carry, MadeChunk, plan_chunks
from emote_cli.animation.hallo import HalloInputs, HalloSampling, hallo_chunks, hallo_noise
from emote_cli.animation.overlap import sample_overlapping
from emote_cli.diffusion.sampler import chunk_noise
from emote_cli.model.adapters import GuidedConditioning, echomimic
from emote_cli.model.conditioning import KeysValues, RegionWeights
from emote_cli.perception.regions import SILHOUETTE, box_mask, enlarged_box, hallo_regions, resized
from emote_cli.perception.wav2vec import hallo_features
from emote_cli.perception.whisper import whisper_features
from emote_cli.settings import ModelSettings
from emote_cli.shapes import VideoLatents
from emote_cli.types import AudioFeatures, Portrait, Sound, SpeechFeatures, Waveform


def animator_for(settings: ModelSettings) -> type[Animator]:
    """The animator for a family of checkpoints."""
    if settings.family.audio == "audio_module":
        return HalloAnimator
    return EchoMimicAnimator if settings.family.long_video == "overlap" else Animator


class HalloAnimator(Animator):
    """Hallo: boxes and soft masks of the face, wav2vec2 stretched before its transformer, motion frames.

    The face's identity is given as unknown (zeros).
    """

    def chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Generate chunk by chunk; see `Animator.chunks`. Head speed has no effect."""
        settings = self.model.settings
        features, count = hallo_features(speech, settings.audio, settings.fps, settings.temporal.chunk_frames)
        cells = settings.latent_size
        start = 0 if after is None else after.frame
        chunks = hallo_chunks(
            self.model,
            self._inputs(portrait, features),
            hallo_noise(
                options.seed,
                (settings.autoencoder.latent_channels, cells, cells),
                settings.temporal.chunk_frames,
            ),
            HalloSampling(
                steps=options.steps or settings.diffusion.steps,
                guidance=settings.diffusion.guidance if options.guidance is None else options.guidance,
                solver=options.solver or settings.diffusion.solver,
            ),
            start=start,
            motion=None if after is None else torch.from_numpy(after.motion).to(self.device),
        )
        while start < count:
            with torch.inference_mode(), self.precision.autocast(self.device):
                frames = next(chunks)
            stop = start + len(frames)
            motion = to_numpy(frames[-settings.temporal.motion_frames :])
            yield MadeChunk(start, to_bytes(frames[: count - start]), Carry(stop, motion), stop >= count)
            start = stop

    def _inputs(self, portrait: Portrait, features: SpeechFeatures) -> HalloInputs:
        height, width = portrait.pixels.shape[:2]
        told = hallo_regions(
            portrait.face.landmarks_px,
            width,
            height,
            self.size,
            levels=len(self.model.settings.unet.block_channels),
        )
        masks = tuple(torch.from_numpy(level).to(self.device) for level in told.levels)
        return HalloInputs(
            pixels=to_tensor(portrait.pixels[None])[0].to(self.device),
            embedding=torch.zeros(self.model.settings.family.identity_embedding, device=self.device),
            face_mask=torch.from_numpy(told.face).to(self.device).expand(3, -1, -1),
            regions=RegionWeights(masks),
            features=features,
        )


class EchoMimicAnimator(Animator):
    """EchoMimic: a face box, Whisper's vectors, and overlapping windows over the whole video."""

    def chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Generate frames; see `Animator.chunks`. All latents are denoised before the first frame."""
        settings = self.model.settings
        waveform = Waveform(speech.read(0, speech.n_samples), speech.sample_rate_hz)
        features = whisper_features(waveform, settings.audio, settings.fps)
        with torch.inference_mode(), self.precision.autocast(self.device):
            latents = self._latents(portrait, features, options)
        for chunk in plan_chunks(features.n_frames, settings.temporal.chunk_frames):
            if after is not None and chunk.start < after.frame:
                continue
            with torch.inference_mode(), self.precision.autocast(self.device):
                single = range(chunk.start, chunk.start + chunk.keep)
                pixels = torch.cat([self.model.decode(latents[:, i : i + 1])[0] for i in single])
            carry = Carry(chunk.stop, np.zeros(0, np.float32))
            yield MadeChunk(chunk.start, to_bytes(pixels), carry, chunk.stop >= features.n_frames)

    def _latents(self, portrait: Portrait, features: AudioFeatures, options: AnimateOptions) -> VideoLatents:
        settings, model = self.model.settings, self.model
        picture = model.autoencoder.encode(to_tensor(portrait.pixels[None]).to(self.device))
        reference = echomimic.encode_reference(model, picture)
        region = model.face_locator(self._mask(portrait))
        scale = settings.diffusion.guidance if options.guidance is None else options.guidance

        def denoise(noisy: VideoLatents, time: torch.Tensor, frames: list[int]) -> VideoLatents:
            both = self._condition_window(reference, region, features, frames, scale != 1.0)
            out: VideoLatents = model(noisy, time, both.conditional)
            if both.unconditional is None:
                return out
            base: VideoLatents = model(noisy, time, both.unconditional)
            return base + scale * (out - base)

        cells = settings.latent_size
        shape = (settings.autoencoder.latent_channels, cells, cells)
        return sample_overlapping(
            denoise,
            chunk_noise(options.seed, range(features.n_frames), shape).to(self.device),
            self.schedule,
            steps=options.steps or settings.diffusion.steps,
            size=settings.temporal.chunk_frames,
            solver=options.solver or settings.diffusion.solver,
        )

    def _condition_window(
        self,
        reference: dict[str, KeysValues],
        region: torch.Tensor,
        features: AudioFeatures,
        frames: list[int],
        guided: bool,
    ) -> GuidedConditioning:
        margin = self.model.settings.audio.margin
        windows = np.concatenate([features.windows(frame, 1, margin) for frame in frames])
        tokens = self.model.audio_projector(torch.from_numpy(windows)[None].to(self.device))
        return echomimic.condition(
            self.model, reference=reference, audio=tokens, face_region=region, guided=guided
        )

    def _mask(self, portrait: Portrait) -> torch.Tensor:
        height, width = portrait.pixels.shape[:2]
        box = enlarged_box(portrait.face.landmarks_px, SILHOUETTE, 1.2, width, height)
        mask = resized(box_mask(box, width, height), self.size).astype(np.float32) / 255
        return rearrange(torch.from_numpy(mask).to(self.device), "h w -> 1 1 h w")
