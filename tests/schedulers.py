"""diffusers' schedulers on our noise schedule, for comparison."""

from diffusers import DDIMScheduler

from emote_cli.diffusion.solvers import PREDICTION
from emote_cli.settings import DiffusionSettings


def diffusers_ddim(settings: DiffusionSettings, steps: int) -> DDIMScheduler:
    """DDIM, about to take `steps` steps."""
    scheduler = DDIMScheduler(
        num_train_timesteps=settings.timesteps,
        beta_start=settings.beta_start,
        beta_end=settings.beta_end,
        beta_schedule=settings.beta_schedule,
        prediction_type=PREDICTION[settings.objective],
        rescale_betas_zero_snr=settings.zero_terminal_snr,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )
    scheduler.set_timesteps(steps)
    return scheduler
