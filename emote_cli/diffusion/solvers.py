"""Solvers: from the noisy latents of one timestep to those of the next. All numbers of a step are known before it."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.errors import SettingsError
from emote_cli.shapes import VideoLatents

PREDICTION = {"v": "v_prediction", "epsilon": "epsilon", "sample": "sample"}
"""Our names of what a network predicts -> diffusers'."""


class Ddim:
    """DDIM without noise (arXiv 2010.02502, equation 12 with sigma = 0).

    Args:
        schedule: that the network was trained on.
        steps: how often the network is asked, 1 ... timesteps.

    Attributes:
        timesteps: at which the network is asked, in this order.
    """

    def __init__(self, schedule: NoiseSchedule, steps: int) -> None:
        timesteps = schedule.settings.timesteps
        self.schedule, self.stride = schedule, timesteps // steps
        trailing = np.round(np.arange(timesteps, 0, -timesteps / steps)).astype(int) - 1
        self.timesteps = tuple(trailing.tolist())

    def step(self, predicted: VideoLatents, timestep: int, latents: VideoLatents) -> VideoLatents:
        """Make a step of `timesteps // steps`; behind timestep 0 lie the clean latents.

        Args:
            predicted: by the network.
            timestep: at which it was asked, one of `timesteps`.
            latents: what it was shown.
        """
        clean, noise = self.schedule.split(predicted, latents, *self.schedule.levels(timestep))
        signal, noise_level = self.schedule.levels(timestep - self.stride)
        return signal * clean + noise_level * noise


class Dpm:
    """DPM-Solver++, second order, multistep (arXiv 2211.01095): diffusers'.

    Args:
        schedule: that the network was trained on.
        steps: how often the network is asked.

    Attributes:
        timesteps: at which the network is asked, in this order.
    """

    def __init__(self, schedule: NoiseSchedule, steps: int) -> None:
        from diffusers import DPMSolverMultistepScheduler

        settings = schedule.settings
        self.scheduler = DPMSolverMultistepScheduler(
            num_train_timesteps=settings.timesteps,
            beta_start=settings.beta_start,
            beta_end=settings.beta_end,
            beta_schedule=settings.beta_schedule,
            prediction_type=PREDICTION[settings.objective],
            rescale_betas_zero_snr=settings.zero_terminal_snr,
            timestep_spacing="trailing",
            solver_order=2,
            euler_at_final=True,
        )
        self.scheduler.set_timesteps(steps)
        self.scheduler.set_begin_index(0)  # else it searches each timestep among all
        self.timesteps = tuple(self.scheduler.timesteps.tolist())

    def step(self, predicted: VideoLatents, timestep: int, latents: VideoLatents) -> VideoLatents:
        """Make the next step; it uses the prediction of the step before, too.

        Args:
            predicted: by the network.
            timestep: at which it was asked, one of `timesteps`, in their order.
            latents: what it was shown.
        """
        out: Tensor = self.scheduler.step(predicted, timestep, latents).prev_sample
        return out


Solver = Ddim | Dpm


def make_solver(name: str, schedule: NoiseSchedule, steps: int) -> Solver:
    """Make a fresh solver by name.

    Args:
        name: "ddim" or "dpm".
        schedule: that the network was trained on.
        steps: how often the network is asked.

    Returns:
        A solver for one video or chunk; it may remember its last step.

    Raises:
        SettingsError: the name is unknown.
    """
    if name == "ddim":
        return Ddim(schedule, steps)
    if name == "dpm":
        return Dpm(schedule, steps)
    raise SettingsError(f"unknown solver '{name}'", hint="known: ddim, dpm")
