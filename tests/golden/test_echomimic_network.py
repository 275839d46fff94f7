"""Our Backbone and ReferenceNet against the outputs of EchoMimic's own code."""

import pytest
import torch
from einops import rearrange
from golden_models import agree

from emote_cli.model.adapters.echomimic import EchoMimicQuirks, condition, encode_reference


@torch.no_grad()
def test_banks_and_face_locator(echomimic, load_case):
    description, t = load_case("echomimic_f6")
    tolerance = description["tolerance"]["cfg_bank_fp32"]
    features = echomimic.reference_net(t["in.ref_latents"])
    for key in (key for key in t if key.startswith("out.bank.")):
        site = key.removeprefix("out.bank.").removesuffix(".transformer_blocks.0")
        agree(f"echomimic bank {site}", rearrange(features[site], "b c h w -> b (h w) c"), t[key], tolerance)
    located = echomimic.face_locator(t["in.face_mask"][:, :, 0])
    agree("echomimic face_locator", located, t["out.face_locator"][:, :, 0], tolerance)


@pytest.mark.parametrize("output", ["cfg_published", "cfg_bank_fp32"])
@torch.no_grad()
def test_denoise(echomimic, load_case, output: str):
    description, t = load_case("echomimic_f6")
    quirks = EchoMimicQuirks(half_features=output == "cfg_published")
    both = condition(
        echomimic,
        reference=encode_reference(echomimic, t["in.ref_latents"], quirks),
        audio=t["in.audio"],
        face_region=echomimic.face_locator(t["in.face_mask"][:, :, 0]),
    )
    noisy = rearrange(t["in.noise"], "b c f h w -> b f c h w")
    time = torch.tensor([description["timestep"]])
    out = torch.cat([echomimic(noisy, time, told) for told in (both.unconditional, both.conditional)])
    ours = rearrange(out, "b f c h w -> b c f h w")
    agree(f"echomimic_f6 {output}", ours, t[f"out.{output}"], description["tolerance"][output])
