"""Settings of a training run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from emote_cli.data.dataset import SamplingSettings
from emote_cli.settings import Settings
from emote_cli.training.step import StepSettings


class TrainSettings(Settings):
    """Everything that says how a stage is trained; saved in the run folder."""

    stage: Literal["image", "video", "speed"]
    prior: bool = Field(True, description="the U-Nets start from SD 1.5, and stages 2 and 3 leave them alone")
    unfreeze: tuple[str, ...] = ()
    batch: int = Field(4, gt=0)
    max_steps: int = Field(1_000_000, gt=0)
    max_minutes: float | None = Field(None, gt=0)
    learning_rate: float = Field(1e-5, gt=0)
    warmup_steps: int = Field(100, ge=0)
    decay: Literal["constant", "cosine"] = "constant"
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.999, ge=0, lt=1)
    seed: int = 0
    save_minutes: float = Field(5.0, gt=0)
    keep_checkpoints: int = Field(2, gt=0)
    sampling: SamplingSettings = SamplingSettings()
    step: StepSettings = StepSettings()
