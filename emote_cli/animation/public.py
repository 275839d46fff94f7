"""Animators of the public checkpoints: Hallo's and EchoMimic's front ends around this package's network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from emote_cli.animation.animate import Animator, to_numpy
from emote_cli.animation.behind import finished_behind
from emote_cli.animation.chunks import Carry, MadeChunk, plan_chunks
from emote_cli.animation.echomimic import EchoMimicInputs, EchoMimicSampling, sample_video
from emote_cli.animation.hallo import (
    HalloInputs,
    HalloSampling,
    SampledChunk,
    decoded,
    hallo_noise,
    kept_places,
    sampled_chunks,
)
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.quality import recipe
from emote_cli.diffusion.sampler import chunk_noise
from emote_cli.model.autoencoder import to_bytes, to_tensor
from emote_cli.model.conditioning import RegionWeights
from emote_cli.perception.echomimic_box import echomimic_mask_box
from emote_cli.perception.regions import box_mask, hallo_regions, resized
from emote_cli.perception.wav2vec import Wav2VecFeatureExtractor, hallo_features
from emote_cli.perception.whisper import HINT as WHISPER_HINT
from emote_cli.perception.whisper import whisper_features
from emote_cli.perception.whisper_encoder import WhisperEncoder
from emote_cli.settings import ModelSettings
from emote_cli.shapes import VideoLatents
from emote_cli.types import Portrait, Sound, SpeechFeatures


def animator_for(settings: ModelSettings) -> type[Animator]:
    """The animator for a family of checkpoints."""
    if settings.autoencoder.kind == "motion":
        from emote_cli.animation.motion import MotionAnimator

        return MotionAnimator
    if settings.family.audio == "audio_module":
        return HalloAnimator
    return EchoMimicAnimator if settings.family.long_video == "overlap" else Animator


class HalloAnimator(Animator):
    """Hallo: boxes and soft masks of the face, its identity, wav2vec2 stretched before its transformer, motion frames.

    A portrait without identity is animated as nobody's (zeros), as Hallo's own code does where it finds no face.
    """

    def raw_chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Generate chunk by chunk; see `Animator.raw_chunks`. Head speed has no effect.

        On a GPU all but a chunk's last frames are decoded while the next chunk is being sampled.
        """
        settings = self.model.settings
        features, count = hallo_features(
            speech, settings.audio, settings.fps, settings.temporal.chunk_frames, self._extractor()
        )
        stream = torch.Generator().manual_seed(options.seed)
        inputs, share = self._inputs(portrait, features), settings.family.motion_mask
        cells, how = settings.latent_size, recipe(settings.diffusion, options)
        chunks = sampled_chunks(
            self.model,
            inputs,
            hallo_noise(
                stream,
                (settings.autoencoder.latent_channels, cells, cells),
                settings.temporal.chunk_frames,
            ),
            HalloSampling(
                steps=how.steps,
                guidance=how.guidance,
                solver=how.solver,
                guided_from=how.guided_from,
            ),
            self.guard,
            start=0 if after is None else after.frame,
            last=None if after is None else torch.from_numpy(after.motion).to(self.device),
            kept=kept_places(stream, inputs.face_mask, share) if share else None,
        )
        yield from self._finished(self._in_precision(chunks), count)

    def _extractor(self) -> Wav2VecFeatureExtractor | None:
        """The speech model that lies in the model's own folder; on the CPU: a minute of sound would take 1.6 GB."""
        if self.ears is not None or self.folder is None:
            heard: Wav2VecFeatureExtractor | None = self.ears
            return heard
        return Wav2VecFeatureExtractor.load(self.folder / "wav2vec2")

    def _in_precision(self, chunks: Iterator[SampledChunk]) -> Iterator[SampledChunk]:
        while True:
            with torch.inference_mode(), self.precision.autocast(self.device):
                sampled = next(chunks, None)
            if sampled is None:
                return
            yield sampled

    def _finished(self, chunks: Iterator[SampledChunk], count: int) -> Iterator[MadeChunk]:
        """Chunks with frames as bytes; the video has `count` of them."""

        def finish(sampled: SampledChunk) -> MadeChunk:
            with self.precision.autocast(self.device):
                frames = to_bytes(decoded(self.model, sampled))
            start, stop = sampled.start, sampled.start + len(frames)
            carry = Carry(stop, to_numpy(sampled.last))
            return MadeChunk(start, frames[: count - start], carry, stop >= count)

        if self.device.type == "cuda" and self.residence is None:
            yield from finished_behind(chunks, finish, self.device, self.guard)
        else:
            for sampled in chunks:
                yield self.guard(partial(finish, sampled))

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
            embedding=self._embedding(portrait),
            face_mask=torch.from_numpy(told.face).to(self.device).expand(3, -1, -1),
            regions=RegionWeights(masks),
            features=features,
        )

    def _embedding(self, portrait: Portrait) -> torch.Tensor:
        if portrait.identity is None:
            return torch.zeros(self.model.settings.family.identity_embedding, device=self.device)
        return torch.from_numpy(portrait.identity).to(self.device)


class EchoMimicAnimator(Animator):
    """EchoMimic: a face box, Whisper's vectors, and overlapping windows over the whole video."""

    def raw_chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Generate frames; see `Animator.raw_chunks`. All latents are denoised before the first frame."""
        settings = self.model.settings
        features, count = whisper_features(speech, settings.audio, settings.fps, self._encoder())
        with torch.inference_mode(), self.precision.autocast(self.device):
            latents = self._latents(portrait, features, options)
        for chunk in plan_chunks(count, settings.temporal.chunk_frames):
            if after is not None and chunk.start < after.frame:
                continue
            with torch.inference_mode(), self.precision.autocast(self.device):
                single = [latents[:, i : i + 1] for i in range(chunk.start, chunk.start + chunk.keep)]
                pixels = torch.cat([self.guard(partial(self.model.decode, one))[0] for one in single])
            carry = Carry(chunk.stop, np.zeros(0, np.float32))
            yield MadeChunk(chunk.start, to_bytes(pixels), carry, chunk.stop >= count)

    def _encoder(self) -> WhisperEncoder | None:
        """The speech model that lies in the model's own folder."""
        if self.ears is not None or self.folder is None:
            heard: WhisperEncoder | None = self.ears
            return heard
        return WhisperEncoder.load(self.folder / "whisper" / "model.safetensors", hint=WHISPER_HINT)

    def _latents(self, portrait: Portrait, features: SpeechFeatures, options: AnimateOptions) -> VideoLatents:
        settings, how = self.model.settings, recipe(self.model.settings.diffusion, options)
        shape = (settings.autoencoder.latent_channels, settings.latent_size, settings.latent_size)
        inputs = EchoMimicInputs(
            to_tensor(portrait.pixels[None])[0].to(self.device), self._mask(portrait), features
        )
        return sample_video(
            self.model,
            inputs,
            chunk_noise(options.seed, range(features.n_frames), shape).to(self.device),
            EchoMimicSampling(
                steps=how.steps,
                guidance=how.guidance,
                solver=how.solver,
                guided_from=how.guided_from,
            ),
            self.guard,
        )

    def _mask(self, portrait: Portrait) -> torch.Tensor:
        side = len(portrait.pixels)
        mask = resized(box_mask(echomimic_mask_box(portrait.face, side), side, side), self.size)
        return torch.from_numpy(mask.astype(np.float32) / 255).to(self.device)
