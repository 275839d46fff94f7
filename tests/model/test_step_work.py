"""What a step does besides its arithmetic: no look at the device, no copy from the host or of the reference."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_models import FAMILIES, build, tiny_settings
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from emote_cli.animation.memory import Guard
from emote_cli.animation.quality import Recipe
from emote_cli.animation.schemes.echomimic_video import EchoMimicInputs, sample_video
from emote_cli.animation.schemes.overlap import sample_overlapping
from emote_cli.diffusion.sampler import guide, sample
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.model import shared_attention
from emote_cli.model.conditioning import Conditioning
from emote_cli.model.emo import Emo

WAITS = (
    "_local_scalar_dense",
    "nonzero",
    "lift_fresh",
    "index",
    "index_put_",
    "index_copy",
    "index_select",
    "unique",
)
"""On a GPU each of these waits for the device, or brings numbers from the host (`torch.tensor`, indices in lists)."""
COPIES = ("cat", "repeat", "repeat_interleave", "stack", "clone", "copy_", "_to_copy")


class Work(TorchDispatchMode):
    """Counts operations, and the bytes that copies write."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.copied = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        self.calls[name] += 1
        if name in COPIES:
            tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
            self.copied += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return out

    @property
    def waits(self) -> dict[str, int]:
        return {name: self.calls[name] for name in WAITS if self.calls[name]}


FRAMES = 6


def told(model: Emo, rows: int, in_turn: bool = False) -> Conditioning:
    """Made-up conditioning of one video."""
    settings = model.settings
    reference = model.reference_net(torch.randn(rows, settings.autoencoder.latent_channels, 8, 8))
    tokens = torch.randn(1, FRAMES, settings.audio.tokens, settings.audio.token_width)
    return Conditioning(
        reference=model.backbone.project_reference(reference), reference_in_turn=in_turn, audio=tokens
    )


@FAMILIES
@pytest.mark.parametrize("solver", ["ddim", "dpm"])
@torch.no_grad()
def test_no_step_waits_for_the_device(family, rows, in_turn, solver):
    model = build(tiny_settings(**family))
    conditional = model.backbone.hear_once(told(model, rows, in_turn))
    null = conditional.null(1)
    works: list[Work] = []

    def watched(noisy, timestep):
        if works:
            works[-1].__exit__(None, None, None)
        works.append(Work())
        works[-1].__enter__()
        return model(noisy, timestep, conditional)

    way = guide(watched, lambda noisy, time: model(noisy, time, null), 2.5, guided_from=300)
    noise = torch.randn(1, FRAMES, model.settings.autoencoder.latent_channels, 8, 8)
    sample(way, noise, NoiseSchedule(model.settings.diffusion), steps=4, solver=solver)
    works[-1].__exit__(None, None, None)
    assert len(works) == 4
    assert works[1].calls["addmm"] + works[1].calls["mm"] > 10, "the step was watched"
    assert [work.waits for work in works[1:]] == [{}, {}, {}]


@torch.no_grad()
def test_overlapping_windows_do_not_wait():
    noise = torch.randn(1, 17, 3, 4, 4)
    schedule = NoiseSchedule(tiny_settings().diffusion)
    with Work() as work:
        sample_overlapping(lambda noisy, time, frames: noisy.tanh(), noise, schedule, steps=3, size=7)
    assert work.calls["tanh"] == 3 * 5
    assert work.waits == {}


@torch.no_grad()
def test_echomimics_windows_bring_nothing_from_the_host():
    """Sound is brought to the device once: twice the steps, no more waits."""
    family = {"reference": "joined", "audio": "text_slot", "long_video": "overlap", "speed_layers": False}
    model = build(tiny_settings(**family, reference_latents=False))
    audio, frames = model.settings.audio, model.settings.temporal.chunk_frames + 3
    asked: list[int] = []

    class Features:
        n_frames = frames

        def windows(self, start: int, count: int, margin: int) -> np.ndarray:
            asked.append(start)
            return np.zeros((count, audio.window, audio.layers, audio.embed), np.float32)

    inputs = EchoMimicInputs(pixels=torch.zeros(3, 32, 32), face_mask=torch.ones(32, 32), features=Features())
    cells = model.settings.latent_size
    noise = torch.randn(1, frames, model.settings.autoencoder.latent_channels, cells, cells)
    waits = []
    for steps in (1, 2):
        with Work() as work:
            sample_video(model, inputs, noise, Recipe("ddim", steps, 2.5), Guard(None))
        waits.append(work.waits)
    assert waits[0] == waits[1]
    assert asked == [0, 0]


