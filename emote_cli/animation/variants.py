"""Other sets of weights in a model's folder, known by name. No torch."""

from __future__ import annotations

from pathlib import Path

from emote_cli.animation.options import Quality
from emote_cli.settings import ModelSettings

SIX_STEP = "echomimic-6step"
"""The accelerated form of EchoMimic: a preset, an add-on of `emote download`, and a name for `--model`."""

SIX_STEP_FILES = ("denoising_unet_acc.safetensors", "motion_module_acc.safetensors")


def named_variant(model: str) -> str | None:
    """The variant that is meant by a model's name; None: the usual weights."""
    return SIX_STEP if model == SIX_STEP else None


def find_variant(
    model: str, settings: ModelSettings, quality: Quality | None, folder: Path | None
) -> str | None:
    """The variant to use: the one that is named, or EchoMimic's six steps for its fast quality where they are there."""
    there = folder is not None and all((folder / name).is_file() for name in SIX_STEP_FILES)
    quick = settings.name == "echomimic" and quality == "fast" and there
    return SIX_STEP if quick else named_variant(model)


def note_missing(settings: ModelSettings, quality: Quality | None) -> tuple[str, ...]:
    """What would make a model faster if it were installed, a line each."""
    if settings.name == "echomimic" and quality == "fast":
        return (f"accelerated weights would be faster: emote download {SIX_STEP}",)
    return ()
