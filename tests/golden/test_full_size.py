"""At full size, on the meta device: every published key accounted for, and the cost of a denoising step."""

import pytest
import torch
from golden_models import WORST, read_shapes
from torch.utils.flop_counter import FlopCounterMode

from emote_cli.model import imports
from emote_cli.model.adapters.hallo import HalloQuirks, assemble, encode_pictures
from emote_cli.model.conditioning import RegionWeights
from emote_cli.model.emo import Emo
from emote_cli.settings import load_preset

HALLO_STEP_TFLOP = 53.95
"""Hallo's own code, one denoising step with guidance at 512x512 (public-checkpoints.md)."""


def meta(name: str) -> Emo:
    with torch.device("meta"):
        return Emo(load_preset(name)).eval()


@pytest.fixture(scope="module")
def full_hallo() -> Emo:
    return meta("hallo")


@pytest.fixture(scope="module")
def full_echomimic() -> Emo:
    return meta("echomimic")


def everything_filled(model: Emo, plans: list[imports.ImportPlan]) -> None:
    filled = {target for plan in plans for targets in plan.loaded.values() for target in targets}
    assert model.state_dict().keys() == filled


def test_hallo_keys(manifests, full_hallo):
    published = read_shapes(manifests / "hallo_net_pth.tsv")
    vae = read_shapes(manifests / "sd_vae_ft_mse_diffusers.tsv")
    plan = imports.plan_import(published, full_hallo, imports.HALLO_NET)
    assert plan.loaded.keys() | plan.unused.keys() == published.keys()
    assert all(len(targets) == 1 for targets in plan.loaded.values())
    everything_filled(full_hallo, [plan, imports.plan_import(vae, full_hallo, imports.SD_VAE)])
    never_run = [key for key, reason in plan.unused.items() if "never runs" in reason]
    numbers = sum(torch.Size(published[key]).numel() for key in never_run if not key.endswith(".pe"))
    assert numbers == 180_358_400
    behind = [key for key, reason in plan.unused.items() if reason == imports.BEHIND_LAST_TAP]
    assert len(behind) == 20
    tables = [key for key in plan.unused if key.endswith(".pe") and key not in never_run]
    assert len(plan.unused) == len(never_run) + len(behind) + len(tables)


def test_echomimic_keys(manifests, full_echomimic):
    files = {
        "echomimic_denoising_unet_pth": imports.ECHOMIMIC_DENOISING,
        "echomimic_reference_unet_pth": imports.ECHOMIMIC_REFERENCE,
        "echomimic_motion_module_pth": imports.ECHOMIMIC_MOTION,
        "echomimic_face_locator_pth": imports.ECHOMIMIC_FACE_LOCATOR,
        "sd_vae_ft_mse_diffusers": imports.SD_VAE,
    }
    plans = []
    for file, source in files.items():
        published = read_shapes(manifests / f"{file}.tsv")
        plans.append(imports.plan_import(published, full_echomimic, source))
        assert plans[-1].loaded.keys() | plans[-1].unused.keys() == published.keys()
    everything_filled(full_echomimic, plans)
    assert [len(plan.unused) for plan in plans] == [0, 13, 42, 0, 0]
    whole = read_shapes(
        manifests / "echomimic_denoising_unet_model.tsv"
    )  # a file that also holds the motion module
    assert imports.plan_import(whole, full_echomimic, imports.ECHOMIMIC_DENOISING).loaded == plans[0].loaded


@torch.no_grad()
def test_cost_of_a_step(full_hallo):
    """No more than Hallo's own: the unconditional half computes no reference attention to throw away."""
    settings, quirks = full_hallo.settings, HalloQuirks()
    frames, cells = settings.temporal.chunk_frames, settings.latent_size
    with torch.device("meta"):
        tokens = torch.zeros(1, settings.family.identity_tokens, settings.family.identity_width)
        masks = tuple(torch.zeros(3, (cells // 2**level) ** 2) for level in range(4))
        audio = torch.zeros(1, frames, settings.audio.tokens, settings.audio.token_width)
        pictures = torch.zeros(1 + settings.temporal.motion_frames, 4, cells, cells)
        noisy, time = torch.zeros(1, frames, 4, cells, cells), torch.zeros(1, dtype=torch.long)
    features = encode_pictures(full_hallo, pictures, tokens, tokens, quirks)
    both = assemble(
        full_hallo, features, identity=tokens, nobody=tokens, audio=audio, face_region=None,
        regions=RegionWeights(masks), quirks=quirks,
    )  # fmt: skip
    with FlopCounterMode(display=False) as counter:
        full_hallo(noisy, time, both.unconditional)
        full_hallo(noisy, time, both.conditional)
    tflop = counter.get_total_flops() / 1e12
    WORST["TFLOP of a step, share of the original's"] = (tflop, tflop / HALLO_STEP_TFLOP)
    assert 0.8 * HALLO_STEP_TFLOP < tflop <= HALLO_STEP_TFLOP
