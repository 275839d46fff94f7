"""What trains in each stage: one table (paper 3.3; emo-paper's section 1.9).

Stage 1 `image`: single frames; Backbone, ReferenceNet and FaceLocator learn the picture.
Stage 2 `video`: windows of n + f frames; TemporalModules and audio layers are added.
Stage 3 `speed`: TemporalModules and speed layers only. Audio layers stay as they are: speed and speech go
together, and trained with the speed they would hand over control to it.
Then `distill`, which the paper does not have: the whole learns to take few steps (distill.py).
"""

from __future__ import annotations

import re
from typing import Literal

from torch import nn

from emote_cli.errors import TrainingError

Stage = Literal["image", "video", "speed", "distill"]

PARTS: dict[str, str] = {
    "temporal": r"^backbone\..*\.temporal_transformer\.",
    "speed": r"^speed_encoder\.|^backbone\..*\.speed_(attn|norm)\.",
    "audio": r"^audio_projector\.|^backbone\..*\.(audio_attn|audio_norm|audio_modules)\b",
    "spatial": r"^(backbone|reference_net|face_locator)\.",
}
"""Part -> pattern over parameter names; the first match counts: `spatial` is what is left of the U-Nets."""

STAGES: dict[Stage, tuple[str, ...]] = {
    "image": ("spatial",),
    "video": ("temporal", "audio"),
    "speed": ("temporal", "speed"),
    "distill": ("spatial", "temporal", "audio", "speed"),
}
"""Stage -> parts that train, for a model that starts from SD 1.5 (the paper)."""

STAGES_WITHOUT_PRIOR: dict[Stage, tuple[str, ...]] = {
    "image": ("spatial", "audio"),
    "video": ("spatial", "temporal", "audio"),
    "speed": ("temporal", "speed"),
    "distill": ("spatial", "temporal", "audio", "speed"),
}
"""The same for a model that has no SD prior to keep (the mini): all parts train in the first two stages."""

NUMBERS: dict[str, Stage] = {"1": "image", "2": "video", "3": "speed"}


def part_of(name: str) -> str | None:
    """The part that a parameter belongs to; None for the frozen autoencoder."""
    return next((part for part, pattern in PARTS.items() if re.search(pattern, name)), None)


def trainable_names(
    model: nn.Module, stage: Stage, *, prior: bool, unfreeze: tuple[str, ...] = ()
) -> list[str]:
    """Names of the parameters that a stage trains.

    Args:
        model: an Emo.
        stage: image, video, speed or distill.
        prior: whether the U-Nets start from SD 1.5 (then stages 2 and 3 leave them alone).
        unfreeze: regular expressions over parameter names that train as well.

    Raises:
        TrainingError: an `unfreeze` pattern is no regular expression or matches nothing.
    """
    parts = (STAGES if prior else STAGES_WITHOUT_PRIOR)[stage]
    names = [name for name, _ in model.named_parameters()]
    chosen = {name for name in names if part_of(name) in parts}
    for pattern in unfreeze:
        try:
            more = {name for name in names if re.search(pattern, name)}
        except re.error as error:
            raise TrainingError(f"--unfreeze {pattern}: {error}", "give a regular expression") from error
        if not more:
            raise TrainingError(
                f"--unfreeze {pattern} matches no parameter", "names look like backbone.conv_in.weight"
            )
        chosen |= more
    return [name for name in names if name in chosen]


def freeze_for(
    model: nn.Module, stage: Stage, *, prior: bool, unfreeze: tuple[str, ...] = ()
) -> list[nn.Parameter]:
    """Set requires_grad of every parameter for a stage and return those that train."""
    chosen = set(trainable_names(model, stage, prior=prior, unfreeze=unfreeze))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
