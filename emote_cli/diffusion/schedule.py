"""ONE noise schedule, for training and for sampling: the two can never disagree."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from jaxtyping import Float, Int
from torch import Tensor

from emote_cli.settings import DiffusionSettings

PREDICTION = {"v": "v_prediction", "epsilon": "epsilon", "sample": "sample"}


class NoiseSchedule:
    """x_t = alpha_t x_0 + sigma_t noise, for t = 0 ... timesteps - 1."""

    def __init__(self, settings: DiffusionSettings) -> None:
        self.settings = settings
        self.alphas_cumprod: Tensor = self.solver("ddim").alphas_cumprod

    def solver(self, name: str) -> Any:
        """A fresh diffusers scheduler on this schedule.

        Args:
            name: "ddim" (deterministic), or "dpm" (DPM-Solver++ multistep).
        """
        s = self.settings
        common: dict[str, Any] = {
            "num_train_timesteps": s.timesteps,
            "beta_start": s.beta_start,
            "beta_end": s.beta_end,
            "beta_schedule": s.beta_schedule,
            "prediction_type": PREDICTION[s.objective],
            "rescale_betas_zero_snr": s.zero_terminal_snr,
            "timestep_spacing": "trailing",
        }
        if name == "ddim":
            return DDIMScheduler(**common, clip_sample=False, steps_offset=1)
        return DPMSolverMultistepScheduler(**common, solver_order=2, euler_at_final=True)

    def alpha_sigma(self, timestep: Int[Tensor, " b"], like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t per batch row, shaped to multiply `like`; below 0 lie the clean latents."""
        bar = self.alphas_cumprod.to(like.device)[timestep.clamp(min=0)]
        bar = torch.where(timestep < 0, torch.ones_like(bar), bar)
        bar = bar.view(-1, *([1] * (like.ndim - 1)))
        return bar.sqrt().to(like.dtype), (1 - bar).sqrt().to(like.dtype)

    def add_noise(
        self, clean: Float[Tensor, b * axes], noise: Float[Tensor, b * axes], timestep: Int[Tensor, " b"]
    ) -> Float[Tensor, b * axes]:
        """Noisy latents at each row's timestep."""
        alpha, sigma = self.alpha_sigma(timestep, clean)
        return alpha * clean + sigma * noise

    def clean_and_noise(
        self,
        predicted: Float[Tensor, b * axes],
        noisy: Float[Tensor, b * axes],
        timestep: Int[Tensor, " b"],
    ) -> tuple[Float[Tensor, b * axes], Float[Tensor, b * axes]]:
        """What a prediction (as the objective says) takes for the clean latents, and for the noise."""
        alpha, sigma = self.alpha_sigma(timestep, noisy)
        if self.settings.objective == "v":
            return alpha * noisy - sigma * predicted, sigma * noisy + alpha * predicted
        if self.settings.objective == "sample":
            return predicted, (noisy - alpha * predicted) / sigma
        return (noisy - sigma * predicted) / alpha, predicted

    def ddim_step(
        self,
        predicted: Float[Tensor, b * axes],
        noisy: Float[Tensor, b * axes],
        now: Int[Tensor, " b"],
        then: Int[Tensor, " b"],
    ) -> Float[Tensor, b * axes]:
        """One DDIM step from `now` to `then`; diffusers' knows no timesteps that differ by row."""
        clean, noise = self.clean_and_noise(predicted, noisy, now)
        return self.add_noise(clean, noise, then)

    def one_step(
        self,
        noisy: Float[Tensor, b * axes],
        reached: Float[Tensor, b * axes],
        now: Int[Tensor, " b"],
        then: Int[Tensor, " b"],
    ) -> tuple[Float[Tensor, b * axes], Float[Tensor, b * axes]]:
        """The clean latents and the noise with which one DDIM step leads from `noisy` to `reached`."""
        alpha, sigma = self.alpha_sigma(now, noisy)
        alpha_then, sigma_then = self.alpha_sigma(then, noisy)
        share = sigma_then / sigma
        clean = (reached - share * noisy) / (alpha_then - share * alpha)
        return clean, (noisy - alpha * clean) / sigma

    def snr(self, timestep: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Signal-to-noise ratio alpha^2 / sigma^2; 0 at the last timestep of a zero-terminal-SNR schedule."""
        bar = self.alphas_cumprod.to(timestep.device)[timestep]
        return bar / (1 - bar).clamp_min(1e-8)

    def random_timesteps(self, count: int, generator: torch.Generator) -> Int[Tensor, " count"]:
        """Uniform timesteps, drawn on the CPU."""
        return torch.randint(0, self.settings.timesteps, (count,), generator=generator)
