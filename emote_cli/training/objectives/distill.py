"""Stage `distill`: a student learns to do in one step what the model does in several, with guidance.

Progressive distillation (arXiv 2202.00512), and guidance folded into it (arXiv 2210.03142). From a step of the
student's grid the model that is distilled takes several DDIM steps with classifier-free guidance; the student is
shown the prediction that gets there at once.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emote_cli.data.dataset import TrainingExample
from emote_cli.diffusion.objective import min_snr_weight, per_sample_loss, target_for
from emote_cli.diffusion.sampler import guide
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.errors import SettingsError
from emote_cli.model.conditioning import Conditioning
from emote_cli.model.emo import Emo
from emote_cli.settings import DiffusionSettings
from emote_cli.training.objectives.base import Objective
from emote_cli.training.objectives.denoising import conditioning_for, encode_pictures
from emote_cli.training.objectives.draws import Draw, draw
from emote_cli.training.settings import DistillSettings, StepSettings, TrainSettings


class Original:
    """The model that is distilled, frozen. No nn.Module: nothing of it may train, be averaged or be saved.

    Args:
        model: as the stage before has left it.
        guidance: scale to fold in; None is the model's own.
    """

    def __init__(self, model: Emo, guidance: float | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.guidance = model.settings.diffusion.guidance if guidance is None else guidance

    def lead(
        self,
        noisy: Float[Tensor, "b f c h w"],
        start: Int[Tensor, " b"],
        span: int,
        inner: int,
        schedule: NoiseSchedule,
        conditioning: Conditioning,
    ) -> Float[Tensor, "b f c h w"]:
        """Lead latents `span` timesteps further, in `inner` guided DDIM steps.

        Args:
            noisy: latents at `start`.
            start: timestep per row.
            span: timesteps to go.
            inner: steps to go them in; divides `span`.
            schedule: of both models.
            conditioning: by this model's own weights.
        """
        null, told = (
            conditioning.null(len(noisy)),
            self.model.backbone.hear_once(conditioning),
        )
        denoise = guide(
            lambda latents, timestep: self.model(latents, timestep, told),
            lambda latents, timestep: self.model(latents, timestep, null),
            self.guidance,
        )
        latents, stride = noisy, span // inner
        for number in range(inner):
            now = start - number * stride
            latents = schedule.ddim_step(denoise(latents, now), latents, now, now - stride)
        return latents


class Distillation(Objective):
    """A student's prediction -> how far it is from what the original's several steps come to.

    Args:
        model: the student.
        settings: of the stage.
        original: the model that is distilled.
    """

    def __init__(self, model: Emo, settings: TrainSettings, original: Original) -> None:
        super().__init__(model, settings)
        self.original = original
        self.schedule = NoiseSchedule(model.settings.diffusion)

    def forward(self, batch: TrainingExample, step: int, first: int) -> Float[Tensor, " b"]:
        """One loss per sample; see `Objective.forward`."""
        batch, settings = encode_pictures(self.model, batch), self.settings
        drawn = draw(batch, self.schedule, settings.step, settings.seed, step, first)
        return distill_loss(
            self.model, self.original, self.schedule, batch, drawn, settings.step, settings.distill
        )

    def place(self, device: torch.device, layout: torch.memory_format) -> None:
        """Move student and original."""
        super().place(device, layout)
        self.original.model.to(device, memory_format=layout)  # type: ignore[call-overload]


def check_grid(distill: DistillSettings, original: DiffusionSettings, was_student: bool = False) -> None:
    """Check that the original can take the steps that are asked of it.

    Args:
        distill: how many.
        original: settings of the model that is distilled.
        was_student: whether it was distilled itself, and so knows no timesteps but its own.

    Raises:
        SettingsError: steps fall between two timesteps, or where a student has not learned.
    """
    timesteps, asked = original.timesteps, distill.steps * distill.inner
    if was_student and asked != original.steps:
        raise SettingsError(
            f"the original was distilled to {original.steps} steps, "
            f"distill.steps {distill.steps} x distill.inner {distill.inner} are {asked}",
            f"for example distill.steps={max(original.steps // 2, 1)} and distill.inner=2",
        )
    if timesteps % asked:
        raise SettingsError(
            f"distill.steps {distill.steps} x distill.inner {distill.inner} does not divide {timesteps} timesteps",
            "for example distill.steps=4 and distill.inner=2",
        )


def start_of_span(timestep: Int[Tensor, " b"], span: int) -> Int[Tensor, " b"]:
    """Find where the sampler's step begins that leads past a timestep: 999, 749, 499 or 249 with four steps."""
    return (torch.div(timestep, span, rounding_mode="floor") + 1) * span - 1


def distill_loss(
    model: Emo,
    original: Original,
    schedule: NoiseSchedule,
    batch: TrainingExample,
    drawn: Draw,
    settings: StepSettings,
    distill: DistillSettings,
) -> Float[Tensor, " b"]:
    """Compute one loss per sample: the student's prediction against the one step that replaces the original's.

    Args:
        model: the student.
        original: whose steps it learns to replace.
        schedule: of the noise.
        batch: of latents.
        drawn: its noise, timesteps, and what is dropped.
        settings: chances and weights.
        distill: how many steps the student has, and how many of the original's replace one of them.
    """
    clean = model.to_target(batch.target, batch.reference)
    span = schedule.settings.timesteps // distill.steps
    start = start_of_span(drawn.timestep.to(clean.device), span)
    noisy = schedule.add_noise(clean, drawn.noise.to(clean), start)
    with torch.no_grad():
        told = conditioning_for(original.model, batch, drawn, settings, temporal=True)
        reached = original.lead(noisy, start, span, distill.inner, schedule, told)
        wanted, noise = schedule.one_step(noisy, reached, start, start - span)
    conditioning = conditioning_for(model, batch, drawn, settings, temporal=True)
    predicted = model(noisy, start, conditioning)
    losses = per_sample_loss(predicted, target_for(schedule, wanted, noise, start), batch.weight)
    return losses * min_snr_weight(schedule, start) if settings.min_snr else losses
