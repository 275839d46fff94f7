"""Settings of a training run, and the recipes in `presets/train-*.yaml`."""

from __future__ import annotations

from importlib import resources
from typing import Any, ClassVar, Literal, get_args

import yaml
from pydantic import Field

from emote_cli.data.dataset import SamplingSettings
from emote_cli.data.selection import DataSettings
from emote_cli.errors import SettingsError
from emote_cli.settings import ModelSettings
from emote_cli.settings_tree import Settings, parse_settings

StageName = Literal["vae", "image", "video", "speed", "distill"]
ORDER: tuple[StageName, ...] = get_args(StageName)


class StepSettings(Settings):
    """What is dropped and disturbed while training: chances and shares, 0 to 1."""

    retired: ClassVar[dict[str, Any]] = {"teach": 0.0}

    drop_reference: float = Field(0.05, ge=0, le=1)
    drop_audio: float = Field(0.05, ge=0, le=1)
    drop_both: float = Field(0.0, ge=0, le=1, description="reference and audio together: guidance's null")
    drop_face_region: float = Field(0.1, ge=0, le=1)
    drop_speed: float = Field(0.1, ge=0, le=1)
    motion_noise: float = Field(
        0.0, ge=0, description="against drift: noise on motion latents, as a share of their own deviation"
    )
    motion_patch_drop: float = Field(
        0.0, ge=0, le=1, description="against drift: share of the motion latents' cells that is blanked"
    )
    noise_offset: float = Field(0.0, ge=0, description="noise shared by all cells of a channel, per frame")
    terminal: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of samples drawn at the last timestep, where few-step sampling begins",
    )
    noise_on: Literal["cpu", "device"] = Field(
        "cpu",
        description="where noise is drawn: cpu, per sample, the same on any number of processes; device, all at once",
    )
    min_snr: bool = Field(True, description="weight samples by min(SNR + 1, 5)")


class AutoencoderTraining(Settings):
    """`--stage vae`."""

    crop: int = Field(128, gt=0, description="side of the random crops, in pixels")
    stride: int = Field(8, gt=0, description="every how many-th frame of a clip is taken into memory")
    components: bool = Field(True, description="start the linear path from the frames' principal components")
    per_clip: int = Field(
        25, gt=0, description="frames of a clip that the Painter's pairs are drawn from (motion latents)"
    )


class ValidationSettings(Settings):
    """Validation videos, made by the code that `emote animate` runs."""

    every: int = Field(0, ge=0, description="steps between validations; 0 is never")
    clips: int = Field(2, gt=0, description="how many held-out clips")
    seconds: float = Field(2.0, gt=0, description="of each clip")
    sface: str | None = Field(None, description="SFace's ONNX file, for the identity figure")


class DistillSettings(Settings):
    """`--stage distill`."""

    steps: int = Field(4, gt=0, description="denoising steps of the student; they become the model's default")
    inner: int = Field(
        2,
        gt=0,
        description="steps of the original for each of the student's; of a distilled original, all its own",
    )
    guidance: float | None = Field(
        None, ge=0, description="guidance scale that is folded in; unset is the original's own"
    )