def step_of(model: Emo, conditioning: Conditioning) -> Work:
    noisy = torch.randn(1, FRAMES, model.settings.autoencoder.latent_channels, 8, 8)
    model(noisy, 501, conditioning)
    with Work() as work:
        model(noisy, 501, conditioning)
    return work


@pytest.mark.parametrize(("rows", "in_turn"), [(1, False), (2, True)])
@torch.no_grad()
def test_the_references_tokens_are_not_copied(rows: int, in_turn: bool, monkeypatch):
    """Side by side with each frame's own, they and the frame's own are all written once more, in every step."""
    model = build(tiny_settings(reference="joined", reference_latents=False))
    conditional = told(model, rows, in_turn)
    shared = step_of(model, conditional)
    monkeypatch.setattr(shared_attention, "can_merge", lambda _: False)
    joined = step_of(model, conditional)
    numbers = sum(keys.numel() // len(keys) for keys, _ in conditional.reference.values())
    copies = 2 * FRAMES * 2 * numbers * 4  # keys and values; own and shared; 4 bytes
    assert joined.copied - shared.copied >= copies
    assert shared.copied < joined.copied / 2


@torch.no_grad()
def test_the_half_without_reference_does_no_work_for_it():
    model = build(tiny_settings(reference_latents=False))
    conditional = told(model, 1)
    noisy = torch.randn(1, FRAMES, model.settings.autoencoder.latent_channels, 8, 8)
    flops = []
    for conditioning in (
        conditional,
        conditional.null(1),
        Conditioning(audio=conditional.audio * 0, hears_audio=(False,)),
    ):
        with FlopCounterMode(display=False) as counter:
            model(noisy, 501, conditioning)
        flops.append(counter.get_total_flops())
    assert flops[1] == flops[2] < flops[0]


class Formats(TorchDispatchMode):
    """What convolutions and normalizations of pictures are given in another memory format than channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self.turned: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in ("convolution", "upsample_nearest2d"):
            self.note(name, args[0])
        return function(*args, **(kwargs or {}))

    def note(self, name: str, maps: torch.Tensor) -> None:
        self.seen[name] += 1
        if not maps.is_contiguous(memory_format=torch.channels_last):
            self.turned.append(f"{name} {tuple(maps.shape)}")


@FAMILIES
@torch.no_grad()
def test_maps_stay_channels_last(family, rows, in_turn):
    """Only the latents are turned: at every other place that would copy all maps, twice."""
    model = build(tiny_settings(**family)).to(memory_format=torch.channels_last)
    settings = model.settings
    channels, n = settings.autoencoder.latent_channels, settings.temporal.motion_frames
    conditioning = replace(
        told(model, rows, in_turn),
        motion=model.encode_motion(torch.randn(1, n, channels, 8, 8)),
        speed=torch.randn(1, FRAMES, settings.speed.width),
    )
    formats = Formats()
    for layer in model.modules():
        if isinstance(layer, torch.nn.GroupNorm):
            layer.register_forward_pre_hook(lambda _, given: formats.note("group norm", given[0]))
    with formats:
        model(torch.randn(1, FRAMES, channels, 8, 8), 501, conditioning)
    assert formats.seen["convolution"] > 10 < formats.seen["group norm"]
    assert formats.turned == [f"convolution {(FRAMES, channels, 8, 8)}"]


@torch.no_grad()
def test_motion_frames_are_read_and_not_computed_on():
    """Past the last attention in time nobody reads them: no feed-forward, no projection."""
    model = build()
    settings = model.settings
    channels, n = settings.autoencoder.latent_channels, settings.temporal.motion_frames
    features = model.encode_motion(torch.randn(1, n, channels, 8, 8))["down_blocks.0.attentions.0"]
    module = model.backbone.down_blocks[0].motion_modules[0].temporal_transformer
    maps = torch.randn(FRAMES, module.norm.num_channels, 8, 8)
    with FlopCounterMode(display=False) as counter:
        out = module(maps, FRAMES, features)
    with FlopCounterMode(display=False) as all_of_them:
        module(torch.cat([features[0], maps]), FRAMES + n)
    assert out.shape == maps.shape
    assert counter.get_total_flops() < (FRAMES + 0.5 * n) / (FRAMES + n) * all_of_them.get_total_flops()
