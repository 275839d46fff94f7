"""`--stage vae`: the mini's own autoencoder, on random crops of the clips' frames."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.model.autoencoder import Autoencoder

LATENT_NOISE = 0.05
"""Standard deviation of the noise that the decoder learns to forgive, in units of the latents' own."""


def image_gradients(pixels: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor]:
    """Differences to the right and downward neighbor."""
    return pixels[..., :, 1:] - pixels[..., :, :-1], pixels[..., 1:, :] - pixels[..., :-1, :]


def autoencoder_loss(
    autoencoder: Autoencoder, pixels: Float[Tensor, "b 3 h w"], weight: Float[Tensor, "b 1 h w"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """L1 of pixels and of their gradients, weighted towards face and mouth; latents are kept near unit scale.

    Returns:
        The loss, and the plain mean squared error (for PSNR).
    """
    latents = autoencoder.encode(pixels)
    noisy = latents + LATENT_NOISE * torch.randn_like(latents)
    decoded = autoencoder.decode(noisy)
    weight = weight / weight.mean()
    loss = (weight * (decoded - pixels).abs()).mean()
    for ours, theirs in zip(image_gradients(decoded), image_gradients(pixels), strict=True):
        loss = loss + 0.5 * (ours - theirs).abs().mean()
    scale = 0.01 * torch.relu(latents.square().mean((0, 2, 3)) - 1).mean()
    return loss + scale, (decoded - pixels).square().mean()
