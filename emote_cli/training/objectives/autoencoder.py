"""Stage `vae` of a model of pictures: its own autoencoder learns to give back random crops of the clips' frames."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from emote_cli.model.autoencoder import Autoencoder
from emote_cli.training.crops import Pictures
from emote_cli.training.objectives.base import Objective
from emote_cli.training.objectives.draws import sample_generator

LATENT_NOISE = 0.05
"""Standard deviation of the noise that the decoder learns to forgive, in units of the latents' own."""


class Reconstruction(Objective):
    """Crops -> how far the decoded picture is from the crop."""

    def forward(self, batch: Pictures, step: int, first: int) -> Float[Tensor, " b"]:
        """One loss per crop; see `Objective.forward`."""
        size = self.model.settings.autoencoder
        cells = batch.pixels.shape[-1] // size.factor
        shape = (size.latent_channels, cells, cells)
        keys = range(first, first + len(batch.pixels))
        generators = (sample_generator(self.settings.seed, step, key) for key in keys)
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        losses, _ = autoencoder_losses(self.model.autoencoder, batch, noise.to(batch.pixels))
        return losses


def image_gradients(pixels: Float[Tensor, "b c h w"]) -> tuple[Tensor, Tensor]:
    """Compute the differences to the right and to the downward neighbor."""
    return pixels[..., :, 1:] - pixels[..., :, :-1], pixels[..., 1:, :] - pixels[..., :-1, :]


def autoencoder_losses(
    autoencoder: Autoencoder, batch: Pictures, noise: Float[Tensor, "b c y x"] | None
) -> tuple[Float[Tensor, " b"], Float[Tensor, "b 3 h w"]]:
    """Compute L1 of pixels and of their gradients, more at face and mouth; latents are kept near unit scale.

    Args:
        autoencoder: in training.
        batch: pictures in [-1, 1] and weights.
        noise: standard normal, shaped like the latents; None draws it.

    Returns:
        One loss per picture, and the decoded pictures.
    """
    pixels = batch.pixels
    latents = autoencoder.encode(pixels)
    decoded = autoencoder.decode(
        latents + LATENT_NOISE * (torch.randn_like(latents) if noise is None else noise)
    )
    weight = batch.weight / batch.weight.mean((1, 2, 3), keepdim=True)
    loss = (weight * (decoded - pixels).abs()).mean((1, 2, 3))
    for ours, theirs in zip(image_gradients(decoded), image_gradients(pixels), strict=True):
        loss = loss + 0.5 * (ours - theirs).abs().mean((1, 2, 3))
    return loss + 0.01 * torch.relu(latents.square().mean((2, 3)) - 1).mean(1), decoded
