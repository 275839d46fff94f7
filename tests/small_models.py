"""Small models and made-up batches with prime-sized axes, for tests of the network and of training."""

import pytest
import torch
from torch import nn

from emote_cli.data.dataset import TrainingExample
from emote_cli.model.emo import Emo
from emote_cli.settings import FamilySettings, ModelSettings, load_preset

ROWS, FRAMES = 3, 5
HEIGHT, WIDTH = 6, 10  # of latents: even, since the small U-Net halves them once
MASK_SCALE = 4

FAMILIES = pytest.mark.parametrize(
    ("family", "rows", "in_turn"),
    [
        ({"reference": "own_attention", "reference_latents": False}, 1, False),
        ({"reference": "joined", "reference_latents": False}, 1, False),
        ({"reference": "joined", "reference_latents": False}, 2, True),
    ],
    ids=["paper", "echomimic", "hallo"],
)
"""Runs a test once per way of using the reference: the family, rows of the reference, in turn or at once."""


def tiny_settings(**family: object) -> ModelSettings:
    """The `tiny` preset, with another family where one is named."""
    settings = load_preset("tiny")
    return settings.model_copy(update={"family": FamilySettings(**family)}) if family else settings


def paper_settings() -> ModelSettings:
    """`tiny` widths in the paper's form: no reference latents beside the noise, as `sd15`."""
    return tiny_settings(reference_latents=False)


def hallo_settings(motion_frames: int = 2) -> ModelSettings:
    """Hallo's family, small: an audio module, identity tokens, motion frames."""
    preset = load_preset("hallo").model_dump()
    changes = {
        "image_size": 32,
        "autoencoder": {"block_channels": [8, 8, 8, 8], "layers_per_block": 1, "norm_groups": 4},
        "unet": {
            "block_channels": [8, 16], "attention": [True, False], "layers_per_block": 1, "heads": 2, "norm_groups": 4,
        },
        "family": preset["family"] | {"identity_tokens": 3, "identity_width": 5, "identity_embedding": 7},
        "audio": preset["audio"] | {"layers": 2, "embed": 6, "hidden": 5, "tokens": 3, "token_width": 8},
        "temporal": preset["temporal"] | {"motion_frames": motion_frames, "chunk_frames": 5},
    }  # fmt: skip
    return ModelSettings.model_validate(preset | changes)


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Fill every parameter, those that start at zero included; activations stay of order one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                value = value * parameter[0].numel() ** -0.5
            else:
                value = 1 + 0.2 * value if name.endswith("weight") else 0.1 * value
            parameter.copy_(value)
    return model


def build(settings: ModelSettings | None = None, *, random: bool = True, seed: int = 0) -> Emo:
    """A model on the CPU with random weights, or (random=False) as it is initialized."""
    torch.manual_seed(seed)
    model = Emo(settings or paper_settings()).eval()
    return randomize(model, seed) if random else model


def make_batch(
    settings: ModelSettings, *, rows: int = ROWS, frames: int = FRAMES, seed: int = 1
) -> TrainingExample:
    """A batch of random numbers of every kind that training and animation feed."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    channels, audio = settings.autoencoder.latent_channels, settings.audio
    return TrainingExample(
        target=random(rows, frames, channels, HEIGHT, WIDTH),
        motion=random(rows, settings.temporal.motion_frames, channels, HEIGHT, WIDTH),
        has_motion=torch.ones(rows, dtype=torch.bool),
        reference=random(rows, channels, HEIGHT, WIDTH),
        audio=random(rows, frames, audio.window, audio.layers, audio.embed),
        face_region=(random(rows, 1, MASK_SCALE * HEIGHT, MASK_SCALE * WIDTH) > 0).float(),
        speed=random(rows, frames, 2 * settings.speed.margin + 1).abs(),
        weight=torch.ones(rows, frames, 1, HEIGHT, WIDTH),
    )


def condition(model: Emo, batch: TrainingExample, **changes: object):
    """The model's own conditioning of a batch; `changes` replace arguments of Emo.condition."""
    arguments = {
        "motion": batch.motion,
        "audio": batch.audio,
        "face_region": batch.face_region,
        "speed": batch.speed,
    }
    return model.condition(reference=model.encode_reference(batch.reference), **(arguments | changes))


def timesteps(rows: int = ROWS) -> torch.Tensor:
    """One timestep per batch row, all different."""
    return torch.tensor([37, 501, 998, 251, 749][:rows])
