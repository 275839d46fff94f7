"""Hallo's way from pixels to pixels: two chunks of its own pipeline, its masks, its speech features."""

import numpy as np
import pytest
import torch
from einops import rearrange
from golden_models import WORST, agree, published_wav2vec, regions

from emote_cli.animation.memory import Guard
from emote_cli.animation.quality import Recipe
from emote_cli.animation.schemes import hallo_chunks as loop
from emote_cli.perception.landmarks import LIPS, OVAL
from emote_cli.perception.regions import (
    blur,
    box_mask,
    branch_masks,
    enlarge_box,
    hallo_regions,
    resize_mask,
)  # fmt: skip
from emote_cli.perception.wav2vec import Wav2VecFeatureExtractor, hallo_features
from emote_cli.settings import AudioSettings
from emote_cli.types import AudioFeatures, Chunk, Waveform


def test_pipeline_of_two_chunks(hallo, load_case, monkeypatch):
    description, t = load_case("pipeline_2chunks")
    _, modules = load_case("modules")
    _, small = load_case("denoise_f4")
    tolerance = description["tolerance"]
    count = len([key for key in t if key.startswith("in.init_latents.chunk")])
    frames = t["in.init_latents.chunk0"].shape[2]
    taken = len([key for key in t if key.startswith("out.chunk0.latents_after_step")])
    assert frames == hallo.settings.temporal.chunk_frames
    with torch.inference_mode():
        mean = hallo.autoencoder.encode(t["in.source_pixels"][None]) / hallo.autoencoder.scaling_factor
    agree("pipeline vae mean", mean, t["out.vae.mean_of_source"], {"atol": 1e-5, "rtol": 1e-4})
    inputs = loop.HalloInputs(
        pixels=t["in.source_pixels"],
        embedding=modules["in.face_emb"][0],
        face_mask=modules["in.face_mask"][0, :, 0],
        regions=regions(small),
        features=AudioFeatures(hidden=modules["in.audio_emb"][: count * frames].numpy(), fps=25.0),
    )
    steps: list[torch.Tensor] = []
    sample = loop.sample

    def watched(denoise, noise, schedule, **how):
        out = sample(lambda noisy, time: steps.append(noisy) or denoise(noisy, time), noise, schedule, **how)
        steps.append(out)
        return out

    monkeypatch.setattr(loop, "sample", watched)
    pictures: list[torch.Tensor] = []
    condition = loop.condition
    monkeypatch.setattr(loop, "condition", lambda *a, **k: pictures.append(k["motion"]) or condition(*a, **k))
    noise = (t[f"in.init_latents.chunk{index}"] for index in range(count))
    chunks = loop.sample_chunks(
        hallo, inputs,
        noise=lambda chunk: rearrange(next(noise), "b c f h w -> b f c h w"),
        how=Recipe("ddim", steps=taken, guidance=3.5),
        guard=Guard(None),
    )  # fmt: skip
    for index, chunk in enumerate(chunks):
        shown = loop.decode_chunk(hallo, chunk)
        for step in range(taken):
            ours = rearrange(steps[index * (taken + 1) + step + 1], "b f c h w -> b c f h w")
            name = f"chunk{index}.latents_after_step{step}"
            agree(f"pipeline {name}", ours, t[f"out.{name}"], tolerance["latents"])
        images = rearrange(shown[None] / 2 + 0.5, "b f c h w -> b c f h w")
        agree(f"pipeline chunk{index}.images", images, t[f"out.chunk{index}.images"], tolerance["images"])
    with torch.inference_mode():
        expected = hallo.autoencoder.encode(t["out.chunk1.ref_pixels"])
    assert pictures[0] is None  # the portrait stands in
    agree("pipeline chunk1 pictures", pictures[1], expected[1:], tolerance["latents"])


def test_noise_is_one_stream():
    draw = loop.draw_noise(42, (2, 3, 5), 7)
    first, second = (draw(Chunk(7 * index, 7 * index + 7, 7)) for index in range(2))
    generator = torch.Generator().manual_seed(42)
    for ours in (first, second):
        theirs = torch.randn((1, 2, 7, 3, 5), generator=generator, dtype=torch.float16)
        assert torch.equal(rearrange(ours, "b f c h w -> b c f h w"), theirs.float())
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("name", "ratio"), [("a", 1.2), ("edge", 1.5)])
def test_masks(load_case, name: str, ratio: float):
    description, t = load_case("masks")
    landmarks = t[f"{name}.in.landmarks"].numpy()
    width, height = description["images"][name]
    boxes = {}
    for part, which, enlarge in (("face", OVAL, ratio), ("lip", LIPS, 2.0)):
        box = enlarge_box(landmarks, which, enlarge, width, height)
        assert box == tuple(t[f"{name}.out.{part}_box_x0x1y0y1"].tolist())
        boxes[part] = box_mask(box, width, height)
    masks = dict(zip(("bg", "face", "lip"), branch_masks(boxes["face"], boxes["lip"]), strict=True))
    ours = {f"sep_{key}_64": value for key, value in masks.items()} | {
        "face_blur_64": blur(boxes["face"], 51),
        "face_region_512_uint8": resize_mask(boxes["face"], 512),
    }
    for key, value in ours.items():
        worst = np.abs(value.astype(int) - t[f"{name}.out.{key}"].numpy().astype(int)).max()
        WORST[f"masks {name} {key}"] = (float(worst), float(worst))
        assert worst <= 1, key
    levels = hallo_regions(landmarks, width, height, 512, face_ratio=ratio).levels
    for level, three in enumerate(levels):
        for branch, mask in zip(("full", "face", "lip"), three, strict=True):
            theirs = t[f"{name}.out.mask.{branch}.{level}"][0]
            tolerance = {"atol": description["tolerance"]["mask_levels"], "rtol": 0}
            agree(f"masks {name} {branch}.{level}", torch.from_numpy(mask), theirs, tolerance)


def test_wav2vec(load_case, recipe_of):
    description, t = load_case("wav2vec")
    tolerance = description["tolerance"]
    config, recipe = description["config"], recipe_of("wav2vec")
    seed = description.get("weights_seed", recipe.SEED)
    model = published_wav2vec(config, lambda key, shape: recipe.make(f"wav2vec2.{key}", shape, seed))
    extractor = Wav2VecFeatureExtractor(model)
    settings = AudioSettings(layers=config["num_hidden_layers"], embed=config["hidden_size"])
    waveform = Waveform(t["in.wav"].numpy(), 16_000)
    features, frames = hallo_features(
        waveform, settings, description["fps"], description["clip_length"], extractor
    )
    assert frames == description["audio_length"]
    assert features.n_frames == description["seq_len_padded"]
    agree("wav2vec emb", torch.from_numpy(features.whole()), t["out.emb"], tolerance)
