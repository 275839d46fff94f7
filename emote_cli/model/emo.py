"""EMO on one page (arXiv 2402.17485, section 3).

once per video    reference -> VAE -> ReferenceNet (timestep 0) -> features by site -> keys and values
once per chunk    n motion frames   -> VAE -> ReferenceNet (timestep 0) -> features by site
every step        noisy latents -> Backbone(timestep, Conditioning) -> prediction

Conditioning = reference and audio tokens (strong) + motion features + face region and head speed (weak)
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from emote_cli.model.audio import Windows, make_projector
from emote_cli.model.autoencoder import Autoencoder
from emote_cli.model.backbone import Backbone
from emote_cli.model.conditioning import Conditioning, MotionFeatures, Reference, ReferenceFeatures
from emote_cli.model.face_locator import FaceLocator
from emote_cli.model.identity import IdentityProjector
from emote_cli.model.painter import Painter
from emote_cli.model.reference_net import ReferenceNet
from emote_cli.model.speed import SpeedEncoder
from emote_cli.settings import ModelSettings
from emote_cli.shapes import ImageLatents, MotionLatents, VideoLatents, VideoPixels


def decoded_at_once(size: int) -> int:
    """How many frames of `size` pixels are decoded together: as many pixels as two of 512x512 have.

    More need much memory (12 of 512x512: 4.8 GB in 16 bits) and are hardly faster.
    """
    return max(2 * 512**2 // size**2, 1)


class Emo(nn.Module):
    """The whole model.

    Args:
        settings: of all parts.

    Attributes:
        autoencoder: of models whose latents are pictures.
        painter: of models whose latents are motion: it draws what a moved portrait cannot show.
    """

    autoencoder: Autoencoder
    painter: Painter

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        latent_channels = settings.autoencoder.latent_channels
        if settings.autoencoder.kind == "motion":
            self.painter = Painter(settings.autoencoder.block_channels)
        else:
            self.autoencoder = Autoencoder(settings.autoencoder)
        self.reference_net = ReferenceNet(
            latent_channels=latent_channels, shape=settings.unet, family=settings.family
        )
        self.backbone = Backbone(
            latent_channels=latent_channels,
            shape=settings.unet,
            family=settings.family,
            temporal=settings.temporal,
            audio_width=settings.audio.token_width,
            speed_width=settings.speed.width if settings.family.speed_layers else None,
        )
        self.face_locator = FaceLocator(settings.unet.block_channels[0], settings.face_locator)
        self.audio_projector = make_projector(settings.audio)
        self.speed_encoder = SpeedEncoder(settings.speed) if settings.family.speed_layers else None
        self.identity_projector = (
            IdentityProjector(settings.family) if settings.family.identity_tokens else None
        )
        if settings.family.reference_latents:  # no prior to keep: start as the still picture, deaf to noise
            for parameter in self.backbone.conv_out.parameters():
                nn.init.zeros_(parameter)
            nn.init.zeros_(self.backbone.conv_in.weight.data[:, :latent_channels])

    def encode(self, pixels: VideoPixels) -> VideoLatents:
        """Frames in [-1, 1] -> scaled latents, frame by frame."""
        latents = self.autoencoder.encode(rearrange(pixels, "b f c h w -> (b f) c h w"))
        return rearrange(latents, "(b f) c h w -> b f c h w", b=len(pixels))

    def decode(self, latents: VideoLatents, at_once: int | None = None) -> VideoPixels:
        """Scaled latents -> frames in [-1, 1], frame by frame.

        Args:
            latents: of any number of frames.
            at_once: most frames in work together; None: see `decoded_at_once`.
        """
        folded = rearrange(latents, "b f c h w -> (b f) c h w")
        size = at_once or decoded_at_once(self.settings.image_size)
        starts = range(0, len(folded), size)
        pixels = torch.cat([self.autoencoder.decode(folded[start : start + size]) for start in starts])
        return rearrange(pixels, "(b f) c h w -> b f c h w", b=len(latents)).clamp(-1, 1)

    def encode_reference(self, latents: ImageLatents) -> Reference:
        """Features of the reference at every site, and their keys and values: once per video."""
        features: ReferenceFeatures = self.reference_net(latents)
        return Reference(latents, features, self.backbone.project_reference(features))

    def encode_motion(self, motion: MotionLatents) -> dict[str, MotionFeatures]:
        """Features of the motion frames at every site: once per chunk."""
        features = self.reference_net(rearrange(motion, "b n c h w -> (b n) c h w"))
        return {
            site: rearrange(maps, "(b n) c h w -> b n c h w", b=len(motion))
            for site, maps in features.items()
        }

    def no_motion(self, reference: Reference) -> dict[str, MotionFeatures]:
        """Zero features: the null before the first chunk, in training and animation alike (paper 3.2)."""
        n = self.settings.temporal.motion_frames
        return {
            site: torch.zeros_like(maps)[:, None].repeat(1, n, 1, 1, 1)
            for site, maps in reference.features.items()
        }

    def condition(
        self,
        *,
        reference: Reference,
        motion: Float[Tensor, "b n c h w"] | None,
        audio: Windows,
        face_region: Float[Tensor, "b _ image_height image_width"],
        speed: Float[Tensor, "b f speed_window"] | None,
        temporal: bool = True,
    ) -> Conditioning:
        """Encode every condition: the one way, for training and for animation.

        Args:
            reference: encoded by `encode_reference`.
            motion: latents of the n motion frames; None before the first chunk.
            audio: speech features per frame and window.
            face_region: mask of where the face may be, 0..1.
            speed: head speed per frame and window, degrees per frame at 30 fps; None leaves the speed layers
                out.
            temporal: False for stage 1, which sees single frames.
        """
        moved: dict[str, Tensor] = {}
        if temporal and self.settings.family.long_video == "motion_frames":
            moved = self.no_motion(reference) if motion is None else self.encode_motion(motion)
        return Conditioning(
            reference=reference.projected,
            reference_latents=reference.latents if self.settings.family.reference_latents else None,
            motion=moved,
            audio=self.audio_projector(audio),
            face_region=self.face_locator(face_region),
            speed=None if speed is None or self.speed_encoder is None else self.speed_encoder(speed),
            temporal=temporal,
        )

    def to_target(self, latents: VideoLatents, reference: ImageLatents) -> VideoLatents:
        """What is diffused: the latents, or (`family.reference_latents`) their change against the reference."""
        return latents - reference[:, None] if self.settings.family.reference_latents else latents

    def from_target(self, target: VideoLatents, reference: ImageLatents) -> VideoLatents:
        """Inverse of `to_target`."""
        return target + reference[:, None] if self.settings.family.reference_latents else target

    def forward(
        self, noisy: VideoLatents, timestep: int | Int[Tensor, " b"], conditioning: Conditioning
    ) -> VideoLatents:
        """Predict once: one denoising step.

        Args:
            noisy: latents at the timestep.
            timestep: one number for all batch rows, or one per row; 0 ... timesteps - 1.
            conditioning: from `condition`.

        Returns:
            The prediction, as `diffusion.objective` says.
        """
        if isinstance(timestep, int):  # filled on the device: nothing waits for the host
            timestep = torch.full((len(noisy),), timestep, device=noisy.device)
        out: Tensor = self.backbone(noisy, timestep, conditioning)
        return out
