"""Animators of the public checkpoints: Hallo's and EchoMimic's front ends around this package's network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from einops import rearrange

from emote_cli.animation.animate import Animator, to_numpy
from emote_cli.animation.behind import finished_behind
from emote_cli.animation.chunks import Carry, MadeChunk, plan_chunks
from emote_cli.animation.hallo import (
    HalloInputs,
    HalloSampling,
    SampledChunk,
    decoded,
    hallo_noise,
    sampled_chunks,
)
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.overlap import sample_overlapping
from emote_cli.animation.quality import recipe
from emote_cli.diffusion.sampler import chunk_noise, guided
from emote_cli.model.adapters import GuidedConditioning, echomimic
from emote_cli.model.autoencoder import to_bytes, to_tensor
from emote_cli.model.conditioning import KeysValues, RegionWeights
from emote_cli.perception.landmarks import SILHOUETTE
from emote_cli.perception.regions import box_mask, enlarged_box, hallo_regions, resized
from emote_cli.perception.wav2vec import Wav2VecFeatureExtractor, hallo_features
from emote_cli.perception.whisper import WhisperFeatureExtractor, whisper_features
from emote_cli.settings import ModelSettings
from emote_cli.shapes import VideoLatents
from emote_cli.types import AudioFeatures, Portrait, Sound, SpeechFeatures, Waveform


def animator_for(settings: ModelSettings) -> type[Animator]:
    """The animator for a family of checkpoints."""
    if settings.family.audio == "audio_module":
        return HalloAnimator
    return EchoMimicAnimator if settings.family.long_video == "overlap" else Animator


def in_memory(sound: Sound) -> Waveform:
    """All of a sound, for speech models that hear it in one piece."""
    return Waveform(sound.read(0, sound.n_samples), sound.sample_rate_hz)


class HalloAnimator(Animator):
    """Hallo: boxes and soft masks of the face, its identity, wav2vec2 stretched before its transformer, motion frames.

    A portrait without identity is animated as nobody's (zeros), as Hallo's own code does where it finds no face.
    """

    def chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Generate chunk by chunk; see `Animator.chunks`. Head speed has no effect.

        On a GPU all but a chunk's last frames are decoded while the next chunk is being sampled.
        """
        settings = self.model.settings
        features, count = hallo_features(
            speech, settings.audio, settings.fps, settings.temporal.chunk_frames, self._extractor()
        )
        cells, how = settings.latent_size, recipe(settings.diffusion, options)
        chunks = sampled_chunks(
            self.model,
            self._inputs(portrait, features),
            hallo_noise(
                options.seed,
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
        )
        yield from self._finished(self._in_precision(chunks), count)

    def _extractor(self) -> Wav2VecFeatureExtractor | None:
        """The speech model that lies in the model's own folder."""
        return (
            None
            if self.folder is None
            else Wav2VecFeatureExtractor.load(self.folder / "wav2vec2", self.device)
        )

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

    def chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Generate frames; see `Animator.chunks`. All latents are denoised before the first frame."""
        settings = self.model.settings
        extractor = None
        if self.folder is not None:
            extractor = WhisperFeatureExtractor.load(self.folder / "whisper", self.device)
        features = whisper_features(in_memory(speech), settings.audio, settings.fps, extractor)
        with torch.inference_mode(), self.precision.autocast(self.device):
            latents = self._latents(portrait, features, options)
        for chunk in plan_chunks(features.n_frames, settings.temporal.chunk_frames):
            if after is not None and chunk.start < after.frame:
                continue
            with torch.inference_mode(), self.precision.autocast(self.device):
                single = [latents[:, i : i + 1] for i in range(chunk.start, chunk.start + chunk.keep)]
                pixels = torch.cat([self.guard(partial(self.model.decode, one))[0] for one in single])
            carry = Carry(chunk.stop, np.zeros(0, np.float32))
            yield MadeChunk(chunk.start, to_bytes(pixels), carry, chunk.stop >= features.n_frames)

    def _latents(self, portrait: Portrait, features: AudioFeatures, options: AnimateOptions) -> VideoLatents:
        settings, model, how = self.model.settings, self.model, recipe(self.model.settings.diffusion, options)
        reference, region = self.guard(partial(self._encode, portrait))

        def denoise(noisy: VideoLatents, time: int, frames: list[int]) -> VideoLatents:
            both = self._condition_window(reference, region, features, frames, how.guidance != 1.0)
            window = guided(
                partial(model, conditioning=both.conditional),
                partial(model, conditioning=both.unconditional),
                how.guidance,
                how.guided_from,
            )
            predicted: VideoLatents = self.guard(partial(window, noisy, time))
            return predicted

        cells = settings.latent_size
        shape = (settings.autoencoder.latent_channels, cells, cells)
        return sample_overlapping(
            denoise,
            chunk_noise(options.seed, range(features.n_frames), shape).to(self.device),
            self.schedule,
            steps=how.steps,
            size=settings.temporal.chunk_frames,
            solver=how.solver,
            turn_short=echomimic.PUBLISHED.turned_short_videos,
        )

    def _encode(self, portrait: Portrait) -> tuple[dict[str, KeysValues], torch.Tensor]:
        """The reference's keys and values, and the face region's features: once per video."""
        picture = self.model.autoencoder.encode(to_tensor(portrait.pixels[None]).to(self.device))
        return echomimic.encode_reference(self.model, picture), self.model.face_locator(self._mask(portrait))

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
