"""What `--quality` means: solver, steps, and down to which timestep guidance is on. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from emote_cli.animation.options import AnimateOptions, Solver
from emote_cli.settings import DiffusionSettings

_FEW_STEPS = 8
"""Models that take no more than this were made for few steps: no quality changes theirs."""

_SHORTER = {"balanced": (2, 250), "fast": (4, 500)}
"""Quality -> by how much the steps are divided, and the timestep (0 ... 999) down to which guidance is on.

The second-order solver makes up for the steps. Guidance in the last, nearly clean steps changes detail rather than
what the face does, and costs as much as the network itself. Chosen by cost; not yet judged on trained weights.
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to sample.

    Attributes:
        solver: "ddim" or "dpm".
        steps: denoising steps.
        guidance: scale; 1 is off.
        guided_from: timestep (0 ... 999) down to which guidance is on.
    """

    solver: Solver
    steps: int
    guidance: float
    guided_from: int = 0


def choose_recipe(settings: DiffusionSettings, options: AnimateOptions) -> Recipe:
    """Choose the recipe of a quality; steps, guidance and solver that are named beside it win.

    Args:
        settings: the model's own: what "paper" means, and no quality.
        options: of the animation.
    """
    solver, steps, guided_from = settings.solver, settings.steps, 0
    if options.quality in _SHORTER and settings.steps > _FEW_STEPS:
        divisor, guided_from = _SHORTER[options.quality]
        solver, steps = "dpm", max(-(-settings.steps // divisor), _FEW_STEPS)
    return Recipe(
        solver=options.solver or solver,
        steps=options.steps or steps,
        guidance=settings.guidance if options.guidance is None else options.guidance,
        guided_from=guided_from,
    )
