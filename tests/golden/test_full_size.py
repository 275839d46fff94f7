"""At full size, on the meta device: every published key accounted for, and the cost of a denoising step."""

import weakref

import count_work
import pytest
import torch
from golden_models import WORST, read_shapes
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from emote_cli.animation.memory import DECODE_UNITS, STEP_UNITS, estimate_need
from emote_cli.model import loading
from emote_cli.model.adapters.hallo import condition, encode_video
from emote_cli.model.conditioning import RegionWeights
from emote_cli.model.emo import Emo
from emote_cli.model.published import echomimic as echomimic_files
from emote_cli.model.published import hallo as hallo_files
from emote_cli.model.published import sd15 as sd15_files
from emote_cli.model.published import source as source_files
from emote_cli.settings import load_preset

HALLO_REFERENCE_TFLOP = 4.78
"""Its ReferenceNet, for every chunk."""
HALLO_STEP_TFLOP = 53.95
"""Hallo's own code, one denoising step with guidance at 512x512 (public-checkpoints.md)."""


def meta(name: str) -> Emo:
    with torch.device("meta"):
        return Emo(load_preset(name)).eval().to("meta")  # with its tables, which are made on the CPU


@pytest.fixture(scope="module")
def full_hallo() -> Emo:
    return meta("hallo")


@pytest.fixture(scope="module")
def full_echomimic() -> Emo:
    return meta("echomimic")


def everything_filled(model: Emo, plans: list[loading.ImportPlan]) -> None:
    filled = {target for plan in plans for targets in plan.loaded.values() for target in targets}
    assert model.state_dict().keys() == filled


def test_hallo_keys(manifests, full_hallo):
    published = read_shapes(manifests / "hallo_net_pth.tsv")
    vae = read_shapes(manifests / "sd_vae_ft_mse_diffusers.tsv")
    plan = loading.plan_import(published, full_hallo, hallo_files.HALLO_NET)
    assert plan.loaded.keys() | plan.unused.keys() == published.keys()
    assert all(len(targets) == 1 for targets in plan.loaded.values())
    everything_filled(full_hallo, [plan, loading.plan_import(vae, full_hallo, sd15_files.SD_VAE)])
    never_run = [key for key, reason in plan.unused.items() if "never runs" in reason]
    numbers = sum(torch.Size(published[key]).numel() for key in never_run if not key.endswith(".pe"))
    assert numbers == 180_358_400
    behind = [key for key, reason in plan.unused.items() if reason == source_files.BEHIND_LAST_TAP]
    assert len(behind) == 20
    tables = [key for key in plan.unused if key.endswith(".pe") and key not in never_run]
    assert len(plan.unused) == len(never_run) + len(behind) + len(tables)


def test_echomimic_keys(manifests, full_echomimic):
    files = {
        "echomimic_denoising_unet_pth": echomimic_files.ECHOMIMIC_DENOISING,
        "echomimic_reference_unet_pth": echomimic_files.ECHOMIMIC_REFERENCE,
        "echomimic_motion_module_pth": echomimic_files.ECHOMIMIC_MOTION,
        "echomimic_face_locator_pth": echomimic_files.ECHOMIMIC_FACE_LOCATOR,
        "sd_vae_ft_mse_diffusers": sd15_files.SD_VAE,
    }
    plans = []
    for file, source in files.items():
        published = read_shapes(manifests / f"{file}.tsv")
        plans.append(loading.plan_import(published, full_echomimic, source))
        assert plans[-1].loaded.keys() | plans[-1].unused.keys() == published.keys()
    everything_filled(full_echomimic, plans)
    assert [len(plan.unused) for plan in plans] == [0, 13, 42, 0, 0]
    whole = read_shapes(
        manifests / "echomimic_denoising_unet_model.tsv"
    )  # a file that also holds the motion module
    assert (
        loading.plan_import(whole, full_echomimic, echomimic_files.ECHOMIMIC_DENOISING).loaded
        == plans[0].loaded
    )


