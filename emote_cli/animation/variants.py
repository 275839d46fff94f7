"""Other sets of weights in a model's folder, known by name: faster forms of a model. No torch."""

from __future__ import annotations

from pathlib import Path

from emote_cli.animation.options import Quality
from emote_cli.settings import ModelSettings
from emote_cli.zoo.catalog import FASTER_MODELS, registry


def named_variant(model: str) -> str | None:
    """Tell the variant that is meant by a model's name; None: the usual weights."""
    return model if model in FASTER_MODELS.values() else None


def find_variant(
    model: str, settings: ModelSettings, quality: Quality | None, folder: Path | None
) -> str | None:
    """Find the variant to use: the one that is named, or the faster one for `--quality fast` where it is installed.

    Args:
        model: as the user named it.
        settings: of the model.
        quality: as the user named it.
        folder: of the model; None for one without files.
    """
    faster = FASTER_MODELS.get(settings.name)
    if faster is None or quality != "fast" or folder is None:
        return named_variant(model)
    there = all((folder / file.to).is_file() for file in registry()[faster].files)
    return faster if there else named_variant(model)


def note_missing(settings: ModelSettings, quality: Quality | None) -> tuple[str, ...]:
    """Say what would make a model faster if it were installed, a line each."""
    faster = FASTER_MODELS.get(settings.name)
    if faster is None or quality != "fast":
        return ()
    return (f"accelerated weights would be faster: emote download {faster}",)
