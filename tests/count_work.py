# ruff: noqa: T201
"""What a frame costs in each quality, counted without running: `PYTHONPATH=. python -m tests.count_work`.

Full-size networks on the meta device; a multiplication and an addition are two operations, as `emote bench` counts
them. Frames are those of a later chunk: its share of the steps, of ReferenceNet and of the VAE. Speech is not counted
(`emote bench` does count it, and the portrait, once per video). The seconds are computed, not measured: 40 % of an
H200's 790 TFLOP/s.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))

from emote_cli.animation.options import AnimateOptions, Quality
from emote_cli.animation.quality import choose_recipe
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.diffusion.solvers import make_solver
from emote_cli.model.adapters import echomimic, hallo
from emote_cli.model.conditioning import GuidedConditioning, RegionWeights
from emote_cli.model.emo import Emo
from emote_cli.settings import load_preset

TFLOPS, SHARE = 790.0, 0.4
QUALITIES: tuple[Quality, ...] = ("paper", "balanced", "fast")


def meta(name: str) -> Emo:
    """A preset's network without numbers."""
    with torch.device("meta"):
        return Emo(load_preset(name)).eval().to("meta")


def tell(model: Emo) -> GuidedConditioning:
    """What both halves are told in a later chunk."""
    settings, cells = model.settings, model.settings.latent_size
    f, n, audio = settings.temporal.chunk_frames, settings.temporal.motion_frames, settings.audio
    picture, motion = torch.zeros(1, 4, cells, cells), torch.zeros(n, 4, cells, cells)
    windows = torch.zeros(1, f, audio.window, audio.layers, audio.embed)
    if settings.family.long_video == "overlap":
        reference = echomimic.encode_reference(model, picture)
        region = torch.zeros(1, settings.unet.block_channels[0], cells, cells)
        tokens = torch.zeros(1, f, audio.tokens, audio.token_width)
        return echomimic.condition(model, reference=reference, audio=tokens, face_region=region)
    if settings.family.identity_tokens:
        video = hallo.encode_video(
            model, picture=picture, embedding=torch.zeros(1, settings.family.identity_embedding),
            face_mask=torch.zeros(1, 3, settings.image_size, settings.image_size),
            regions=RegionWeights(tuple(torch.zeros(3, (cells // 2**level) ** 2) for level in range(4))),
        )  # fmt: skip
        return hallo.condition(model, video, motion=motion, audio=windows)
    told = model.condition(
        reference=model.encode_reference(picture), motion=motion[None], audio=windows,
        face_region=torch.zeros(1, 1, settings.image_size, settings.image_size),
        speed=torch.zeros(1, f, 2 * settings.speed.margin + 1),
    )  # fmt: skip
    return GuidedConditioning(model.backbone.hear_once(told), told.null(1))


@torch.no_grad()
def count(name: str) -> dict[Quality, tuple[int, int, float]]:
    """Quality -> steps, how many of them are guided, TFLOP per frame."""
    model = meta(name)
    settings, cells = model.settings, model.settings.latent_size
    f = settings.temporal.chunk_frames

    def tflop(work: object) -> float:
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            work()  # type: ignore[operator]
        return counter.get_total_flops() / 1e12

    with torch.device("meta"):
        both = tell(model)
        noisy, time = torch.zeros(1, f, 4, cells, cells), torch.zeros(1, dtype=torch.long)
    halves = [tflop(lambda told=told: model(noisy, time, told)) for told in both]
    decode = tflop(lambda: model.autoencoder.decode(noisy[0, :1]))
    beside = 0.0
    if settings.family.long_video == "motion_frames":
        rows = 2 if settings.family.identity_tokens else 1
        pictures = torch.zeros(rows * settings.temporal.motion_frames, 4, cells, cells, device="meta")
        slot = None
        if settings.family.identity_tokens:
            tokens, width = settings.family.identity_tokens, settings.family.identity_width
            slot = torch.zeros(len(pictures), tokens, width, device="meta")
        beside = tflop(lambda: model.reference_net(pictures, slot))
    new = f - 3 if settings.family.long_video == "overlap" else f  # neighbors share three frames
    found: dict[Quality, tuple[int, int, float]] = {}
    for quality in QUALITIES:
        how = choose_recipe(settings.diffusion, AnimateOptions(quality=quality))
        times = make_solver(how.solver, NoiseSchedule(settings.diffusion), how.steps).timesteps
        guided = sum(time >= how.guided_from for time in times)
        work = len(times) * halves[0] + guided * halves[1]
        found[quality] = len(times), guided, (work + beside) / new + decode
    return found


def main() -> None:
    """The table, in Markdown."""
    print(
        "| model | quality | steps, guided | TFLOP per frame | computed s per frame |\n|---|---|---|---|---|"
    )
    for name in ("sd15", "hallo", "echomimic"):
        for quality, (steps, guided, tflop) in count(name).items():
            print(
                f"| {name} | {quality} | {steps}, {guided} | {tflop:.1f} | {tflop / TFLOPS / SHARE:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
