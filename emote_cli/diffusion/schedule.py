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
        """alpha_t and sigma_t per batch row, shaped to multiply `like`."""
        bar = self.alphas_cumprod.to(like.device)[timestep]
        bar = bar.view(-1, *([1] * (like.ndim - 1)))
        return bar.sqrt().to(like.dtype), (1 - bar).sqrt().to(like.dtype)

    def add_noise(
        self, clean: Float[Tensor, b * axes], noise: Float[Tensor, b * axes], timestep: Int[Tensor, " b"]
    ) -> Float[Tensor, b * axes]:
        """Noisy latents at each row's timestep."""
        alpha, sigma = self.alpha_sigma(timestep, clean)
        return alpha * clean + sigma * noise

    def snr(self, timestep: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Signal-to-noise ratio alpha^2 / sigma^2; 0 at the last timestep of a zero-terminal-SNR schedule."""
        bar = self.alphas_cumprod.to(timestep.device)[timestep]
        return bar / (1 - bar).clamp_min(1e-8)

    def random_timesteps(self, count: int, generator: torch.Generator) -> Int[Tensor, " count"]:
        """Uniform timesteps, drawn on the CPU."""
        return torch.randint(0, self.settings.timesteps, (count,), generator=generator)