class TrainSettings(Settings):
    """Everything that says how a stage is trained; saved in the run folder and in every checkpoint."""

    stage: StageName
    prior: bool = Field(True, description="the U-Nets start from SD 1.5, and stages 2 and 3 leave them alone")
    unfreeze: tuple[str, ...] = Field((), description="regular expressions of more parameters that train")
    freeze: tuple[str, ...] = Field((), description="regular expressions of parameters that do not train")
    audio_warm_up: int = Field(
        0,
        ge=0,
        description="steps in which the audio projector learns to tell the lips before stage 1 (ears.py)",
    )
    audio_components: int = Field(
        12,
        ge=0,
        description="principal components of the motion that it learns to tell, of motion latents; 0: jaw, gap, width",
    )
    batch: int = Field(4, gt=0, description="samples per optimizer step, over all processes")
    accumulation: int = Field(1, gt=0, description="forward passes per optimizer step that share the batch")
    max_steps: int = Field(1_000_000, gt=0)
    max_minutes: float | None = Field(None, gt=0)
    optimizer: Literal["adamw", "adamw8bit"] = Field(
        "adamw", description="adamw8bit is experimental: it needs a GPU and bitsandbytes, and was never run"
    )
    learning_rate: float = Field(1e-5, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: int = Field(100, ge=0)
    decay: Literal["constant", "cosine"] = "constant"
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    spike: float = Field(
        20.0, ge=0, description="skip a step whose gradient is so many times the median; 0 never"
    )
    max_skipped: int = Field(25, gt=0, description="steps skipped in a row that end the run")
    ema_decay: float = Field(0.999, ge=0, lt=1)
    precision: Literal["no", "bf16", "fp16"] = Field("no", description="of autocast; weights stay fp32")
    gradient_checkpointing: bool = Field(
        False, description="compute activations twice instead of keeping them"
    )
    shard: bool = Field(False, description="FSDP: spread weights, gradients and moments over the processes")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes a GPU where there is one; cuda ends the run where there is none"
    )
    tf32: bool = Field(
        True, description="on a GPU: products of fp32 numbers in TF32, faster and rounded more"
    )
    workers: int = Field(0, ge=0, description="processes that read examples")
    seed: int = 0
    save_minutes: float = Field(5.0, gt=0)
    save_steps: int | None = Field(None, gt=0)
    keep_checkpoints: int = Field(2, gt=0)
    log_every: int = Field(10, gt=0, description="steps between two lines of the log and of the trackers")
    trackers: tuple[str, ...] = Field(
        (),
        description="any of accelerate's (tensorboard, wandb, ...); auto is TensorBoard if installed",
    )
    data: DataSettings = DataSettings()
    sampling: SamplingSettings = SamplingSettings()
    step: StepSettings = StepSettings()
    autoencoder: AutoencoderTraining = AutoencoderTraining()
    distill: DistillSettings = DistillSettings()
    validation: ValidationSettings = ValidationSettings()


class RunSettings(Settings):
    """`settings.yaml` of a run folder: all that `--resume` needs."""

    data: str = Field(description="the prepared data set")
    start: str | None = Field(None, description="what the run started from; None is random weights")
    train: TrainSettings
    model: ModelSettings


def load_recipe(model: str, stage: StageName, *, gpu: bool = False) -> TrainSettings:
    """Load how a model's stage is trained by default: `presets/train-MODEL.yaml`; others train as sd15.

    Args:
        model: its name.
        stage: one of its stages.
        gpu: with what the recipe says under `gpu`, for the stage or for all.

    Raises:
        SettingsError: the recipe has no such stage, or does not validate.
    """
    name, content = read_recipe(model)
    if stage not in content:
        raise SettingsError(f"{model} has no stage {stage}", f"it has {', '.join(recipe_stages(model))}")
    values = merge(content.get("common", {}), content[stage])
    for_gpus = values.pop("gpu", {})
    values = merge(values, for_gpus) if gpu else values
    return parse_settings(TrainSettings, {"stage": stage, **values}, f"recipe {name}, {stage}")


def recipe_stages(model: str) -> list[StageName]:
    """List the stages that a model's recipe has, in the order of training."""
    _, content = read_recipe(model)
    return [stage for stage in ORDER if stage in content]


def read_recipe(model: str) -> tuple[str, dict[str, Any]]:
    """Read a recipe: its file's name, its common values, and those of each stage."""
    place = resources.files("emote_cli").joinpath("presets")
    file = place.joinpath(f"train-{model}.yaml")
    if not file.is_file():
        file = place.joinpath("train-sd15.yaml")
    return file.name, yaml.safe_load(file.read_text(encoding="utf-8"))


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge nested values: those of `over` win, groups are joined."""
    joined = dict(base)
    for key, value in over.items():
        inner = joined.get(key)
        joined[key] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return joined
