"""Models at the size of the golden cases, and comparison within a case's own tolerance."""

from pathlib import Path

import torch

from emote_cli.model import loading
from emote_cli.model.adapters.hallo import HalloVideo, assemble, project_reference
from emote_cli.model.conditioning import RegionWeights
from emote_cli.model.emo import Emo
from emote_cli.model.published import echomimic as echomimic_files
from emote_cli.model.published import hallo as hallo_files
from emote_cli.model.published import sd15 as sd15_files
from emote_cli.model.published import source as source_files
from emote_cli.settings import ModelSettings, load_preset

WORST: dict[str, tuple[float, float]] = {}
"""Case and output -> (largest error, largest error in units of its tolerance)."""


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """A table of keys and shapes (`3x5x7`)."""
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:] if line]
    return {row[0]: tuple(int(size) for size in row[1].split("x") if size) for row in rows}


def agree(name: str, ours: torch.Tensor, theirs: torch.Tensor, tolerance: dict[str, object]) -> None:
    """Remember how far we are, and fail where it is too far."""
    error = (ours.double() - theirs.double()).abs()
    allowed = float(tolerance["atol"]) + float(tolerance["rtol"]) * theirs.double().abs()
    WORST[name] = (float(error.max()), float((error / allowed).max()))
    assert ours.shape == theirs.shape, name
    assert WORST[name][1] <= 1, f"{name}: {WORST[name][0]:.2e}, {WORST[name][1]:.1f} times the tolerance"


def _unet(config: dict) -> dict:
    return {
        "block_channels": config["block_out_channels"],
        "attention": ["CrossAttn" in kind for kind in config["down_block_types"]],
        "layers_per_block": config["layers_per_block"],
        "heads": config["attention_head_dim"],
        "norm_groups": config["norm_num_groups"],
    }


def _temporal(kwargs: dict, **frames: int) -> dict:
    return {
        "attention_blocks": len(kwargs["attention_block_types"]),
        "max_frames": kwargs["temporal_position_encoding_max_len"],
        **frames,
    }


def hallo_settings(config: dict) -> ModelSettings:
    """The settings that describe a case's network."""
    preset = load_preset("hallo")
    audio, image, vae = config["audioproj"], config["imageproj"], config["vae"]
    family = preset.family.model_copy(
        update={
            "identity_tokens": image["clip_extra_context_tokens"],
            "identity_width": image["cross_attention_dim"],
            "identity_embedding": image["clip_embeddings_dim"],
        }
    )
    return ModelSettings.model_validate(
        preset.model_dump()
        | {
            "image_size": vae["sample_size"],
            "autoencoder": {
                "block_channels": vae["block_out_channels"],
                "layers_per_block": vae["layers_per_block"],
                "latent_channels": vae["latent_channels"],
                "norm_groups": vae["norm_num_groups"],
            },
            "unet": _unet(config["unet"]),
            "family": family.model_dump(),
            "audio": {
                "layers": audio["blocks"],
                "embed": audio["channels"],
                "margin": audio["seq_len"] // 2,
                "hidden": audio["intermediate_dim"],
                "tokens": audio["context_tokens"],
                "token_width": audio["output_dim"],
            },
            "temporal": _temporal(
                config["unet_additional_kwargs"]["motion_module_kwargs"],
                motion_frames=config["n_motion_frames"],
                chunk_frames=4,
            ),
            "face_locator": {
                "in_channels": config["face_locator"]["conditioning_channels"],
                "channels": config["face_locator"]["block_out_channels"],
            },
        }
    )


def fill(
    model: Emo, source: source_files.Source, keys: dict[str, tuple[int, ...]], recipe, prefix: str, seed: int
) -> None:
    """Fill the model by the rename map, with the recipe's number for every published key."""
    short = {key.removeprefix(prefix): shape for key, shape in keys.items() if key.startswith(prefix)}
    plan = loading.plan_import(short, model, source)
    tensors = {key: torch.from_numpy(recipe.make(prefix + key, short[key], seed)) for key in plan.loaded}
    loading.apply_import(model, plan, tensors)


def hallo_model(description: dict, keys_file: Path, recipe) -> Emo:
    with torch.device("meta"):
        model = Emo(hallo_settings(description["config"]))
    keys = read_shapes(keys_file)
    seed = description["weights"]["seed"]
    net = {key: shape for key, shape in keys.items() if not key.startswith("vae.")}
    fill(model, hallo_files.HALLO_NET, net, recipe, "", seed)
    fill(model, sd15_files.SD_VAE, keys, recipe, "vae.", seed)
    return model.eval()


