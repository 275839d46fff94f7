"""Every key that the preset of a model sets does something: it changes a weight's shape or the frames."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_models import build

from emote_cli.animation.animator import Animator
from emote_cli.animation.bench import invent_scene
from emote_cli.animation.device import Precision
from emote_cli.animation.finishing import show_frames
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.runtime import Runtime
from emote_cli.errors import SettingsError
from emote_cli.model.emo import Emo
from emote_cli.settings import ModelSettings, load_preset
from emote_cli.settings_tree import override

ROOT = Path(__file__).parent.parent

SHAPED = {
    "audio.embed": "24",
    "audio.encoder": "wav2vec2",
    "audio.hidden": "24",
    "audio.token_width": "24",
    "audio.tokens": "7",
    "autoencoder.block_channels": "[8, 24]",
    "autoencoder.kind": "motion",
    "autoencoder.latent_channels": "6",
    "autoencoder.layers_per_block": "2",
    "autoencoder.patch": "1",
    "face_locator.channels": "[4, 8, 12]",
    "face_locator.in_channels": "3",
    "family.audio": "audio_module",
    "family.identity_tokens": "3",
    "family.reference": "joined",
    "family.reference_latents": "false",
    "family.speed_layers": "false",
    "family.temporal_sites": "attention",
    "speed.buckets": "7",
    "speed.width": "12",
    "temporal.attention_blocks": "2",
    "unet.attention": "[true, false]",
    "unet.block_channels": "[16, 48]",
    "unet.feed_forward_mult": "3",
    "unet.layers_per_block": "2",
}
"""Key -> another value: it changes the shape of a weight, or which weights there are."""

SEEN = {
    "aids.articulation": "2.0",
    "audio.layers": "8",
    "audio.margin": "3",
    "autoencoder.norm_groups": "2",
    "autoencoder.scaling_factor": "0.5",
    "aids.detail_transfer": "true",
    "diffusion.beta_schedule": "linear",
    "diffusion.guidance": "2.0",
    "diffusion.objective": "sample",
    "diffusion.shared_noise": "1.0",
    "diffusion.steps": "3",
    "family.audio_ratio": "3.0",
    "fps": "20",
    "head_speed": "1.2",
    "aids.idle_motion": "true",
    "image_size": "64",
    "temporal.chunk_frames": "4",
    "temporal.motion_frames": "1",
    "unet.heads": "4",
    "unet.norm_groups": "4",
}
"""Key -> another value: the same weights make other frames."""

NEEDED = {
    "family.audio_ratio": ("family.audio=text_slot",),
    "diffusion.beta_schedule": ("diffusion.steps=3",),
    "family.temporal_sites": ("unet.attention=[true, false]",),
}
"""Key -> what the model must be for the key to count."""

ELSEWHERE = {
    "family.long_video": "animation/test_schemes.py::test_each_family_has_its_scheme",
    "family.motion_mask": "animation/test_schemes.py::test_hallo_2_shows_its_network_a_masked_past",
    "name": "training/test_cli.py::test_all_stages_in_one_command",
    "temporal.max_frames": "test_presets.py::test_more_frames_need_more_positions",
}
"""Key -> the test that shows what it does."""


def dotted(values: Mapping, prefix: str = "") -> set[str]:
    keys = set()
    for name, value in values.items():
        keys |= dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name}
    return keys


def test_every_key_of_a_preset_is_shown_to_matter():
    files = [
        file for file in (ROOT / "emote_cli/presets").glob("*.yaml") if not file.name.startswith("train-")
    ]
    keys = set().union(*(dotted(yaml.safe_load(file.read_text())) for file in files))
    assert len(keys) > 40
    assert keys == SHAPED.keys() | SEEN.keys() | ELSEWHERE.keys()


def shapes(settings: ModelSettings) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: value.shape for name, value in Emo(settings).named_parameters()}


@pytest.mark.parametrize("key", SHAPED)
def test_the_weights_have_other_shapes(key):
    tiny = override(load_preset("tiny"), list(NEEDED.get(key, ())))
    changes = [f"{key}={SHAPED[key]}"]
    if key == "autoencoder.patch":  # a latent cell has fewer pixels then
        changes.append("face_locator.channels=[4, 8]")
    values = tiny.model_dump()
    for change in changes:
        place, value = change.split("=")
        folder, leaf = place.split(".")
        values[folder][leaf] = yaml.safe_load(value)
    assert shapes(ModelSettings.model_validate(values)) != shapes(tiny)


def frames(settings: ModelSettings) -> np.ndarray:
    """Seven frames or so, from weights that depend on their shapes only."""
    animator = Animator(Runtime(build(settings), torch.device("cpu"), Precision(torch.float32)))
    return np.stack(list(show_frames(animator, invent_scene(settings, 2), AnimateOptions(seed=1))))


@pytest.mark.parametrize("key", SEEN)
def test_the_frames_are_others(key):
    plain = override(load_preset("tiny"), list(NEEDED.get(key, ())))
    changed = override(plain, [f"{key}={SEEN[key]}"])
    assert shapes(changed) == shapes(plain)
    one, other = frames(plain), frames(changed)
    assert one.shape != other.shape or not np.array_equal(one, other)


def test_more_frames_need_more_positions():
    with pytest.raises(SettingsError, match="max_frames"):
        override(load_preset("tiny"), ["temporal.max_frames=6"])


@pytest.mark.parametrize("place", sorted(ELSEWHERE.values()))
def test_the_tests_that_are_named_are_there(place):
    file, _, name = place.partition("::")
    assert f"def {name}(" in (ROOT / "tests" / file).read_text()
