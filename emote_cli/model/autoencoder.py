"""Pictures to latents and back: SD's VAE, scaled in one place only.

With `shortcut` a linear path runs beside the network: each latent cell also sees its own patch of pixels
through one matrix, and gives its patch back through another. Started from the principal components of the
training pictures, the network only has to learn what they miss, which takes minutes instead of hours on a
CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.model.vae import Vae
from emote_cli.settings import AutoencoderSettings
from emote_cli.shapes import ImageLatents, ImagePixels


def to_tensor(pixels: UInt8[np.ndarray, "f h w 3"]) -> Float[Tensor, "f 3 h w"]:
    """Bring RGB bytes to [-1, 1]."""
    writable = np.require(pixels, requirements=["C", "W"])  # torch takes no others without a warning
    return rearrange(torch.from_numpy(writable), "f h w c -> f c h w").float() / 127.5 - 1


def to_bytes(pixels: Float[Tensor, "f 3 h w"]) -> UInt8[np.ndarray, "f h w 3"]:
    """Bring [-1, 1] to RGB bytes, rounded."""
    values = ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(rearrange(values, "f c h w -> f h w c").cpu().numpy())


class Autoencoder(nn.Module):
    """The frozen VAE of the paper (its posterior mean), or one of the model's own.

    Args:
        settings: its shape, and the factor of its latents.
    """

    def __init__(self, settings: AutoencoderSettings) -> None:
        super().__init__()
        self.patch = settings.patch
        self.scaling_factor = settings.scaling_factor
        self.vae = Vae(
            channels=3 * settings.patch**2,
            latent_channels=settings.latent_channels,
            widths=settings.block_channels,
            blocks=settings.layers_per_block,
            groups=settings.norm_groups,
        )
        self.shortcut_in: nn.Conv2d | None = None
        if settings.shortcut:
            factor, channels = settings.factor, settings.latent_channels
            self.shortcut_in = nn.Conv2d(3, channels, factor, stride=factor)
            self.shortcut_out = nn.ConvTranspose2d(channels, 3, factor, stride=factor)
            for layer in (self.vae.quant_conv, self.vae.decoder.conv_out):
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)

    def encode(self, pixels: ImagePixels) -> ImageLatents:
        """Pixels in [-1, 1] -> scaled latents (the posterior's mean)."""
        pixels = pixels.to(self.vae.quant_conv.weight.dtype)
        folded = functional.pixel_unshuffle(pixels, self.patch) if self.patch > 1 else pixels
        latents: Tensor = self.vae.encode(folded)
        if self.shortcut_in is not None:
            latents = latents + self.shortcut_in(pixels)
        return latents * self.scaling_factor

    def decode(self, latents: ImageLatents) -> ImagePixels:
        """Scaled latents -> pixels, about [-1, 1] (not clamped)."""
        latents = latents.to(self.vae.quant_conv.weight.dtype) / self.scaling_factor
        folded: Tensor = self.vae.decode(latents)
        pixels = functional.pixel_shuffle(folded, self.patch) if self.patch > 1 else folded
        return pixels if self.shortcut_in is None else pixels + self.shortcut_out(latents)

    @torch.no_grad()
    def start_from_components(self, pixels: ImagePixels) -> None:
        """Set the linear path to the leading principal components of the pictures' patches.

        Components are scaled by the square root of their standard deviation: between equal share of the
        pixels' variance and equal variance in every channel.
        """
        assert self.shortcut_in is not None, "this autoencoder has no shortcut"
        factor = self.shortcut_in.kernel_size[0]
        patches = rearrange(pixels, "b c (h y) (w x) -> (b h w) (c y x)", y=factor, x=factor)
        mean = patches.mean(0)
        variance, basis = torch.linalg.eigh(torch.cov((patches - mean).T))
        count = self.shortcut_in.out_channels
        basis, deviation = basis[:, -count:].flip(1), variance[-count:].flip(0).clamp_min(1e-8).sqrt()
        scale = (deviation.sqrt() * deviation.mean().sqrt()).clamp_min(1e-4)
        inward, outward = (basis / scale).T, (basis * scale).T
        shape = (count, 3, factor, factor)
        colors = rearrange(mean, "(c p) -> c p", c=3).mean(1)
        self.shortcut_in.load_state_dict({"weight": inward.reshape(shape), "bias": -inward @ mean})
        self.shortcut_out.load_state_dict({"weight": outward.reshape(shape), "bias": colors})
