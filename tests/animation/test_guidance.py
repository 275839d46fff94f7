"""Guidance's halves in one batch, or one after the other: the same prediction, and no more work."""

import numpy as np
import pytest
import torch
from small_models import build, hallo_settings, paper_settings, tiny_settings
from torch.utils.flop_counter import FlopCounterMode

from emote_cli.animation.animator import Animator
from emote_cli.animation.bench import invent_scene
from emote_cli.animation.device import Precision
from emote_cli.animation.finishing import show_frames
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.quality import Recipe
from emote_cli.animation.runtime import Runtime
from emote_cli.animation.schemes import guidance
from emote_cli.animation.schemes.guidance import goes_at_once, guide_network
from emote_cli.model.adapters import echomimic, hallo
from emote_cli.model.conditioning import Conditioning, GuidedConditioning, RegionWeights
from emote_cli.model.emo import Emo
from emote_cli.settings import ModelSettings, load_preset

CPU = torch.device("cpu")
FRAMES = 5
ECHOMIMIC = {
    "reference": "joined", "audio": "text_slot", "audio_ratio": 3.0, "long_video": "overlap", "speed_layers": False,
}  # fmt: skip


def tell_paper(model: Emo) -> GuidedConditioning:
    settings = model.settings
    channels, cells = settings.autoencoder.latent_channels, settings.latent_size
    audio = settings.audio
    told = model.condition(
        reference=model.encode_reference(torch.randn(1, channels, cells, cells)),
        motion=torch.randn(1, settings.temporal.motion_frames, channels, cells, cells),
        audio=torch.randn(1, FRAMES, audio.window, audio.layers, audio.embed),
        face_region=torch.rand(1, 1, settings.image_size, settings.image_size),
        speed=torch.full((1, FRAMES, 2 * settings.speed.margin + 1), 0.4),
    )
    return GuidedConditioning(model.backbone.hear_once(told), told.null(1))


def tell_echomimic(model: Emo) -> GuidedConditioning:
    settings = model.settings
    cells = settings.latent_size
    latents = torch.randn(1, settings.autoencoder.latent_channels, cells, cells)
    return echomimic.condition(
        model,
        reference=echomimic.encode_reference(model, latents),
        audio=torch.randn(1, FRAMES, settings.audio.tokens, settings.audio.token_width),
        face_region=torch.randn(1, settings.unet.block_channels[0], cells, cells),
    )


def tell_hallo(model: Emo) -> GuidedConditioning:
    settings = model.settings
    cells = settings.latent_size
    pictures = torch.randn(1 + settings.temporal.motion_frames, 4, cells, cells)
    masks = tuple(torch.rand(3, (cells // 2**level) ** 2) for level in range(2))
    video = hallo.encode_video(
        model,
        picture=pictures[:1],
        embedding=torch.randn(1, settings.family.identity_embedding),
        face_mask=torch.rand(1, 3, settings.image_size, settings.image_size),
        regions=RegionWeights(masks, (1.0, 0.7, 1.3)),
    )
    audio = torch.randn(1, FRAMES, settings.audio.window, settings.audio.layers, settings.audio.embed)
    return hallo.condition(model, video, motion=pictures[1:], audio=audio)


MODELS = pytest.mark.parametrize(
    ("settings", "tell"),
    [
        (paper_settings(), tell_paper),
        (tiny_settings(), tell_paper),
        (tiny_settings(**ECHOMIMIC), tell_echomimic),
        (hallo_settings(), tell_hallo),
    ],
    ids=["paper", "latents beside", "echomimic", "hallo"],
)


def noisy_latents(model: Emo) -> torch.Tensor:
    cells = model.settings.latent_size
    return torch.randn(1, FRAMES, model.settings.autoencoder.latent_channels, cells, cells)


def let(at_once: bool, monkeypatch) -> None:
    monkeypatch.setitem(guidance.AT_ONCE_MOST, "cpu", 10**9 if at_once else 0)


@MODELS
@torch.no_grad()
def test_one_batch_is_both_halves(settings: ModelSettings, tell, monkeypatch):
    model = build(settings)
    both, noisy, how = tell(model), noisy_latents(model), Recipe("dpm", 8, 2.5, 300)
    found, work = [], []
    for at_once in (False, True):
        let(at_once, monkeypatch)
        denoise = guide_network(model, both, how)
        rows: list[int] = []
        hook = model.backbone.conv_in.register_forward_hook(
            lambda _, given, __, r=rows: r.append(len(given[0]))
        )
        with FlopCounterMode(display=False) as counter:
            found.append([denoise(noisy, timestep) for timestep in (901, 501, 201)])
        hook.remove()
        work.append(counter.get_total_flops())
        assert rows == ([2 * FRAMES] * 2 if at_once else [FRAMES] * 4) + [FRAMES]
    for two, one in zip(*found, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5 * float(two.abs().max()), rtol=1e-5)
    assert torch.equal(found[0][2], found[1][2]), "below the limit only the conditional half runs"
    assert work[1] <= work[0], "the silent half does no work for what it does not hear or see"


@MODELS
@torch.no_grad()
def test_halves_differ(settings: ModelSettings, tell):
    """What is told counts, or the test above shows nothing."""
    model = build(settings)
    both, noisy = tell(model), noisy_latents(model)
    told, untold = (model(noisy, 501, half) for half in both)
    assert (told - untold).abs().max() > 1e-2


@torch.no_grad()
def test_without_guidance_one_half_runs(monkeypatch):
    let(True, monkeypatch)
    model = build()
    both, noisy = tell_paper(model), noisy_latents(model)
    out = guide_network(model, both, Recipe("ddim", 2, 1.0))(noisy, 501)
    assert torch.equal(out, model(noisy, 501, both.conditional))
    alone = GuidedConditioning(Conditioning(audio=both.conditional.audio), None)
    assert guide_network(model, alone, Recipe("ddim", 2, 2.5))(noisy, 501).shape == noisy.shape


def test_a_video_is_the_same(monkeypatch):
    frames = []
    for at_once in (False, True):
        let(at_once, monkeypatch)
        animator = Animator(Runtime(build(tiny_settings()), CPU, Precision(torch.float32)))
        scene = invent_scene(animator.model.settings, 2)
        frames.append(np.stack(list(show_frames(animator, scene, AnimateOptions(steps=2, guidance=2.5)))))
    assert np.abs(frames[0].astype(int) - frames[1]).max() <= 1


def test_small_maps_go_at_once_where_that_was_measured():
    with torch.device("meta"):
        tiny, large = Emo(tiny_settings()), Emo(load_preset("sd15"))
    assert not goes_at_once(tiny), "nothing is known of this device"
    assert goes_at_once(build(tiny_settings()))
    for conv in (tiny.backbone.conv_in, large.backbone.conv_in):
        conv.weight = torch.nn.Parameter(torch.zeros(1))
    assert goes_at_once(tiny), "on a CPU"
    assert not goes_at_once(large)
