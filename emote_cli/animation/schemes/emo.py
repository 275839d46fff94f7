"""EMO's own scheme: chunk after chunk, each on the last frames of the one before (paper 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.animation.aids.articulation import Articulation, articulate, find_loudest
from emote_cli.animation.aids.colors import find_color_limits, keep_portrait, lock_colors
from emote_cli.animation.aids.detail import transfer_detail
from emote_cli.animation.aids.masks import draw_lower_face_mask, draw_mouth_mask
from emote_cli.animation.aids.smoothing import Track
from emote_cli.animation.chunks import Carry, MadeChunk, plan_chunks
from emote_cli.animation.options import REGION_SCALES, AnimateOptions
from emote_cli.animation.quality import choose_recipe
from emote_cli.animation.schemes.guidance import guide_network
from emote_cli.animation.schemes.scheme import Scheme, to_numpy
from emote_cli.diffusion.sampler import chunk_noise, sample
from emote_cli.model.autoencoder import to_bytes, to_tensor
from emote_cli.model.conditioning import Conditioning, GuidedConditioning, Reference
from emote_cli.perception.features import SAMPLE_RATE_HZ
from emote_cli.perception.geometry import region_mask
from emote_cli.perception.speech import hear, listen
from emote_cli.shapes import ImageLatents, MotionLatents, VideoLatents
from emote_cli.types import Chunk, Portrait, Sound, SpeechFeatures, Waveform


@dataclass(frozen=True, slots=True)
class Told:
    """What the network is told about a video: the same for all chunks.

    Attributes:
        reference: of the portrait.
        features: of the speech.
        region: where the face may be.
        options: how to sample.
    """

    reference: Reference
    features: SpeechFeatures
    region: Float[Tensor, "1 1 image_height image_width"]
    options: AnimateOptions


class SmoothChunk(NamedTuple):
    """Latents of a chunk that are ready to become frames.

    Attributes:
        start: number of the first frame.
        latents: smoothed.
        carry: what the next chunk needs.
        is_last: whether no chunk follows.
    """

    start: int
    latents: VideoLatents
    carry: Carry
    is_last: bool


class EmoScheme(Scheme):
    """Motion frames in latents, speed layers, one picture of the face region."""

    def raw_chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Generate chunk by chunk; see `Animator.raw_chunks`."""
        model = self.runtime.model
        with torch.inference_mode(), self.runtime.precision.autocast(self.runtime.device):
            picture = to_tensor(portrait.pixels[None]).to(self.runtime.device)
            guard, vae = self.runtime.guard, model.autoencoder
            told = self._tell(portrait, speech, guard(partial(vae.encode, picture)), options)
            decoded = guard(partial(vae.decode, told.reference.latents))
            lips = self._measure_lips(portrait, speech, told)
        finish = self._choose_aids(portrait, picture, decoded.float(), options)
        for chunk in self._sample_chunks(told, after):
            with torch.inference_mode(), self.runtime.precision.autocast(self.runtime.device):
                shown = chunk.latents if lips is None else lips.stretch(chunk.latents)
                frames = self.runtime.guard(partial(model.decode, shown))[0].float()
            yield MadeChunk(chunk.start, to_bytes(finish(frames)), chunk.carry, chunk.is_last)

    def _tell(
        self, portrait: Portrait, speech: Sound, latents: ImageLatents, options: AnimateOptions
    ) -> Told:
        """Encode what stays the same in all chunks; `latents` are the portrait's."""
        settings = self.runtime.model.settings
        features = listen(speech, settings.audio, settings.fps, self.runtime.ears)
        mask = region_mask(portrait.face.box_px, self.runtime.size, REGION_SCALES[options.motion_region])
        region = torch.from_numpy(mask.astype(np.float32))[None].to(self.runtime.device)
        reference = self.runtime.guard(partial(self.runtime.model.encode_reference, latents))
        return Told(reference, features, region, options)

    def _sample_chunks(self, told: Told, after: Carry | None) -> Iterator[SmoothChunk]:
        """Latents of chunk after chunk, each frame averaged with its neighbors."""
        settings, options = self.runtime.model.settings, told.options
        reach = settings.aids.smoothing if options.smoothing is None else options.smoothing
        reach = min(reach, settings.temporal.chunk_frames // 2)
        so_far = told.reference.latents[:, None][:, :0] if after is None else torch.from_numpy(after.motion)
        track = Track(reach, settings.temporal.motion_frames, so_far.to(self.runtime.device))
        for chunk in plan_chunks(told.features.n_frames, settings.temporal.chunk_frames):
            if after is not None and chunk.start < after.frame + reach:
                continue
            is_last = chunk.stop >= told.features.n_frames
            with torch.inference_mode(), self.runtime.precision.autocast(self.runtime.device):
                latents = self._sample(told, track.motion, chunk)
                smooth, track = track.extend(latents[:, : chunk.keep], is_last=is_last)
            start = max(chunk.start - reach, 0)
            carry = Carry(start + smooth.shape[1], to_numpy(track.latents))
            yield SmoothChunk(start, smooth, carry, is_last)

    def _choose_aids(
        self,
        portrait: Portrait,
        picture: Float[Tensor, "1 3 h w"],
        decoded: Float[Tensor, "1 3 h w"],
        options: AnimateOptions,
    ) -> Callable[[Float[Tensor, "f 3 h w"]], Float[Tensor, "f 3 h w"]]:
        """The function that applies the quality aids that the model or the options ask for."""
        settings = self.runtime.model.settings
        if not (settings.aids.detail_transfer if options.detail is None else options.detail):
            return lambda frames: frames
        if not settings.aids.lower_face_only:
            return lambda frames: transfer_detail(frames, picture, decoded)
        mask = torch.from_numpy(draw_lower_face_mask(portrait.face, self.runtime.size)).to(
            self.runtime.device
        )
        near, lips = (
            torch.from_numpy(draw_mouth_mask(portrait.face, self.runtime.size, chin=chin)).to(
                self.runtime.device
            )
            for chin in (True, False)
        )
        limits = find_color_limits(picture, near, lips)

        def finish(frames: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f 3 h w"]:
            colored = lock_colors(frames, limits)
            return keep_portrait(transfer_detail(colored, picture, decoded), picture, mask)

        return finish

    def _measure_lips(self, portrait: Portrait, speech: Sound, told: Told) -> Articulation | None:
        """How much farther speech moves the lips than the model says; None: no farther."""
        settings, options = self.runtime.model.settings, told.options
        times = settings.aids.articulation if options.articulation is None else options.articulation
        if times == 1 or not settings.family.reference_latents:
            return None
        chunks = plan_chunks(told.features.n_frames, settings.temporal.chunk_frames)
        loud = self._sample(told, None, find_loudest(speech, chunks, settings.fps))
        silent, scale = self._sample_silence(told), settings.autoencoder.scaling_factor
        return articulate(silent, loud, times, portrait.face, self.runtime.size, scale)

    def _sample_silence(self, told: Told) -> VideoLatents:
        """The latents of a chunk in which nothing is said."""
        settings = self.runtime.model.settings
        count = settings.temporal.chunk_frames
        nothing = np.zeros(round(SAMPLE_RATE_HZ * count / settings.fps), np.float32)
        silence = hear(Waveform(nothing, SAMPLE_RATE_HZ), settings.audio, settings.fps, self.runtime.ears)
        return self._sample(replace(told, features=silence), None, Chunk(start=0, stop=count, keep=count))

    def _sample(self, told: Told, motion: MotionLatents | None, chunk: Chunk) -> VideoLatents:
        """The latents of a chunk that goes on from motion frames, if there are any."""
        conditioning = self.runtime.guard(partial(self._condition, told, motion, chunk))
        latents: VideoLatents = self.runtime.guard(partial(self._denoise, told, conditioning, chunk))
        return latents

    def _condition(self, told: Told, motion: MotionLatents | None, chunk: Chunk) -> Conditioning:
        settings, options = self.runtime.model.settings, told.options
        count = chunk.stop - chunk.start
        windows = told.features.windows(chunk.start, count, settings.audio.margin)
        head_speed = settings.head_speed if options.head_speed is None else options.head_speed
        speed = torch.full((1, count, 2 * settings.speed.margin + 1), head_speed, device=self.runtime.device)
        conditioning = self.runtime.model.condition(
            reference=told.reference,
            motion=motion,
            audio=torch.from_numpy(windows)[None].to(self.runtime.device),
            face_region=told.region,
            speed=speed,
        )
        return self.runtime.model.backbone.hear_once(conditioning)

    def _denoise(self, told: Told, conditioning: Conditioning, chunk: Chunk) -> VideoLatents:
        settings, options = self.runtime.model.settings, told.options
        cells = settings.latent_size
        shape = (settings.autoencoder.latent_channels, cells, cells)
        frames, shared = range(chunk.start, chunk.stop), settings.diffusion.shared_noise
        noise = chunk_noise(options.seed, frames, shape, shared).to(self.runtime.device)
        both = GuidedConditioning(conditioning, conditioning.null(1))
        how = choose_recipe(settings.diffusion, options)
        target = sample(
            guide_network(self.runtime.model, both, how),
            noise,
            self.runtime.schedule,
            steps=how.steps,
            solver=how.solver,
        )
        return self.runtime.model.from_target(target, told.reference.latents)
