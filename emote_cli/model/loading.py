"""Published weights into this model: rename maps as data (published/), with every key accounted for.

A `Source` describes one published file. `plan_import` compares its keys and shapes with a model and either
says where each key goes, or why it is not used; anything else is an error. `load_parts` reads the files of a
downloaded model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from emote_cli.errors import WeightsError
from emote_cli.model.checkpoint import SETTINGS, WEIGHTS, check_finite, load_model
from emote_cli.model.emo import Emo
from emote_cli.model.published import echomimic, hallo, sd15
from emote_cli.model.published.source import Parts, Source
from emote_cli.settings import ModelSettings, load_preset, load_settings
from emote_cli.zoo.catalog import PUBLISHED_MODELS

Shape = tuple[int, ...]

PARTS: dict[str, Parts] = {**sd15.PARTS, **hallo.PARTS, **echomimic.PARTS}
"""Model -> its published files (as `emote download` lays them out) and what they fill."""


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What becomes of each published key.

    Attributes:
        loaded: published key -> the parameters that start from it.
        unused: published key -> why it is not used.
    """

    loaded: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)


def plan_import(published: Mapping[str, Shape], model: nn.Module, source: Source) -> ImportPlan:
    """Decide where every published key goes.

    Args:
        published: key -> shape.
        model: the Emo to fill; it may be on the meta device.
        source: what kind of file it is.

    Raises:
        WeightsError: a key is unknown or has another shape, or the file lacks something that the model needs.
    """
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    plan = ImportPlan()
    for key, shape in published.items():
        targets = _targets(key, source, expected)
        for target in targets:
            if expected[target] != tuple(shape):
                raise WeightsError(
                    f"{source.name}: {key} has shape {tuple(shape)}, {target} needs {expected[target]}",
                    "these weights belong to another model",
                )
        if targets:
            plan.loaded[key] = targets
        else:
            plan.unused[key] = _reason(key, source)
    _check_filled(plan, expected, source)
    return plan


def _targets(key: str, source: Source, expected: Mapping[str, Shape]) -> tuple[str, ...]:
    """The parameters that start from a published key; without repetition."""
    matches = ((re.fullmatch(pattern, key), template) for pattern, template in source.renames)
    names = (match.expand(template) for match, template in matches if match)
    return tuple(dict.fromkeys(name for name in names if name in expected))


def _reason(key: str, source: Source) -> str:
    for pattern, reason in source.unused:
        if re.fullmatch(pattern, key):
            return reason
    raise WeightsError(f"{source.name}: unknown key {key}", "these weights belong to another model")


def _check_filled(plan: ImportPlan, expected: Mapping[str, Shape], source: Source) -> None:
    filled = {target for targets in plan.loaded.values() for target in targets}
    lacking = [
        name
        for name in expected
        if re.fullmatch(source.fills, name) and not re.fullmatch(source.fresh, name) and name not in filled
    ]
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        raise WeightsError(
            f"{source.name} lacks the weights of {lacking[0]}{more}", "these weights belong to another model"
        )


def apply_import(
    model: nn.Module, plan: ImportPlan, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None
) -> None:
    """Fill the model's parameters as planned.

    Args:
        model: on the meta device it takes the tensors over; else they are copied into it.
        plan: of `plan_import`, for this model.
        tensors: by published key.
        dtype: to convert to; None keeps the published one (meta) or the model's own.
    """
    assign = any(parameter.is_meta for parameter in model.parameters())
    filled: dict[str, Tensor] = {}
    for key, targets in plan.loaded.items():
        value = tensors[key] if dtype is None else tensors[key].to(dtype)
        for index, target in enumerate(targets):
            filled[target] = value if index == 0 or not assign else value.clone()
    model.load_state_dict(filled, strict=False, assign=assign)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        WeightsError: it is missing or damaged.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}", "emote download fetches them")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged: {error}", "fetch it again: emote download") from error
    check_finite(tensors, path)
    return tensors


def load_parts(model: nn.Module, folder: Path, parts: Parts, dtype: torch.dtype | None = None) -> None:
    """Fill a model from the published files of a folder.

    Args:
        model: whose parts are filled.
        folder: of the published files.
        parts: file in the folder -> the part that it fills, and the names of its weights.
        dtype: number format of the weights; None: as stored.

    Raises:
        WeightsError: a file is missing, damaged, or does not fit.
    """
    for place, source in parts:
        tensors = read_tensors(folder / place)
        plan = plan_import({key: tuple(value.shape) for key, value in tensors.items()}, model, source)
        apply_import(model, plan, tensors, dtype)


def start_from_sd15(settings: ModelSettings, folder: Path) -> Emo:
    """Build the paper's model before training: SD 1.5 in both U-Nets, AnimateDiff in time, the rest without effect.

    Args:
        settings: of `sd15`, or of a model with its U-Net, VAE and temporal shapes.
        folder: as `emote download sd15` lays it out.

    Raises:
        WeightsError: a file is missing, damaged, or does not fit.
    """
    model = Emo(settings)
    load_parts(model, folder, PARTS["sd15"])
    return model


def load_published(settings: ModelSettings, folder: Path, dtype: torch.dtype = torch.float32) -> Emo:
    """Load a public trained model (`hallo`, `echomimic`), ready to run.

    Args:
        settings: its preset; `settings.name` chooses the files.
        folder: as `emote download` lays it out.
        dtype: of the weights.

    Raises:
        WeightsError: a file is missing, damaged, or does not fit.
    """
    with torch.device("meta"):
        model = Emo(settings)
    load_parts(model, folder, PARTS[settings.name], dtype)
    empty = [name for name, value in model.state_dict().items() if value.is_meta]
    if empty:
        raise WeightsError(
            f"{settings.name}: no file holds {empty[0]} ({len(empty)} missing)", "fetch it again"
        )
    return model.eval()


def load_folder(folder: Path, variant: str | None = None, dtype: torch.dtype = torch.float32) -> Emo:
    """Load a model from its folder: this package's own form, or the published files of `hallo` and `echomimic`.

    Args:
        folder: of the model.
        variant: a preset to use instead of the folder's settings: another set of published files in it.
        dtype: of the weights.

    Raises:
        WeightsError: the weights are missing, damaged or those of another model.
        SettingsError: the settings are missing or invalid.
    """
    settings = load_preset(variant) if variant else load_settings(folder / SETTINGS)
    if variant is None and ((folder / WEIGHTS).is_file() or settings.name not in PUBLISHED_MODELS):
        return load_model(folder).to(dtype)
    return load_published(settings, folder, dtype)
