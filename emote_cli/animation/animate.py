"""From a portrait and speech to frames, chunk after chunk: the same model functions that training uses."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.animation.articulation import Articulation, articulate, loudest, mouth
from emote_cli.animation.chunks import Carry, MadeChunk, plan_chunks
from emote_cli.animation.cpu import set_threads
from emote_cli.animation.detail import color_limits, color_locked, held, lower_face, transfer_detail
from emote_cli.animation.device import (
    LARGE_MODEL,
    Precision,
    choose_device,
    choose_precision,
    compile_backbone,
    runs_in_half,
)
from emote_cli.animation.finishing import make_finisher, show_frames
from emote_cli.animation.memory import Guard, Residence, check_fits, forget_unused, free_bytes, need
from emote_cli.animation.options import REGION_SCALES, AnimateOptions, Tuning
from emote_cli.animation.quality import SIX_STEP, recipe
from emote_cli.animation.scene import Scene, read_scene
from emote_cli.animation.smoothing import Track
from emote_cli.diffusion.sampler import chunk_noise, guided, sample
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.model.autoencoder import to_bytes, to_tensor
from emote_cli.model.checkpoint import random_model
from emote_cli.model.conditioning import Conditioning, Reference
from emote_cli.model.emo import Emo
from emote_cli.model.loading import load_folder
from emote_cli.perception.features import SAMPLE_RATE_HZ
from emote_cli.perception.geometry import region_mask
from emote_cli.perception.speech import hear, listen
from emote_cli.settings import load_preset, load_settings
from emote_cli.shapes import MotionLatents, VideoLatents
from emote_cli.types import Chunk, Pixels, Portrait, Sound, SpeechFeatures, Waveform
from emote_cli.zoo.locate import SETTINGS_NAME, locate

PLAIN = Tuning()


class Animator:
    """A loaded model that turns portraits and speech into frames.

    Args:
        model: in evaluation mode.
        device: where it runs.
        precision: of the computation.
        folder: where the model's files lie; None for one without.
        tuning: how to run it.
    """

    def __init__(
        self,
        model: Emo,
        device: torch.device,
        precision: Precision,
        folder: Path | None = None,
        tuning: Tuning = PLAIN,
    ) -> None:
        set_threads()
        self.folder, self.device, self.precision = folder, device, precision
        self.ears: Any = None
        """A loaded speech model; None: the one that is bundled, installed, or in the model's folder."""
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.schedule = NoiseSchedule(model.settings.diffusion)
        self.residence = Residence(model, device) if tuning.low_memory else None
        can_lower = device.type != "cpu" and not (tuning.low_memory or tuning.compile)
        self.guard = Guard(self._lower if can_lower else None, tuning.tell)
        self.guard(self._settle)
        if tuning.compile:
            compile_backbone(model)

    def _settle(self) -> None:
        """Bring the whole model to the device, unless its large parts wait elsewhere."""
        if self.residence is None:
            self.model.to(self.device)

    def _lower(self) -> None:
        forget_unused(self.device)
        self.residence = Residence(self.model, self.device)
        forget_unused(self.device)

    @classmethod
    def load(
        cls, model: str | Path, device: str = "auto", dtype: str = "auto", tuning: Tuning = PLAIN
    ) -> Animator:
        """Load a model by name or path.

        Args:
            model: tiny, mini, a downloaded model, or the path of a model or run folder.
            device: auto, cpu, cuda or mps.
            dtype: auto, float32 (fp32), bfloat16 (bf16) or float16 (fp16).
            tuning: how to load and run it.

        Raises:
            WeightsError: unknown, missing or damaged.
            DeviceError: the device is not there, or the model does not fit.
        """
        chosen = choose_device(device)
        folder = locate(str(model))
        if str(model) == SIX_STEP:
            tuning = replace(tuning, variant=SIX_STEP)
        if folder is None:
            return cls._made(random_model(load_preset(str(model))), chosen, dtype, None, tuning)
        settings = load_preset(tuning.variant) if tuning.variant else load_settings(folder / SETTINGS_NAME)
        with torch.device("meta"):
            planned = Emo(settings)
        large = sum(parameter.numel() for parameter in planned.parameters()) >= LARGE_MODEL
        precision = choose_precision(dtype, chosen, stored=large, half=runs_in_half(settings.name))
        if large or tuning.low_memory:
            needed = need(planned, precision.dtype.itemsize)
            free = free_bytes(chosen)
            tuning.tell(check_fits(settings.name, needed, chosen, tuning.low_memory, free))
        loaded = load_folder(folder, tuning.variant, precision.weights)
        return cls.of(loaded)(loaded, chosen, precision, folder, tuning)

    @classmethod
    def _made(
        cls, model: Emo, device: torch.device, dtype: str, folder: Path | None, tuning: Tuning
    ) -> Animator:
        return cls.of(model)(model, device, choose_precision(dtype, device), folder, tuning)

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
        """Frames of the video that `emote animate` makes of the same files with the same options.

        Args:
            portrait: a picture with a face.
            audio: a recording, or a video with sound.
            options: how to animate them.

        Yields:
            RGB frames, round(seconds x fps) of them.

        Raises:
            InputError: a file cannot be read, or the speech is shorter than one frame.
            FaceError: there is no such face in the picture.
            SettingsError: the model does not have what an option sets.
        """
        chosen = options or AnimateOptions()
        scene = read_scene(Path(portrait), Path(audio), chosen, self.model.settings, self.folder)
        for line in scene.notes:
            warnings.warn(line, stacklevel=2)
        return show_frames(self, scene, chosen)

    def make_finisher(self, scene: Scene, options: AnimateOptions) -> Callable[[Any, float], Pixels]:
        """The function from one of the raw frames, and its time in seconds, to a frame of the output."""
        return make_finisher(scene, options)

    def raw_frames(self, portrait: Portrait, speech: Sound, options: AnimateOptions) -> Iterator[Pixels]:
        """Frames as the network makes them, at its own size and rate: not enlarged, pasted or alive.

        Args:
            portrait: cropped at `size`.
            speech: mono, 16 kHz.
            options: how to sample.

        Raises:
            InputError: the speech is shorter than one frame.
        """
        for made in self.raw_chunks(portrait, speech, options):
            yield from made.frames

    def raw_chunks(
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
        features = listen(speech, settings.audio, settings.fps, self.ears)
        mask = region_mask(portrait.face.box_px, self.size, REGION_SCALES[options.motion_region])
        region = torch.from_numpy(mask.astype(np.float32))[None].to(self.device)
        with torch.inference_mode(), self.precision.autocast(self.device):
            picture = to_tensor(portrait.pixels[None]).to(self.device)
            reference = self.model.encode_reference(self.model.autoencoder.encode(picture))
            decoded = self.model.autoencoder.decode(reference.latents)
            lips = self._articulation(portrait, reference, speech, features, region, options)
        finish = self._finisher(portrait, picture, decoded.float(), options)
        reach = settings.smoothing if options.smoothing is None else options.smoothing
        reach = min(reach, settings.temporal.chunk_frames // 2)
        so_far = reference.latents[:, None][:, :0] if after is None else torch.from_numpy(after.motion)
        track = Track(reach, settings.temporal.motion_frames, so_far.to(self.device))
        for chunk in plan_chunks(features.n_frames, settings.temporal.chunk_frames):
            if after is not None and chunk.start < after.frame + reach:
                continue
            is_last = chunk.stop >= features.n_frames
            with torch.inference_mode(), self.precision.autocast(self.device):
                conditioning = self._condition(reference, track.motion, features, region, chunk, options)
                latents = self.guard(partial(self._sample, reference, conditioning, chunk, options))
                smooth, track = track.followed_by(latents[:, : chunk.keep], is_last=is_last)
                shown = smooth if lips is None else lips.shown(smooth)
                frames = self.guard(partial(self.model.decode, shown))[0].float()
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
        settings = self.model.settings
        if not (settings.detail_transfer if options.detail is None else options.detail):
            return lambda frames: frames
        if not settings.lower_face_only:
            return lambda frames: transfer_detail(frames, picture, decoded)
        mask = torch.from_numpy(lower_face(portrait.face, self.size)).to(self.device)
        near, lips = (
            torch.from_numpy(mouth(portrait.face, self.size, chin=chin)).to(self.device)
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
        settings = self.model.settings
        times = settings.articulation if options.articulation is None else options.articulation
        if times == 1 or not settings.family.reference_latents:
            return None
        count = settings.temporal.chunk_frames
        nothing = np.zeros(round(SAMPLE_RATE_HZ * count / settings.fps), np.float32)
        silence = hear(Waveform(nothing, SAMPLE_RATE_HZ), settings.audio, settings.fps)
        loud = loudest(speech, plan_chunks(features.n_frames, count), settings.fps)

        def made(heard: SpeechFeatures, chunk: Chunk) -> VideoLatents:
            conditioning = self._condition(reference, None, heard, region, chunk, options)
            return self.guard(partial(self._sample, reference, conditioning, chunk, options))

        silent, speaking = (
            made(silence, Chunk(index=0, start=0, stop=count, keep=count)),
            made(features, loud),
        )
        scale = settings.autoencoder.scaling_factor
        return articulate(silent, speaking, times, portrait.face, self.size, scale)

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
        conditioning = self.model.condition(
            reference=reference,
            motion=motion,
            audio=torch.from_numpy(windows)[None].to(self.device),
            face_region=region,
            speed=speed,
        )
        return self.model.backbone.hear_once(conditioning)

    def _sample(
        self, reference: Reference, conditioning: Conditioning, chunk: Chunk, options: AnimateOptions
    ) -> VideoLatents:
        settings = self.model.settings
        cells = settings.latent_size
        shape = (settings.autoencoder.latent_channels, cells, cells)
        frames, shared = range(chunk.start, chunk.stop), settings.diffusion.shared_noise
        noise = chunk_noise(options.seed, frames, shape, shared).to(self.device)
        null = replace(conditioning.null(1), silent=True)
        how = recipe(settings.diffusion, options)
        target = sample(
            guided(
                lambda noisy, timestep: self.model(noisy, timestep, conditioning),
                lambda noisy, timestep: self.model(noisy, timestep, null),
                how.guidance,
                how.guided_from,
            ),
            noise,
            self.schedule,
            steps=how.steps,
            solver=how.solver,
        )
        return self.model.from_target(target, reference.latents)


def to_numpy(motion: Float[Tensor, ...]) -> Float[np.ndarray, ...]:
    """Motion frames as they are stored: float32, nothing lost."""
    return motion.float().cpu().numpy()
