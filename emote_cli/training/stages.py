"""What trains in each stage: one table (paper 3.3).

Before them `vae`, which the paper does not need: an autoencoder of the model's own.
Stage 1 `image`: single frames; Backbone, ReferenceNet and FaceLocator learn the picture.
Stage 2 `video`: windows of n + f frames; TemporalModules and audio layers are added.
Stage 3 `speed`: TemporalModules and speed layers only. Audio layers stay as they are: speed and speech go
together, and trained with the speed they would hand over control to it.
Then `distill`, which the paper does not have: the whole learns to take few steps (objectives/distill.py).
"""

from __future__ import annotations

import re

from torch import nn

from emote_cli.errors import TrainingError
from emote_cli.training.settings import StageName

PARTS: dict[str, str] = {
    "temporal": r"^backbone\..*\.temporal_transformer\.",
    "speed": r"^speed_encoder\.|^backbone\..*\.speed_(attn|norm)\.",
    "audio": r"^audio_projector\.|^backbone\..*\.(audio_attn|audio_norm|audio_modules)\b",
    "spatial": r"^(backbone|reference_net|face_locator)\.",
    "autoencoder": r"^(autoencoder|painter)\.",
}
"""Part -> pattern over parameter names; the first match counts: `spatial` is what is left of the U-Nets."""

STAGES: dict[StageName, tuple[str, ...]] = {
    "vae": (),
    "image": ("spatial",),
    "video": ("temporal", "audio"),
    "speed": ("temporal", "speed"),
    "distill": ("spatial", "temporal", "audio", "speed"),
}
"""Stage -> parts that train, for a model that starts from SD 1.5 (the paper)."""

STAGES_WITHOUT_PRIOR: dict[StageName, tuple[str, ...]] = {
    "vae": ("autoencoder",),
    "image": ("spatial", "audio"),
    "video": ("spatial", "temporal", "audio"),
    "speed": ("temporal", "speed"),
    "distill": ("spatial", "temporal", "audio", "speed"),
}
"""The same for a model that has no SD prior to keep (the mini): all parts train in the first two stages."""

NUMBERS: dict[str, StageName] = {"1": "image", "2": "video", "3": "speed"}


def part_of(name: str) -> str | None:
    """Find the part that a parameter belongs to; None for what no stage trains."""
    return next((part for part, pattern in PARTS.items() if re.search(pattern, name)), None)


def trainable_names(
    model: nn.Module,
    stage: StageName,
    *,
    prior: bool,
    unfreeze: tuple[str, ...] = (),
    freeze: tuple[str, ...] = (),
) -> list[str]:
    """List the names of the parameters that a stage trains.

    Args:
        model: an Emo.
        stage: one of `STAGES`.
        prior: whether the U-Nets start from SD 1.5 (then stages 2 and 3 leave them alone).
        unfreeze: regular expressions over parameter names that train as well.
        freeze: regular expressions over parameter names that do not train.

    Raises:
        TrainingError: the stage trains nothing of such a model, or a pattern is no regular expression or matches
            nothing.
    """
    parts = (STAGES if prior else STAGES_WITHOUT_PRIOR)[stage]
    if not parts:
        raise TrainingError("models that start from SD 1.5 keep its autoencoder", "begin with --stage 1")
    names = [name for name, _ in model.named_parameters()]
    chosen = {name for name in names if part_of(name) in parts}
    for pattern in unfreeze:
        chosen |= match_names(names, pattern, "--unfreeze ")
    for pattern in freeze:
        chosen -= match_names(names, pattern, "freeze=")
    return [name for name in names if name in chosen]


def match_names(names: list[str], pattern: str, option: str) -> set[str]:
    """Find the names that a pattern matches.

    Args:
        names: of parameters.
        pattern: regular expression; it may match anywhere in a name.
        option: that gave it, with its equals sign, for the error.

    Raises:
        TrainingError: it is no regular expression or matches nothing.
    """
    try:
        found = {name for name in names if re.search(pattern, name)}
    except re.error as error:
        raise TrainingError(f"{option}{pattern}: {error}", "give a regular expression") from error
    if not found:
        raise TrainingError(
            f"{option}{pattern} matches no parameter", "names look like backbone.conv_in.weight"
        )
    return found


def freeze_for(
    model: nn.Module,
    stage: StageName,
    *,
    prior: bool,
    unfreeze: tuple[str, ...] = (),
    freeze: tuple[str, ...] = (),
) -> list[nn.Parameter]:
    """Set requires_grad of every parameter for a stage and return those that train.

    Raises:
        TrainingError: see `trainable_names`.
    """
    chosen = set(trainable_names(model, stage, prior=prior, unfreeze=unfreeze, freeze=freeze))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
