"""Pictures to latents and back: diffusers' AutoencoderKL, optionally on folded pixels; scaled in one place only."""

from __future__ import annotations

from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.settings import AutoencoderSettings
from emote_cli.shapes import ImageLatents, ImagePixels


class Autoencoder(nn.Module):
    """The frozen VAE of the paper (its posterior mean), or the mini's own."""

    def __init__(self, settings: AutoencoderSettings) -> None:
        super().__init__()
        self.patch = settings.patch
        self.scaling_factor = settings.scaling_factor
        levels = len(settings.block_channels)
        self.vae = AutoencoderKL(
            in_channels=3 * settings.patch**2,
            out_channels=3 * settings.patch**2,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=settings.block_channels,
            layers_per_block=settings.layers_per_block,
            latent_channels=settings.latent_channels,
            norm_num_groups=settings.norm_groups,
            sample_size=settings.tile_above,
        )

    def encode(self, pixels: ImagePixels) -> ImageLatents:
        """Pixels in [-1, 1] -> scaled latents (the posterior's mean)."""
        folded = functional.pixel_unshuffle(pixels, self.patch) if self.patch > 1 else pixels
        latents: Tensor = self.vae.encode(folded).latent_dist.mode()
        return latents * self.scaling_factor

    def decode(self, latents: ImageLatents) -> ImagePixels:
        """Scaled latents -> pixels, about [-1, 1] (not clamped)."""
        folded: Tensor = self.vae.decode(latents / self.scaling_factor).sample
        return functional.pixel_shuffle(folded, self.patch) if self.patch > 1 else folded