def _echomimic_settings(
    config: dict, pixels: int, frames: int, vae: dict, channels: list[int]
) -> ModelSettings:
    preset = load_preset("echomimic")
    width = config["additional"]["cross_attention_dim"]
    return ModelSettings.model_validate(
        preset.model_dump()
        | {
            "image_size": pixels,
            "autoencoder": vae,
            "unet": _unet(config["unet"]),
            "audio": preset.audio.model_dump() | {"embed": width, "token_width": width},
            "temporal": _temporal(config["additional"]["motion_module_kwargs"], chunk_frames=frames),
            "face_locator": {"in_channels": 1, "channels": channels},
        }
    )


def echomimic_model(
    description: dict, folder: Path, recipe, seed: int, frames: int, vae: dict | None = None
) -> Emo:
    """EchoMimic at the size of a case.

    Args:
        description: the case's.
        folder: holds the tables of keys.
        recipe: makes the weights.
        seed: of the weights.
        frames: of a window.
        vae: config of the autoencoder; None where no case runs it.
    """
    keys = read_shapes(folder / "keys_tiny_echomimic.tsv")
    locator = [
        shape[0] for key, shape in keys.items() if key.startswith("echo_face_locator.") and len(shape) == 4
    ]
    pixels = vae["sample_size"] if vae else description["entries"]["in.face_mask"][-1]
    shape = vae or {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1, "norm_num_groups": 32}
    autoencoder = {
        "block_channels": shape["block_out_channels"],
        "layers_per_block": shape["layers_per_block"],
        "norm_groups": shape["norm_num_groups"],
    }
    settings = _echomimic_settings(description["config"], pixels, frames, autoencoder, locator[0:-1:2])
    with torch.device("meta"):
        model = Emo(settings)
    motion = {key: shape for key, shape in keys.items() if "motion_modules" in key}
    rest = {key: shape for key, shape in keys.items() if "motion_modules" not in key}
    fill(model, echomimic_files.ECHOMIMIC_DENOISING, rest, recipe, "echo_denoising_unet.", seed)
    fill(model, echomimic_files.ECHOMIMIC_MOTION, motion, recipe, "echo_denoising_unet.", seed)
    fill(model, echomimic_files.ECHOMIMIC_REFERENCE, rest, recipe, "echo_reference_unet.", seed)
    fill(model, echomimic_files.ECHOMIMIC_FACE_LOCATOR, rest, recipe, "echo_face_locator.", seed)
    if vae is None:
        model.autoencoder = model.autoencoder.to_empty(device="cpu")
    else:
        fill(model, sd15_files.SD_VAE, read_shapes(folder / "keys_tiny.tsv"), recipe, "vae.", seed)
    return model.eval()


def published_wav2vec(config: dict, make):
    """transformers' wav2vec2 of today, filled by `make(key, shape)` from the published key names."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    model = Wav2Vec2Model(Wav2Vec2Config(**config))
    published = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    tensors = {}
    for key, value in model.state_dict().items():
        name = next((key.replace(new, old) for new, old in published.items() if new in key), key)
        tensors[key] = torch.from_numpy(make(name, tuple(value.shape)))
    model.load_state_dict(tensors)
    return model


def regions(tensors, scales=(1.0, 1.0, 1.0)) -> RegionWeights:
    """The masks of a case, by level."""
    levels = len([key for key in tensors if key.startswith("in.mask.full.")])
    masks = tuple(
        torch.cat([tensors[f"in.mask.{branch}.{level}"] for branch in ("full", "face", "lip")])
        for level in range(levels)
    )
    return RegionWeights(masks, scales)


def hallo_chunk(model: Emo, features, identity, nobody, audio, face_region, regions, quirks):
    """What a chunk's steps are told, from all of ReferenceNet's rows as Hallo's own code has them."""
    halves = 1 if nobody is None else 2
    rows = len(next(iter(features.values())))
    count = rows // halves
    reference = {site: maps[::count] for site, maps in features.items()}
    motion = {site: maps[[row for row in range(rows) if row % count]] for site, maps in features.items()}
    projected = project_reference(model, reference, audio.shape[1], quirks)
    video = HalloVideo(reference, projected, identity, nobody, face_region, regions, quirks)
    return assemble(model, video, motion, audio)
