"""Hallo's scheme: its front ends around this package's network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from emote_cli.animation.background import finish_in_background
from emote_cli.animation.chunks import Carry, MadeChunk
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.quality import choose_recipe
from emote_cli.animation.schemes.hallo_chunks import (
    HalloInputs,
    SampledChunk,
    decode_chunk,
    draw_noise,
    draw_places,
    sample_chunks,
)
from emote_cli.animation.schemes.scheme import Scheme, to_numpy
from emote_cli.model.autoencoder import to_bytes, to_tensor
from emote_cli.model.conditioning import RegionWeights
from emote_cli.perception.regions import hallo_regions
from emote_cli.perception.wav2vec import Wav2VecFeatureExtractor, hallo_features
from emote_cli.types import Portrait, Sound, SpeechFeatures
from emote_cli.zoo.locate import locate_speech_model


class HalloScheme(Scheme):
    """Hallo: boxes and soft masks of the face, its identity, wav2vec2 stretched before its transformer, motion frames.

    A portrait without identity is animated as nobody's (zeros), as Hallo's own code does where it finds no face.
    """

    def raw_chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Generate chunk by chunk; see `Animator.raw_chunks`. Head speed has no effect.

        On a GPU all but a chunk's last frames are decoded while the next chunk is being sampled.
        """
        settings = self.runtime.model.settings
        features, count = hallo_features(
            speech, settings.audio, settings.fps, settings.temporal.chunk_frames, self._extractor()
        )
        stream = torch.Generator().manual_seed(options.seed)
        inputs, share = self._inputs(portrait, features), settings.family.motion_mask
        cells, how = settings.latent_size, choose_recipe(settings.diffusion, options)
        chunks = sample_chunks(
            self.runtime.model,
            inputs,
            draw_noise(
                stream,
                (settings.autoencoder.latent_channels, cells, cells),
                settings.temporal.chunk_frames,
            ),
            how,
            self.runtime.guard,
            start=0 if after is None else after.frame,
            last=None if after is None else torch.from_numpy(after.motion).to(self.runtime.device),
            kept=draw_places(stream, inputs.face_mask, share) if share else None,
        )
        yield from self._finish(self._compute(chunks), count)

    def _extractor(self) -> Wav2VecFeatureExtractor:
        """The speech model that lies in the model's own folder; on the CPU: a GPU has no 0.6 GB to spare."""
        if self.runtime.ears is not None:
            loaded: Wav2VecFeatureExtractor = self.runtime.ears
            return loaded
        return Wav2VecFeatureExtractor.load(locate_speech_model("wav2vec2", self.runtime.folder))

    def _compute(self, chunks: Iterator[SampledChunk]) -> Iterator[SampledChunk]:
        while True:
            with torch.inference_mode(), self.runtime.precision.autocast(self.runtime.device):
                sampled = next(chunks, None)
            if sampled is None:
                return
            yield sampled

    def _finish(self, chunks: Iterator[SampledChunk], count: int) -> Iterator[MadeChunk]:
        """Decode chunks to bytes; the video has `count` frames."""

        def finish(sampled: SampledChunk) -> MadeChunk:
            with self.runtime.precision.autocast(self.runtime.device):
                frames = to_bytes(decode_chunk(self.runtime.model, sampled))
            start, stop = sampled.start, sampled.start + len(frames)
            carry = Carry(stop, to_numpy(sampled.last))
            return MadeChunk(start, frames[: count - start], carry, stop >= count)

        if self.runtime.device.type == "cuda" and self.runtime.residence is None:
            yield from finish_in_background(chunks, finish, self.runtime.device, self.runtime.guard)
        else:
            for sampled in chunks:
                yield self.runtime.guard(partial(finish, sampled))

    def _inputs(self, portrait: Portrait, features: SpeechFeatures) -> HalloInputs:
        height, width = portrait.pixels.shape[:2]
        told = hallo_regions(
            portrait.face.landmarks_px,
            width,
            height,
            self.runtime.size,
            levels=len(self.runtime.model.settings.unet.block_channels),
        )
        masks = tuple(torch.from_numpy(level).to(self.runtime.device) for level in told.levels)
        return HalloInputs(
            pixels=to_tensor(portrait.pixels[None])[0].to(self.runtime.device),
            embedding=self._embedding(portrait),
            face_mask=torch.from_numpy(told.face).to(self.runtime.device).expand(3, -1, -1),
            regions=RegionWeights(masks),
            features=features,
        )

    def _embedding(self, portrait: Portrait) -> torch.Tensor:
        if portrait.identity is None:
            return torch.zeros(
                self.runtime.model.settings.family.identity_embedding, device=self.runtime.device
            )
        return torch.from_numpy(portrait.identity).to(self.runtime.device)