def hallo_inputs(model: Emo) -> dict:
    """Shapes of everything that a chunk is made from, without numbers."""
    settings = model.settings
    cells = settings.latent_size
    with torch.device("meta"):
        return {
            "picture": torch.zeros(1, 4, cells, cells),
            "embedding": torch.zeros(1, settings.family.identity_embedding),
            "face_mask": torch.zeros(1, 3, settings.image_size, settings.image_size),
            "regions": RegionWeights(tuple(torch.zeros(3, (cells // 2**level) ** 2) for level in range(4))),
        }


def chunk_inputs(model: Emo, first: bool) -> dict:
    settings = model.settings
    shape = (settings.audio.window, settings.audio.layers, settings.audio.embed)
    motion = (settings.temporal.motion_frames, 4, settings.latent_size, settings.latent_size)
    with torch.device("meta"):
        return {
            "motion": None if first else torch.zeros(motion),
            "audio": torch.zeros(1, settings.temporal.chunk_frames, *shape),
        }


def noisy(model: Emo) -> tuple[torch.Tensor, torch.Tensor]:
    cells, frames = model.settings.latent_size, model.settings.temporal.chunk_frames
    with torch.device("meta"):
        return torch.zeros(1, frames, 4, cells, cells), torch.zeros(1, dtype=torch.long)


def tflop(work) -> tuple[float, object]:
    with FlopCounterMode(display=False) as counter:
        out = work()
    return counter.get_total_flops() / 1e12, out


@torch.no_grad()
def test_cost_of_a_step(full_hallo):
    """Less than Hallo's own: the unconditional half computes no reference attention and no attention to silence."""
    _, video = tflop(lambda: encode_video(full_hallo, **hallo_inputs(full_hallo)))
    both = condition(full_hallo, video, **chunk_inputs(full_hallo, first=False))
    half, _ = tflop(lambda: full_hallo(*noisy(full_hallo), both.unconditional))
    other, _ = tflop(lambda: full_hallo(*noisy(full_hallo), both.conditional))
    WORST["TFLOP of a step, share of the original's"] = (half + other, (half + other) / HALLO_STEP_TFLOP)
    WORST["TFLOP of its unconditional half"] = (half, half / HALLO_STEP_TFLOP)
    assert 0.8 * HALLO_STEP_TFLOP < half + other < 0.9 * HALLO_STEP_TFLOP
    assert half < 0.9 * other


@torch.no_grad()
def test_cost_beside_the_steps(full_hallo):
    """ReferenceNet: the portrait's rows once per video, the first chunk for nothing, four rows instead of six later."""
    once, video = tflop(lambda: encode_video(full_hallo, **hallo_inputs(full_hallo)))
    first, _ = tflop(lambda: condition(full_hallo, video, **chunk_inputs(full_hallo, first=True)))
    later, _ = tflop(lambda: condition(full_hallo, video, **chunk_inputs(full_hallo, first=False)))
    for name, value in (("once per video", once), ("first chunk", first), ("each later chunk", later)):
        WORST[f"TFLOP of ReferenceNet and projections, {name}"] = (value, value / HALLO_REFERENCE_TFLOP)
    assert first < 0.03 * HALLO_REFERENCE_TFLOP
    assert later < 0.75 * HALLO_REFERENCE_TFLOP


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, without running anything."""

    def __init__(self, model: Emo) -> None:
        super().__init__()
        owned = [*model.parameters(), *model.buffers()]
        self.owned = {tensor.untyped_storage()._cdata for tensor in owned}
        self.views: dict[int, int] = {}
        self.size: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.owned:
                key = tensor.untyped_storage()._cdata
                self.size.setdefault(key, tensor.untyped_storage().nbytes())
                self.views[key] = self.views.get(key, 0) + 1
                self.peak = max(self.peak, sum(self.size.values()))
                weakref.finalize(tensor, self.forget, key)
        return out

    def forget(self, key: int) -> None:
        self.views[key] -= 1
        if not self.views[key]:
            del self.views[key], self.size[key]


@torch.no_grad()
def test_peak_of_a_step(monkeypatch):
    """What `estimate_need` says of activations is what a step and a decoding hold; fused attention holds no matrix."""
    model = meta("hallo").to(torch.bfloat16)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", lambda q, *_, **__: torch.empty_like(q))
    video = encode_video(model, **hallo_inputs(model))
    both = condition(model, video, **chunk_inputs(model, first=False))
    settings = model.settings
    frames = settings.temporal.chunk_frames + settings.temporal.motion_frames
    unit = 2 * settings.unet.block_channels[0] * settings.latent_size**2 * frames
    with LiveBytes(model) as live:
        model(*noisy(model), both.conditional)
    WORST["GB alive in a step, share of what is said"] = (live.peak / 1e9, live.peak / unit / STEP_UNITS)
    assert 0.85 < live.peak / unit / STEP_UNITS <= 1
    with LiveBytes(model) as live:
        model.decode(noisy(model)[0][:, :2], 2)
    said = DECODE_UNITS * 2 * 2 * settings.autoencoder.block_channels[0] * settings.image_size**2
    assert 0.85 < live.peak / said <= 1
    with LiveBytes(model) as live:
        pixels = model.decode(noisy(model)[0])
    assert pixels.shape[1] == settings.temporal.chunk_frames
    assert live.peak <= said + 3 * 2 * pixels.numel(), "frames are decoded two by two: 6.4 GB else"
    needed = estimate_need(model, 2)
    WORST["GB that hallo needs in bf16, and with --low-memory"] = (needed.whole / 1e9, needed.low / 1e9)
    assert 6e9 < needed.whole < 8e9
    assert needed.low < needed.whole - 1.5e9


def test_work_of_a_frame_is_what_was_counted_in_a_run():
    """`emote bench` on an H200: sd15 21.67 TFLOP per frame in `fast`, with the portrait."""
    steps, guided, tflop = count_work.count("sd15")["fast"]
    assert (steps, guided) == (10, 5)
    assert tflop == pytest.approx(21.67, rel=0.02)
