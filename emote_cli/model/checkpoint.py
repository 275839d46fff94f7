"""Saving and loading: a folder with settings.yaml and model.safetensors. It needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from emote_cli.errors import WeightsError
from emote_cli.model.emo import Emo
from emote_cli.settings import ModelSettings, load_settings
from emote_cli.settings_tree import save_settings

WEIGHTS = "model.safetensors"
SETTINGS = "settings.yaml"


def save_model(model: Emo, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write settings and weights into an existing folder.

    Args:
        model: what to save.
        folder: where to.
        dtype: of the saved numbers; None keeps each one's own.
    """
    save_settings(model.settings, folder / SETTINGS)
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous() for name, value in model.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS)


def load_model(folder: Path) -> Emo:
    """Build the model that a folder describes, with its weights, in fp32 on the CPU.

    Raises:
        WeightsError: the weights are missing, damaged or those of another model.
        SettingsError: the settings are missing or invalid.
    """
    settings = load_settings(folder / SETTINGS)
    path = folder / WEIGHTS
    if not path.is_file():
        raise WeightsError(
            f"no weights at {path}", "a model folder holds settings.yaml and model.safetensors"
        )
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged: {error}", "fetch or train it again") from error
    with torch.device("meta"):
        model = Emo(settings)
    _check_keys(model, tensors, path)
    check_finite(tensors, path)
    model.load_state_dict({name: value.float() for name, value in tensors.items()}, assign=True)
    return model.eval()


def _check_keys(model: Emo, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Every key is there, none is left over, every shape fits."""
    expected = {name: value.shape for name, value in model.state_dict().items()}
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    wrong = sorted(name for name in expected.keys() & tensors.keys() if expected[name] != tensors[name].shape)
    for problem, names in (("lacks", missing), ("has the unknown", extra), ("has another shape of", wrong)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WeightsError(f"{path} {problem} {names[0]}{more}", "the weights belong to another model")


def check_finite(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse weights that are no numbers: every frame made with them would be black, or noise.

    Raises:
        WeightsError: names the first tensor that holds one.
    """
    for name, values in tensors.items():
        if values.is_floating_point() and not torch.isfinite(values).all():
            raise WeightsError(f"{path} holds no numbers in {name}", "fetch or train it again")


def random_model(settings: ModelSettings, seed: int = 0) -> Emo:
    """Build a model with random weights that depend on the seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Emo(settings).eval()
