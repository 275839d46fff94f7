"""What the network predicts, and the loss: one value per sample before any weighting."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from emote_cli.diffusion.schedule import NoiseSchedule

GAMMA = 5.0


def target_for(
    schedule: NoiseSchedule,
    clean: Float[Tensor, b * axes],
    noise: Float[Tensor, b * axes],
    timestep: Int[Tensor, " b"],
) -> Float[Tensor, b * axes]:
    """Compute what the network should predict: alpha noise - sigma clean (v), the noise, or the clean latents.

    Args:
        schedule: says which of them.
        clean: the latents.
        noise: that was added to them, standard normal.
        timestep: of each row, 0 ... timesteps - 1.
    """
    objective = schedule.settings.objective
    if objective == "epsilon":
        return noise
    if objective == "sample":
        return clean
    alpha, sigma = schedule.alpha_sigma(timestep, clean)
    return alpha * noise - sigma * clean


def min_snr_weight(
    schedule: NoiseSchedule, timestep: Int[Tensor, " b"], gamma: float = GAMMA
) -> Float[Tensor, " b"]:
    """Compute min-SNR weights of the squared error of the prediction.

    In units of the clean latents' error v and sample are weighted min(SNR + 1, gamma): the "+ 1" keeps the
    last timestep, where a zero-terminal-SNR schedule has no signal, in the loss. Few-step samplers start
    there. Noise prediction, which has no such schedule, is weighted min(SNR, gamma): "+ 1" would stress its
    last timesteps two hundredfold.

    Args:
        schedule: says how much signal is left at a timestep, and what the network predicts.
        timestep: of each row.
        gamma: upper bound of the SNR that counts.
    """
    snr = schedule.snr(timestep)
    objective = schedule.settings.objective
    if objective == "epsilon":
        return snr.clamp(max=gamma) / snr.clamp_min(1e-8)
    clean_weight = (snr + 1).clamp(max=gamma)
    return clean_weight if objective == "sample" else clean_weight / (snr + 1)


def per_sample_loss(
    predicted: Float[Tensor, "b f c h w"],
    target: Float[Tensor, "b f c h w"],
    weight: Float[Tensor, "b f _ h w"] | None = None,
) -> Float[Tensor, " b"]:
    """Compute the mean squared error of each sample, in fp32.

    Args:
        predicted: by the network.
        target: from `target_for`.
        weight: stresses places (the mouth); only its shape counts, since it is scaled to mean 1. None: all
            count alike.
    """
    error = (predicted.float() - target.float()) ** 2
    if weight is not None:
        error = error * (weight / weight.mean(dim=(1, 2, 3, 4), keepdim=True))
    return error.flatten(1).mean(1)
