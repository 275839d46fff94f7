"""With reference, audio and time off, the Backbone is SD 1.5's U-Net without text."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from small_models import randomize

from emote_cli.model.backbone import Backbone
from emote_cli.model.conditioning import Conditioning
from emote_cli.model.loading import apply_import, plan_import
from emote_cli.model.published.sd15 import SD15_UNET
from emote_cli.model.reference_net import ReferenceNet
from emote_cli.settings import FamilySettings, TemporalSettings, UNetSettings

WIDTHS = (32, 64, 96, 96)
HEADS = 8


class TwoNets(torch.nn.Module):
    """The parts of Emo that SD 1.5 fills."""

    def __init__(self) -> None:
        super().__init__()
        shape = UNetSettings(block_channels=WIDTHS, heads=HEADS)
        family, temporal = FamilySettings(), TemporalSettings()
        self.backbone = Backbone(
            latent_channels=4, shape=shape, family=family, temporal=temporal, audio_width=24, speed_width=16
        )
        self.reference_net = ReferenceNet(latent_channels=4, shape=shape, family=family)


@pytest.fixture(scope="module")
def theirs() -> UNet2DConditionModel:
    unet = UNet2DConditionModel(
        block_out_channels=WIDTHS,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        attention_head_dim=HEADS,
        cross_attention_dim=40,
    ).eval()
    randomize(unet)
    for name, parameter in unet.named_parameters():
        if ".attn2.to_out." in name:
            torch.nn.init.zeros_(parameter)
    return unet


@pytest.fixture(scope="module")
def ours(theirs) -> TwoNets:
    nets = TwoNets().eval()
    tensors = theirs.state_dict()
    plan = plan_import({key: tuple(value.shape) for key, value in tensors.items()}, nets, SD15_UNET)
    apply_import(nets, plan, tensors)
    return nets


@torch.no_grad()
def test_backbone_equals_diffusers(ours, theirs):
    noisy, time = torch.randn(2, 3, 4, 16, 8), torch.tensor([41, 907])
    out = ours.backbone(noisy, time, Conditioning(temporal=False))
    text = torch.randn(6, 7, 40)
    expected = theirs(noisy.flatten(0, 1), time.repeat_interleave(3), text).sample
    assert expected.std() > 0.1
    torch.testing.assert_close(out.flatten(0, 1), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_temporal_and_audio_parts_start_without_effect(ours, theirs):
    noisy, time = torch.randn(1, 5, 4, 8, 16), torch.tensor([500])
    told = Conditioning(audio=torch.randn(1, 5, 3, 24), speed=torch.randn(1, 5, 16))
    expected = theirs(noisy[0], time.repeat(5), torch.zeros(5, 1, 40)).sample
    torch.testing.assert_close(ours.backbone(noisy, time, told)[0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_reference_net_gives_what_diffusers_self_attentions_see(ours, theirs):
    seen: dict[str, torch.Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out))
        for name, module in theirs.named_modules()
        if name.endswith(".transformer_blocks.0.norm1")
    ]
    pictures = torch.randn(2, 4, 16, 8)
    theirs(pictures, torch.zeros(2, dtype=torch.long), torch.randn(2, 3, 40))
    for handle in handles:
        handle.remove()
    features = ours.reference_net(pictures)
    assert len(features) == len(seen) == 16
    for site, maps in features.items():
        tokens = maps.flatten(2).transpose(1, 2)
        torch.testing.assert_close(tokens, seen[f"{site}.transformer_blocks.0.norm1"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_reference_attention_starts_as_self_attention(ours):
    for site in ours.backbone.sites().values():
        for name, value in site.block.attn1.state_dict().items():
            assert torch.equal(value, site.block.reference_attn.state_dict()[name])
        assert torch.equal(site.block.norm1.weight, site.block.reference_norm.weight)
