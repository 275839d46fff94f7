"""Our blocks are diffusers': the same parameter names, the same numbers."""

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention import FeedForward as TheirFeedForward
from diffusers.models.attention_processor import Attention as TheirAttention
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from small_models import randomize

from emote_cli.model.attention import Attention, attend, keys_values
from emote_cli.model.blocks import Downsample, FeedForward, ResidualBlock, TimeEmbedding, Upsample
from emote_cli.model.face_locator import FaceLocator
from emote_cli.model.vae import Vae
from emote_cli.settings import FaceLocatorSettings

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def same_weights(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    """Random weights for theirs, and every one of them, by name, for ours."""
    randomize(theirs.eval())
    ours.eval().load_state_dict(theirs.state_dict())


@pytest.mark.parametrize(("width_in", "time"), [(12, 10), (20, 10), (12, None)])
@torch.no_grad()
def test_residual_block(width_in: int, time: int | None):
    ours = ResidualBlock(width_in, 12, groups=4, eps=1e-5, time_width=time)
    theirs = ResnetBlock2D(in_channels=width_in, out_channels=12, temb_channels=time, eps=1e-5, groups=4)
    same_weights(ours, theirs)
    maps = torch.randn(3, width_in, 5, 7)
    embedded = None if time is None else torch.randn(3, time)
    torch.testing.assert_close(ours(maps, embedded), theirs(maps, embedded), **CLOSE)


@pytest.mark.parametrize("padding", [0, 1])
@torch.no_grad()
def test_downsample(padding: int):
    ours, theirs = Downsample(6, padding), Downsample2D(6, use_conv=True, padding=padding, name="op")
    same_weights(ours, theirs)
    maps = torch.randn(2, 6, 10, 14)
    assert ours(maps).shape == (2, 6, 5, 7)
    torch.testing.assert_close(ours(maps), theirs(maps), **CLOSE)


@torch.no_grad()
def test_upsample():
    ours, theirs = Upsample(6), Upsample2D(6, use_conv=True)
    same_weights(ours, theirs)
    maps = torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(ours(maps), theirs(maps), **CLOSE)


@pytest.mark.parametrize("memory_width", [None, 9])
@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_attention(memory_width: int | None, bias: bool):
    ours = Attention(14, 2, memory_width, bias=bias)
    theirs = TheirAttention(14, cross_attention_dim=memory_width, heads=2, dim_head=7, bias=bias)
    same_weights(ours, theirs)
    tokens = torch.randn(3, 11, 14)
    memory = tokens if memory_width is None else torch.randn(3, 5, memory_width)
    out = attend(ours, tokens, keys_values(ours, memory))
    torch.testing.assert_close(out, theirs(tokens, memory), **CLOSE)


@torch.no_grad()
def test_feed_forward():
    ours, theirs = FeedForward(14, 3), TheirFeedForward(14, mult=3, activation_fn="geglu")
    same_weights(ours, theirs)
    tokens = torch.randn(2, 5, 14)
    torch.testing.assert_close(ours(tokens), theirs(tokens), **CLOSE)


@torch.no_grad()
def test_time_embedding():
    ours, theirs = TimeEmbedding(16, 24), TimestepEmbedding(16, 24)
    same_weights(ours, theirs)
    timestep = torch.tensor([0, 1, 499, 999])
    waves = Timesteps(16, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(ours(timestep, torch.float32), theirs(waves(timestep)), **CLOSE)


@pytest.mark.parametrize(("widths", "blocks", "channels"), [((8, 12, 16, 16), 2, 3), ((8,), 1, 12)])
@torch.no_grad()
def test_autoencoder(widths: tuple[int, ...], blocks: int, channels: int):
    ours = Vae(channels=channels, latent_channels=5, widths=widths, blocks=blocks, groups=4)
    theirs = AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=blocks,
        latent_channels=5,
        norm_num_groups=4,
    )
    same_weights(ours, theirs)
    pixels = torch.randn(2, channels, 40, 24)
    latents = theirs.encode(pixels).latent_dist.mode()
    assert latents.std() > 0.05
    torch.testing.assert_close(ours.encode(pixels), latents, **CLOSE)
    torch.testing.assert_close(ours.decode(latents), theirs.decode(latents).sample, **CLOSE)


@torch.no_grad()
def test_face_locator():
    ours = FaceLocator(10, FaceLocatorSettings(in_channels=3, channels=(4, 6, 8)))
    mask = torch.rand(2, 3, 20, 12)
    assert not ours(mask).any(), "it starts without effect"
    theirs = ControlNetConditioningEmbedding(10, 3, (4, 6, 8))
    same_weights(ours, theirs)
    assert ours(mask).any()
    torch.testing.assert_close(ours(mask), theirs(mask), **CLOSE)
