"""Every published key is loaded with its shape, or named as unused with the reason, at full size."""

import pytest
import torch
from golden_models import read_shapes

from emote_cli.errors import WeightsError
from emote_cli.model import loading
from emote_cli.model.emo import Emo
from emote_cli.model.published import sd15 as sd15_files
from emote_cli.settings import load_preset


@pytest.fixture(scope="module")
def manifest(shared):
    return lambda name: read_shapes(shared / "golden" / "manifests" / f"{name}.tsv")


@pytest.fixture(scope="module")
def sd15() -> Emo:
    with torch.device("meta"):
        return Emo(load_preset("sd15"))


def covered(plan: loading.ImportPlan, published: dict) -> set[str]:
    assert plan.loaded.keys() | plan.unused.keys() == published.keys()
    assert not plan.loaded.keys() & plan.unused.keys()
    assert all(plan.unused.values())
    return {target for targets in plan.loaded.values() for target in targets}


def test_sd15_unet(manifest, sd15):
    published = manifest("sd15_unet_diffusers")
    plan = loading.plan_import(published, sd15, sd15_files.SD15_UNET)
    filled = covered(plan, published)
    assert all(".attn2." in key or ".transformer_blocks.0.norm2." in key for key in plan.unused)
    assert len(plan.unused) == 16 * 7  # per site: q, k, v, out weight and bias, norm weight and bias
    fresh = {name for name in sd15.state_dict() if name.startswith("backbone.")} - filled
    kinds = (".temporal_transformer.", ".speed_attn.", ".speed_norm.", ".audio_attn.", ".audio_norm.")
    assert all(any(kind in name for kind in kinds) for name in fresh)
    assert plan.loaded["conv_in.weight"] == ("backbone.conv_in.weight", "reference_net.conv_in.weight")
    assert plan.loaded["conv_out.weight"] == ("backbone.conv_out.weight",)
    block = "down_blocks.1.attentions.0.transformer_blocks.0"
    assert f"backbone.{block}.reference_attn.to_k.weight" in plan.loaded[f"{block}.attn1.to_k.weight"]


def test_animatediff(manifest, sd15):
    published = manifest("animatediff_mm_sd_v15_v2_ckpt")
    plan = loading.plan_import(published, sd15, sd15_files.ANIMATEDIFF)
    filled = covered(plan, published)
    assert filled == {name for name in sd15.state_dict() if ".temporal_transformer." in name}
    assert len(plan.unused) == 42
    assert all(key.endswith(".pos_encoder.pe") for key in plan.unused)
    parallel = {f"module.{key}": shape for key, shape in published.items()}
    assert len(loading.plan_import(parallel, sd15, sd15_files.ANIMATEDIFF).loaded) == len(plan.loaded)


@pytest.mark.parametrize("layout", ["sd_vae_ft_mse_diffusers", "sd_vae_ft_mse_legacy_keys"])
def test_vae(manifest, sd15, layout):
    published = manifest(layout)
    plan = loading.plan_import(published, sd15, sd15_files.SD_VAE)
    assert covered(plan, published) == {name for name in sd15.state_dict() if name.startswith("autoencoder.")}
    assert not plan.unused


def test_wav2vec2(manifest):
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with torch.device("meta"):
        model = Wav2Vec2Model(Wav2Vec2Config())
    ours = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert ours == manifest("wav2vec2_base_960h_transformers5")


def test_nothing_else_is_left_to_chance(manifest, sd15):
    """What no published file fills is EMO's own: it starts fresh."""
    filled = set()
    for name, source in (
        ("sd15_unet_diffusers", sd15_files.SD15_UNET),
        ("animatediff_mm_sd_v15_v2_ckpt", sd15_files.ANIMATEDIFF),
        ("sd_vae_ft_mse_diffusers", sd15_files.SD_VAE),
    ):
        plan = loading.plan_import(manifest(name), sd15, source)
        filled |= {target for targets in plan.loaded.values() for target in targets}
    own = (
        "audio_projector.",
        "speed_encoder.",
        "face_locator.",
        ".audio_attn.",
        ".audio_norm.",
        ".speed_attn.",
        ".speed_norm.",
    )
    for name in sd15.state_dict().keys() - filled:
        assert any(part in name for part in own), name


def test_a_strange_file_is_refused(manifest, sd15):
    published = manifest("sd15_unet_diffusers")
    with pytest.raises(WeightsError, match="unknown key surprise"):
        loading.plan_import(published | {"surprise": (3,)}, sd15, sd15_files.SD15_UNET)
    lacking = {key: shape for key, shape in published.items() if key != "conv_in.weight"}
    with pytest.raises(WeightsError, match=r"lacks the weights of .*conv_in\.weight"):
        loading.plan_import(lacking, sd15, sd15_files.SD15_UNET)
    with pytest.raises(WeightsError, match=r"conv_in\.bias has shape \(7,\)"):
        loading.plan_import(published | {"conv_in.bias": (7,)}, sd15, sd15_files.SD15_UNET)


def test_missing_files_are_named(tmp_path, sd15):
    with pytest.raises(WeightsError, match=r"no weights at .*unet"):
        loading.load_parts(sd15, tmp_path, loading.PARTS["sd15"])
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(WeightsError, match="damaged"):
        loading.load_parts(sd15, tmp_path, loading.PARTS["sd15"])
