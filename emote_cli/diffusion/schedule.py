"""ONE noise schedule, for training and for sampling: the two can never disagree."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emote_cli.settings import DiffusionSettings


class NoiseSchedule:
    """x_t = alpha_t x_0 + sigma_t noise, for t = 0 ... timesteps - 1.

    Args:
        settings: timesteps, betas, and what the network predicts.
    """

    def __init__(self, settings: DiffusionSettings) -> None:
        self.settings = settings
        self.alphas_cumprod = make_alphas_cumprod(settings)
        signal, noise = self.alphas_cumprod.sqrt(), (1 - self.alphas_cumprod).sqrt()
        self._levels = list(zip(signal.tolist(), noise.tolist(), strict=True))

    def levels(self, timestep: int) -> tuple[float, float]:
        """alpha_t and sigma_t of one timestep; below 0 lie the clean latents."""
        return (1.0, 0.0) if timestep < 0 else self._levels[timestep]

    def alpha_sigma(self, timestep: Int[Tensor, " b"], like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t per batch row, shaped to multiply `like`; below 0 lie the clean latents."""
        bar = self.alphas_cumprod.to(like.device)[timestep.clamp(min=0)]
        bar = torch.where(timestep < 0, torch.ones_like(bar), bar)
        bar = bar.view(-1, *([1] * (like.ndim - 1)))
        return bar.sqrt().to(like.dtype), (1 - bar).sqrt().to(like.dtype)

    def add_noise(
        self, clean: Float[Tensor, b * axes], noise: Float[Tensor, b * axes], timestep: Int[Tensor, " b"]
    ) -> Float[Tensor, b * axes]:
        """Add noise to latents, as much as each row's timestep says.

        Args:
            clean: latents.
            noise: standard normal.
            timestep: of each row, 0 ... timesteps - 1.
        """
        alpha, sigma = self.alpha_sigma(timestep, clean)
        return alpha * clean + sigma * noise

    def clean_and_noise(
        self,
        predicted: Float[Tensor, b * axes],
        noisy: Float[Tensor, b * axes],
        timestep: Int[Tensor, " b"],
    ) -> tuple[Float[Tensor, b * axes], Float[Tensor, b * axes]]:
        """Read the clean latents and the noise out of a prediction, as the objective says.

        Args:
            predicted: by the network.
            noisy: what it was shown.
            timestep: of each row.

        Returns:
            What it takes for the clean latents, and for the noise.
        """
        return self.split(predicted, noisy, *self.alpha_sigma(timestep, noisy))

    def split(
        self,
        predicted: Float[Tensor, b * axes],
        noisy: Float[Tensor, b * axes],
        alpha: float | Tensor,
        sigma: float | Tensor,
    ) -> tuple[Float[Tensor, b * axes], Float[Tensor, b * axes]]:
        """The same as `clean_and_noise` where alpha and sigma are known.

        Args:
            predicted: by the network.
            noisy: what it was shown.
            alpha: share of the clean latents in it.
            sigma: share of the noise in it.
        """
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
        """Make one DDIM step from `now` to `then`, which may differ by row (distillation).

        Args:
            predicted: by the network at `now`.
            noisy: latents at `now`.
            now: timestep of each row.
            then: timestep of each row after the step, smaller than `now`; -1 is clean.
        """
        clean, noise = self.clean_and_noise(predicted, noisy, now)
        return self.add_noise(clean, noise, then)

    def one_step(
        self,
        noisy: Float[Tensor, b * axes],
        reached: Float[Tensor, b * axes],
        now: Int[Tensor, " b"],
        then: Int[Tensor, " b"],
    ) -> tuple[Float[Tensor, b * axes], Float[Tensor, b * axes]]:
        """Find the clean latents and the noise with which one DDIM step leads from `noisy` to `reached`.

        Args:
            noisy: latents at `now`.
            reached: latents at `then`.
            now: timestep of each row.
            then: of each row, smaller than `now`; -1 is clean.

        Returns:
            The clean latents, and the noise.
        """
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
        """Draw uniform timesteps, on the CPU."""
        return torch.randint(0, self.settings.timesteps, (count,), generator=generator)


def make_alphas_cumprod(settings: DiffusionSettings) -> Float[Tensor, " timesteps"]:
    """alpha_t^2 for every timestep: the product of 1 - beta up to it.

    For a terminal SNR of zero alpha is shifted and scaled: its first value stays, its last one becomes 0
    (arXiv 2305.08891, algorithm 1).
    """
    count, start, end = settings.timesteps, settings.beta_start, settings.beta_end
    if settings.beta_schedule == "linear":
        betas = torch.linspace(start, end, count)
    else:
        betas = torch.linspace(start**0.5, end**0.5, count) ** 2
    products = torch.cumprod(1 - betas, 0)
    if not settings.zero_terminal_snr:
        return products
    alpha = products.sqrt()
    return ((alpha - alpha[-1]) * (alpha[0] / (alpha[0] - alpha[-1]))) ** 2
