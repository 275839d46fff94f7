"""EMO's own scheme: chunk after chunk, each on the last frames of the one before (paper 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.animation.aids.articulation import Articulation, articulate, loudest, mouth
from emote_cli.animation.aids.detail import color_limits, color_locked, held, lower_face, transfer_detail
from emote_cli.animation.aids.smoothing import Track
from emote_cli.animation.chunks import Carry, MadeChunk, plan_chunks
from emote_cli.animation.options import REGION_SCALES, AnimateOptions
from emote_cli.animation.quality import recipe
from emote_cli.animation.schemes.scheme import Scheme, to_numpy
from emote_cli.diffusion.sampler import chunk_noise, guided, sample
from emote_cli.model.autoencoder import to_bytes, to_tensor
from emote_cli.model.conditioning import Conditioning, Reference
from emote_cli.perception.features import SAMPLE_RATE_HZ
from emote_cli.perception.geometry import region_mask
from emote_cli.perception.speech import hear, listen
from emote_cli.shapes import MotionLatents, VideoLatents
from emote_cli.types import Chunk, Portrait, Sound, SpeechFeatures, Waveform


class EmoScheme(Scheme):
    """Motion frames in latents, speed layers, one picture of the face region."""

    def raw_chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Generate chunk by chunk; see `Animator.raw_chunks`."""
        settings = self.runtime.model.settings
        features = listen(speech, settings.audio, settings.fps, self.runtime.ears)
        mask = region_mask(portrait.face.box_px, self.runtime.size, REGION_SCALES[options.motion_region])
        region = torch.from_numpy(mask.astype(np.float32))[None].to(self.runtime.device)
        with torch.inference_mode(), self.runtime.precision.autocast(self.runtime.device):
            picture = to_tensor(portrait.pixels[None]).to(self.runtime.device)
            reference = self.runtime.model.encode_reference(self.runtime.model.autoencoder.encode(picture))
            decoded = self.runtime.model.autoencoder.decode(reference.latents)
            lips = self._articulation(portrait, reference, speech, features, region, options)
        finish = self._finisher(portrait, picture, decoded.float(), options)
        reach = settings.smoothing if options.smoothing is None else options.smoothing
        reach = min(reach, settings.temporal.chunk_frames // 2)
        so_far = reference.latents[:, None][:, :0] if after is None else torch.from_numpy(after.motion)
        track = Track(reach, settings.temporal.motion_frames, so_far.to(self.runtime.device))
        for chunk in plan_chunks(features.n_frames, settings.temporal.chunk_frames):
            if after is not None and chunk.start < after.frame + reach:
                continue
            is_last = chunk.stop >= features.n_frames
            with torch.inference_mode(), self.runtime.precision.autocast(self.runtime.device):
                conditioning = self._condition(reference, track.motion, features, region, chunk, options)
                latents = self.runtime.guard(partial(self._sample, reference, conditioning, chunk, options))
                smooth, track = track.followed_by(latents[:, : chunk.keep], is_last=is_last)
                shown = smooth if lips is None else lips.shown(smooth)
                frames = self.runtime.guard(partial(self.runtime.model.decode, shown))[0].float()
            start = max(chunk.start - reach, 0)
            carry = Carry(start + len(frames), to_numpy(track.latents))
            yield MadeChunk(start, to_bytes(finish(frames)), carry, is_last)

    def _finisher(
        self,
        portrait: Portrait,
        picture: Float[Tensor, "1 3 h w"],
        decoded: Float[Tensor, "1 3 h w"],
        options: AnimateOptions,
    ) -> Callable[[Float[Tensor, "f 3 h w"]], Float[Tensor, "f 3 h w"]]:
        """The quality aids outside the network, as this model and the options want them."""
        settings = self.runtime.model.settings
        if not (settings.detail_transfer if options.detail is None else options.detail):
            return lambda frames: frames
        if not settings.lower_face_only:
            return lambda frames: transfer_detail(frames, picture, decoded)
        mask = torch.from_numpy(lower_face(portrait.face, self.runtime.size)).to(self.runtime.device)
        near, lips = (
            torch.from_numpy(mouth(portrait.face, self.runtime.size, chin=chin)).to(self.runtime.device)
            for chin in (True, False)
        )
        limits = color_limits(picture, near, lips)

        def finish(frames: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f 3 h w"]:
            colored = color_locked(frames, limits)
            return held(transfer_detail(colored, picture, decoded), picture, mask)

        return finish

    def _articulation(
        self,
        portrait: Portrait,
        reference: Reference,
        speech: Sound,
        features: SpeechFeatures,
        region: Float[Tensor, "1 1 image_height image_width"],
        options: AnimateOptions,
    ) -> Articulation | None:
        """How much farther speech moves the lips than the model says; None: no farther."""
        settings = self.runtime.model.settings
        times = settings.articulation if options.articulation is None else options.articulation
        if times == 1 or not settings.family.reference_latents:
            return None
        count = settings.temporal.chunk_frames
        nothing = np.zeros(round(SAMPLE_RATE_HZ * count / settings.fps), np.float32)
        silence = hear(Waveform(nothing, SAMPLE_RATE_HZ), settings.audio, settings.fps)
        loud = loudest(speech, plan_chunks(features.n_frames, count), settings.fps)

        def made(heard: SpeechFeatures, chunk: Chunk) -> VideoLatents:
            conditioning = self._condition(reference, None, heard, region, chunk, options)
            return self.runtime.guard(partial(self._sample, reference, conditioning, chunk, options))

        silent, speaking = (
            made(silence, Chunk(index=0, start=0, stop=count, keep=count)),
            made(features, loud),
        )
        scale = settings.autoencoder.scaling_factor
        return articulate(silent, speaking, times, portrait.face, self.runtime.size, scale)

    def _condition(
        self,
        reference: Reference,
        motion: MotionLatents | None,
        features: SpeechFeatures,
        region: Float[Tensor, "1 1 image_height image_width"],
        chunk: Chunk,
        options: AnimateOptions,
    ) -> Conditioning:
        settings = self.runtime.model.settings
        count = chunk.stop - chunk.start
        windows = features.windows(chunk.start, count, settings.audio.margin)
        head_speed = settings.head_speed if options.head_speed is None else options.head_speed
        speed = torch.full((1, count, 2 * settings.speed.margin + 1), head_speed, device=self.runtime.device)
        conditioning = self.runtime.model.condition(
            reference=reference,
            motion=motion,
            audio=torch.from_numpy(windows)[None].to(self.runtime.device),
            face_region=region,
            speed=speed,
        )
        return self.runtime.model.backbone.hear_once(conditioning)

    def _sample(
        self, reference: Reference, conditioning: Conditioning, chunk: Chunk, options: AnimateOptions
    ) -> VideoLatents:
        settings = self.runtime.model.settings
        cells = settings.latent_size
        shape = (settings.autoencoder.latent_channels, cells, cells)
        frames, shared = range(chunk.start, chunk.stop), settings.diffusion.shared_noise
        noise = chunk_noise(options.seed, frames, shape, shared).to(self.runtime.device)
        null = replace(conditioning.null(1), silent=True)
        how = recipe(settings.diffusion, options)
        target = sample(
            guided(
                lambda noisy, timestep: self.runtime.model(noisy, timestep, conditioning),
                lambda noisy, timestep: self.runtime.model(noisy, timestep, null),
                how.guidance,
                how.guided_from,
            ),
            noise,
            self.runtime.schedule,
            steps=how.steps,
            solver=how.solver,
        )
        return self.runtime.model.from_target(target, reference.latents)
