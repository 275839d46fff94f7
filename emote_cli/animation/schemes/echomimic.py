"""EchoMimic's scheme: its front ends around this package's network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from emote_cli.animation.chunks import Carry, MadeChunk, plan_chunks
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.quality import choose_recipe
from emote_cli.animation.schemes.echomimic_video import EchoMimicInputs, sample_video
from emote_cli.animation.schemes.hallo_chunks import draw_noise
from emote_cli.animation.schemes.scheme import Scheme
from emote_cli.model.autoencoder import to_bytes, to_tensor
from emote_cli.perception.echomimic_box import echomimic_mask
from emote_cli.perception.whisper import whisper_features
from emote_cli.perception.whisper_encoder import WhisperEncoder
from emote_cli.shapes import VideoLatents
from emote_cli.types import Chunk, Portrait, Sound, SpeechFeatures
from emote_cli.zoo.locate import locate_speech_model


class EchoMimicScheme(Scheme):
    """EchoMimic: a face box, Whisper's vectors, and overlapping windows over the whole video."""

    def raw_chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Generate frames; see `Animator.raw_chunks`. All latents are denoised before the first frame."""
        settings = self.runtime.model.settings
        features, count = whisper_features(speech, settings.audio, settings.fps, self._encoder())
        with torch.inference_mode(), self.runtime.precision.autocast(self.runtime.device):
            latents = self._latents(portrait, features, options)
        for chunk in plan_chunks(count, settings.temporal.chunk_frames):
            if after is not None and chunk.start < after.frame:
                continue
            with torch.inference_mode(), self.runtime.precision.autocast(self.runtime.device):
                single = [latents[:, i : i + 1] for i in range(chunk.start, chunk.start + chunk.keep)]
                pixels = torch.cat(
                    [self.runtime.guard(partial(self.runtime.model.decode, one))[0] for one in single]
                )
            carry = Carry(chunk.stop, np.zeros(0, np.float32))
            yield MadeChunk(chunk.start, to_bytes(pixels), carry, chunk.stop >= count)

    def _encoder(self) -> WhisperEncoder:
        """The speech model that lies in the model's own folder."""
        if self.runtime.ears is not None:
            loaded: WhisperEncoder = self.runtime.ears
            return loaded
        file = locate_speech_model("whisper", self.runtime.folder)
        return WhisperEncoder.load(file, hint="emote download echomimic")

    def _latents(self, portrait: Portrait, features: SpeechFeatures, options: AnimateOptions) -> VideoLatents:
        settings = self.runtime.model.settings
        how = choose_recipe(settings.diffusion, options)
        shape = (settings.autoencoder.latent_channels, settings.latent_size, settings.latent_size)
        count = features.n_frames
        noise = draw_noise(options.seed, shape, count)(Chunk(0, count, count))
        inputs = EchoMimicInputs(
            to_tensor(portrait.pixels[None])[0].to(self.runtime.device), self._mask(portrait), features
        )
        return sample_video(
            self.runtime.model,
            inputs,
            noise.to(self.runtime.device),
            how,
            self.runtime.guard,
        )

    def _mask(self, portrait: Portrait) -> torch.Tensor:
        return torch.from_numpy(echomimic_mask(portrait, self.runtime.size)).to(self.runtime.device)
