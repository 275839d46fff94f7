"""What accelerate wraps: model and loss as one module, since DDP and FSDP watch one forward pass."""

from __future__ import annotations

import re
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from emote_cli.data.dataset import TrainingExample
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.errors import TrainingError
from emote_cli.model.emo import Emo
from emote_cli.training.objectives.autoencoder import Pictures, autoencoder_losses
from emote_cli.training.objectives.denoising import draw, loss_for, sample_generator
from emote_cli.training.objectives.distill import Original, distill_loss
from emote_cli.training.settings import TrainSettings
from emote_cli.training.stages import freeze_for
from emote_cli.training.teacher import Teacher


class Trainee(nn.Module):
    """Batch -> one loss per sample.

    Args:
        model: whose parameters are frozen for the stage here.
        settings: of the stage.
        teacher: of the lips, where the settings want one.
        original: the model that stage `distill` distills.
    """

    def __init__(
        self,
        model: Emo,
        settings: TrainSettings,
        teacher: Teacher | None = None,
        original: Original | None = None,
    ) -> None:
        super().__init__()
        self.model, self.settings, self.teacher, self.original = model, settings, teacher, original
        self.schedule = NoiseSchedule(model.settings.diffusion)
        freeze(model, settings)
        model.backbone.gradient_checkpointing = settings.gradient_checkpointing

    def forward(self, batch: Any, step: int, first: int) -> Float[Tensor, " b"]:
        """The losses of some samples of a step.

        Args:
            batch: of the stage's kind; pictures in place of latents are encoded here.
            step: number of the optimizer step.
            first: number, within the step, of the first sample.
        """
        if isinstance(batch, Pictures):
            return self._autoencoder_losses(batch, step, first)
        batch = encoded(self.model, batch)
        drawn = draw(batch, self.schedule, self.settings.step, self.settings.seed, step, first)
        temporal = self.settings.stage != "image"
        step_settings = self.settings.step
        if self.original is not None:
            distill = self.settings.distill
            return distill_loss(
                self.model, self.original, self.schedule, batch, drawn, step_settings, distill
            )
        return loss_for(self.model, self.schedule, batch, drawn, step_settings, temporal, self.teacher)

    def _autoencoder_losses(self, batch: Pictures, step: int, first: int) -> Float[Tensor, " b"]:
        size = self.model.settings.autoencoder
        cells = batch.pixels.shape[-1] // size.factor
        noise = [
            torch.randn(
                size.latent_channels, cells, cells, generator=sample_generator(self.settings.seed, step, key)
            )
            for key in range(first, first + len(batch.pixels))
        ]
        losses, _ = autoencoder_losses(self.model.autoencoder, batch, torch.stack(noise).to(batch.pixels))
        return losses


def freeze(model: Emo, settings: TrainSettings) -> None:
    """Set requires_grad for a stage.

    Raises:
        TrainingError: the model has no autoencoder of its own to train, or --unfreeze matches nothing.
    """
    if settings.stage != "vae":
        freeze_for(model, settings.stage, prior=settings.prior, unfreeze=settings.unfreeze)
        hold(model, settings.freeze)
        return
    if settings.prior:
        raise TrainingError(f"{model.settings.name} keeps SD's autoencoder", "begin with --stage 1")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("autoencoder."))


def hold(model: nn.Module, patterns: tuple[str, ...]) -> None:
    """Keep the parameters that a pattern matches as they are.

    Raises:
        TrainingError: a pattern is no regular expression or matches nothing.
    """
    for pattern in patterns:
        try:
            held = [value for name, value in model.named_parameters() if re.search(pattern, name)]
        except re.error as error:
            raise TrainingError(f"freeze={pattern}: {error}", "give a regular expression") from error
        if not held:
            raise TrainingError(f"freeze={pattern} matches no parameter", "names look like audio_projector.")
        for value in held:
            value.requires_grad_(False)


@torch.no_grad()
def encoded(model: Emo, batch: TrainingExample) -> TrainingExample:
    """The same batch in latents; one that is in latents already passes through."""
    if batch.target.shape[2] == model.settings.autoencoder.latent_channels:
        return batch
    with torch.autocast(batch.target.device.type, enabled=False):

        def encode(frames: Float[Tensor, "b f c h w"]) -> Tensor:
            latents = model.autoencoder.encode(rearrange(frames, "b f c h w -> (b f) c h w"))
            return rearrange(latents, "(b f) c h w -> b f c h w", b=len(frames))

        return batch._replace(
            target=encode(batch.target),
            motion=encode(batch.motion),
            reference=model.autoencoder.encode(batch.reference),
        )
