"""What is computed once instead of in each step or chunk gives the same numbers."""

from dataclasses import replace

import pytest
import torch
from small_models import build, condition, hallo_settings, make_batch, randomize, timesteps, tiny_settings

from emote_cli.animation.background import finish_in_background
from emote_cli.animation.memory import Guard
from emote_cli.animation.quality import Recipe
from emote_cli.animation.schemes.hallo_chunks import (
    HalloInputs,
    decode_chunk,
    draw_noise,
    sample_chunks,
)
from emote_cli.model.adapters import hallo as adapter
from emote_cli.model.adapters.hallo import HalloQuirks
from emote_cli.model.conditioning import RegionWeights
from emote_cli.model.emo import Emo
from emote_cli.types import AudioFeatures

SIZE = 32
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
"""Another grouping of rows rounds otherwise."""


def hallo(motion_frames: int = 2) -> Emo:
    return randomize(Emo(hallo_settings(motion_frames)).eval(), 3)


def inputs(frames: int = 15) -> HalloInputs:
    torch.manual_seed(2)
    cells = SIZE // 8
    masks = tuple(torch.rand(3, (cells // 2**level) ** 2) for level in range(2))
    hidden = torch.randn(frames, 2, 6).numpy()
    return HalloInputs(
        pixels=torch.rand(3, SIZE, SIZE) * 2 - 1,
        embedding=torch.randn(7),
        face_mask=torch.rand(3, SIZE, SIZE),
        regions=RegionWeights(masks, (1.0, 0.7, 1.3)),
        features=AudioFeatures(hidden=hidden, fps=25.0),
    )


def encoded(model: Emo, given: HalloInputs, guided: bool, quirks: HalloQuirks) -> adapter.HalloVideo:
    return adapter.encode_video(
        model, picture=model.autoencoder.encode(given.pixels[None]), embedding=given.embedding[None],
        face_mask=given.face_mask[None], regions=given.regions, guided=guided, quirks=quirks,
    )  # fmt: skip


@pytest.mark.parametrize("motion_frames", [1, 2, 3])
@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("mixed", [True, False])
@torch.no_grad()
def test_video_and_chunk_share_out_the_rows_of_the_original(motion_frames: int, guided: bool, mixed: bool):
    model, given, quirks = (
        hallo(motion_frames),
        inputs(),
        HalloQuirks(mixed_identity=mixed, half_features=False),
    )
    video = encoded(model, given, guided, quirks)
    motion = torch.randn(motion_frames, 4, SIZE // 8, SIZE // 8)
    pictures = torch.cat([model.autoencoder.encode(given.pixels[None]), motion])
    whole = adapter.encode_pictures(model, pictures, video.identity, video.nobody, quirks)
    moved = adapter.encode_motion(model, video, motion)
    count = motion_frames + 1
    for site, maps in whole.items():
        torch.testing.assert_close(video.features[site], maps[::count], **CLOSE)
        rows = [row for row in range(len(maps)) if row % count]
        torch.testing.assert_close(moved[site], maps[rows], **CLOSE)


@pytest.mark.parametrize("guided", [True, False])
@torch.no_grad()
def test_before_the_first_chunk_the_portraits_rows_stand_in(guided: bool):
    model, given = hallo(), inputs()
    video = encoded(model, given, guided, HalloQuirks(half_features=False))
    picture = model.autoencoder.encode(given.pixels[None])
    spared = adapter.encode_motion(model, video, None)
    for site, maps in adapter.encode_motion(model, video, picture.expand(2, -1, -1, -1)).items():
        torch.testing.assert_close(spared[site], maps, **CLOSE)


@torch.no_grad()
def test_hallos_halves_without_shortcuts():
    """Keys and values per step, and attention to zero tokens computed: the same prediction."""
    model, given = hallo(), inputs()
    video = encoded(model, given, True, HalloQuirks())
    audio = torch.from_numpy(given.features.windows(0, 5, 2))[None]
    both = adapter.condition(model, video, motion=None, audio=audio)
    noisy, time = torch.randn(1, 5, 4, SIZE // 8, SIZE // 8), torch.tensor([501])
    for told in both:
        assert told.heard
        plain = model(noisy, time, replace(told, heard={}, hears_audio=None))
        torch.testing.assert_close(model(noisy, time, told), plain, **CLOSE)
    assert both.unconditional.hears_audio == (False,)
    assert not torch.allclose(model(noisy, time, both.conditional), model(noisy, time, both.unconditional))


@pytest.mark.parametrize("audio", ["own_layer", "text_slot"])
@torch.no_grad()
def test_silence_and_hearing_once_in_other_families(audio: str):
    settings = tiny_settings(audio=audio, audio_ratio=3.0)
    model, batch = build(settings), make_batch(settings)
    told = condition(model, batch)
    heard = model.backbone.hear_once(told)
    assert any(site.slot or site.audio for site in heard.heard.values())
    out = model(batch.target, timesteps(), told)
    assert torch.equal(model(batch.target, timesteps(), heard), out)
    zero = replace(told, audio=torch.zeros_like(told.audio))
    silent = model(batch.target, timesteps(), replace(zero, hears_audio=(False,) * len(batch.target)))
    torch.testing.assert_close(silent, model(batch.target, timesteps(), zero))
    assert (silent - out).abs().max() > 1e-3
    assert not heard.drop(audio=(True, False, False)).heard


def test_chunks_finish_in_background_are_the_same():
    model, given, guard = hallo(), inputs(13), Guard(None)
    how = Recipe("ddim", steps=2, guidance=3.5)
    made = sample_chunks(model, given, draw_noise(1, (4, 4, 4), 5), how, guard)
    plain = torch.cat([decode_chunk(model, chunk) for chunk in made])
    assert len(plain) == 13
    chunks = sample_chunks(model, given, draw_noise(1, (4, 4, 4), 5), how, guard)
    behind = finish_in_background(chunks, lambda made: decode_chunk(model, made), torch.device("cpu"), guard)
    assert torch.equal(torch.cat(list(behind)), plain)


def test_a_last_chunk_of_few_frames_keeps_its_first_ones():
    """Of one frame, none of the chunk's last frames is shown."""
    model, given, how = hallo(), inputs(6), Recipe("ddim", steps=1, guidance=3.5)
    *_, last = sample_chunks(model, given, draw_noise(1, (4, 4, 4), 5), how, Guard(None))
    assert last.keep == 1
    with torch.no_grad():
        expected = model.decode(last.latents[:, :1])[0]
    torch.testing.assert_close(decode_chunk(model, last), expected)


def test_decoding_a_few_at_once_is_decoding_all():
    model = hallo()
    latents = torch.randn(1, 5, 4, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(model.decode(latents, 2), model.decode(latents))
