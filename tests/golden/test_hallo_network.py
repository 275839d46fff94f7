"""Our Backbone and ReferenceNet against the outputs of Hallo's own code."""

import pytest
import torch
from einops import rearrange
from golden_models import agree, hallo_chunk, regions

from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.diffusion.solvers import make_solver
from emote_cli.model.adapters.hallo import HalloQuirks, encode_pictures
from emote_cli.types import AudioFeatures

EXACT = HalloQuirks(half_features=False)


@torch.no_grad()
def test_weights_are_the_recipe(hallo, load_case):
    description, _ = load_case("modules")
    state = hallo.state_dict()
    renamed = {
        "denoising_unet": "backbone",
        "reference_unet": "reference_net",
        "audioproj": "audio_projector",
    }
    for key, first in description["weights"]["first3"].items():
        part, _, rest = key.partition(".")
        assert state[f"{renamed[part]}.{rest}"].flatten()[:3].tolist() == first


@torch.no_grad()
def test_modules(hallo, load_case):
    description, t = load_case("modules")
    tolerance = description["tolerance"]
    features = AudioFeatures(hidden=t["in.audio_emb"].numpy(), fps=25.0)
    windows = torch.from_numpy(features.windows(0, features.n_frames, hallo.settings.audio.margin))
    agree("modules audio_windows", windows, t["out.audio_windows"], tolerance)
    agree("modules audioproj", hallo.audio_projector(windows[None]), t["out.audioproj_out"], tolerance)
    agree("modules imageproj", hallo.identity_projector(t["in.face_emb"]), t["out.imageproj_out"], tolerance)
    nobody = hallo.identity_projector(torch.zeros_like(t["in.face_emb"]))
    agree("modules imageproj_zero", nobody, t["out.imageproj_zero_out"], tolerance)
    located = hallo.face_locator(t["in.face_mask"][:, :, 0])
    agree("modules face_locator", located, t["out.face_locator_out"][:, :, 0], tolerance)


def features_of(hallo, load_case, quirks):
    _, t = load_case("reference")
    nobody, identity = t["in.encoder_hidden_states"].split(1)
    return encode_pictures(hallo, t["in.ref_latents"], identity, nobody, quirks), identity, nobody


@torch.no_grad()
def test_reference(hallo, load_case):
    """All banks. Nothing reads `sample_before_norm_out`: those layers of the original are not built here."""
    description, t = load_case("reference")
    features, _, _ = features_of(hallo, load_case, EXACT)
    banks = {key.removeprefix("out.bank."): value for key, value in t.items() if key.startswith("out.bank.")}
    assert {f"{site}.transformer_blocks.0" for site in features} == banks.keys()
    for site, maps in features.items():
        tokens = rearrange(maps, "b c h w -> b (h w) c")
        agree(f"reference {site}", tokens, banks[f"{site}.transformer_blocks.0"], description["tolerance"])


def denoise(hallo, load_case, tensors, description, quirks, *, scales=(1.0, 1.0, 1.0)) -> torch.Tensor:
    """Both halves of guidance, one after the other, stacked as Hallo has them."""
    _, small = load_case("denoise_f4")
    features, identity, nobody = features_of(hallo, load_case, quirks)
    both = hallo_chunk(
        hallo, features, identity, nobody, audio=tensors["in.audio_tokens"][1:],
        face_region=small["in.face_locator"][1:, :, 0], regions=regions(small, scales), quirks=quirks,
    )  # fmt: skip
    noisy = rearrange(tensors["in.noise"], "b c f h w -> b f c h w")
    time = torch.tensor([description["timestep"]])
    halves = [hallo(noisy, time, told) for told in (both.unconditional, both.conditional)]
    return rearrange(torch.cat(halves), "b f c h w -> b c f h w")


@pytest.mark.parametrize(
    ("output", "quirks", "scales"),
    [
        ("cfg_published", HalloQuirks(), (1.0, 1.0, 1.0)),
        ("cfg_bank_fp32", EXACT, (1.0, 1.0, 1.0)),
        ("cfg_bank_fp32_scale_0.7_1.2_1.5", EXACT, (0.7, 1.2, 1.5)),
        (
            "control_untangled_reference_cfg_bank_fp32",
            HalloQuirks(half_features=False, alternating_reference=False),
            (1.0, 1.0, 1.0),
        ),
    ],
)
@torch.no_grad()
def test_denoise_f4(hallo, load_case, output, quirks, scales):
    description, t = load_case("denoise_f4")
    tolerance = description["tolerance"]["cfg_published" if output == "cfg_published" else "cfg_bank_fp32"]
    out = denoise(hallo, load_case, t, description, quirks, scales=scales)
    agree(f"denoise_f4 {output}", out, t[f"out.{output}"], tolerance)


@torch.no_grad()
def test_wrong_branches_are_far_away(load_case):
    description, t = load_case("denoise_f4")
    for output, distance in description["distance_from_cfg_bank_fp32"].items():
        if output.startswith("control_"):
            measured = (t[f"out.{output}"] - t["out.cfg_bank_fp32"]).abs().max()
            assert measured == pytest.approx(distance, rel=1e-3)


@torch.no_grad()
def test_denoise_f4_without_guidance(hallo, load_case):
    description, t = load_case("denoise_f4")
    features, identity, _ = features_of(hallo, load_case, EXACT)
    half = {site: maps[len(maps) // 2 :] for site, maps in features.items()}
    told = hallo_chunk(
        hallo, half, identity, None, audio=t["in.audio_tokens"][1:],
        face_region=t["in.face_locator"][1:, :, 0], regions=regions(t), quirks=EXACT,
    )  # fmt: skip
    assert told.unconditional is None
    noisy = rearrange(t["in.noise"], "b c f h w -> b f c h w")
    out = hallo(noisy, torch.tensor([description["timestep"]]), told.conditional)
    ours = rearrange(out, "b f c h w -> b c f h w")
    agree(
        "denoise_f4 nocfg_bank_fp32",
        ours,
        t["out.nocfg_bank_fp32"],
        description["tolerance"]["cfg_bank_fp32"],
    )


def trace_points(backbone) -> dict[str, torch.nn.Module]:
    """Name of each trace -> the module of ours whose output it is."""
    points = {"conv_in": backbone.conv_in}
    for level in backbone.levels():
        for kind in ("resnets", "attentions", "audio_modules"):
            if len(getattr(level, kind)):
                points[f"{level.path}.{kind}.0"] = getattr(level, kind)[0]
        if len(level.motion_modules):
            points[f"{level.path}.motion_modules.0"] = level.motion_modules[0].temporal_transformer
        last = level.motion_modules[-1] if len(level.motion_modules) else level.resnets[-1]
        last = level.resnets[-1] if level.path == "mid_block" else last
        for resampler in ("downsamplers", "upsamplers"):
            last = getattr(level, resampler)[0] if hasattr(level, resampler) else last
        points[level.path] = last
    return points


@torch.no_grad()
def test_denoise_f4_layer_by_layer(hallo, load_case):
    description, t = load_case("denoise_f4")
    seen: dict[str, list[torch.Tensor]] = {}
    handles = [
        module.register_forward_hook(lambda _, __, out, name=name: seen.setdefault(name, []).append(out))
        for name, module in trace_points(hallo.backbone).items()
    ]
    try:
        denoise(hallo, load_case, t, description, EXACT)
    finally:
        for handle in handles:
            handle.remove()
    traces = [key.removeprefix("trace.") for key in t if key.startswith("trace.")]
    assert len(traces) == 21
    for name in traces:
        ours = torch.stack([rearrange(half, "f c h w -> c f h w") for half in seen[name]])
        theirs = t[f"trace.{name}"]
        if (
            ".motion_modules." in name
        ):  # Hallo computes on the motion frames, too, and cuts them off afterwards
            theirs = theirs[:, :, -ours.shape[2] :]
        agree(f"denoise_f4 trace {name}", ours, theirs, description["tolerance"]["trace"])


@pytest.mark.parametrize(("output", "quirks"), [("cfg_published", HalloQuirks()), ("cfg_bank_fp32", EXACT)])
@torch.no_grad()
def test_denoise_f16(hallo, load_case, output, quirks):
    description, t = load_case("denoise_f16")
    out = denoise(hallo, load_case, t, description, quirks)
    agree(f"denoise_f16 {output}", out, t[f"out.{output}"], description["tolerance"][output])


def test_scheduler(hallo, load_case):
    description, t = load_case("scheduler")
    tolerance = description["tolerance"]
    schedule = NoiseSchedule(hallo.settings.diffusion)
    agree("scheduler alphas_cumprod", schedule.alphas_cumprod, t["alphas_cumprod"], tolerance)
    counts = [int(key.removeprefix("timesteps_")) for key in t if key.startswith("timesteps_")]
    for count in counts:
        assert list(make_solver("ddim", schedule, count).timesteps) == t[f"timesteps_{count}"].tolist()
    solver = make_solver("ddim", schedule, max(counts))
    for key in (key for key in t if key.startswith("out.prev_sample.step")):
        step = int(key.removeprefix("out.prev_sample.step"))
        previous = solver.step(t["in.model_output"], solver.timesteps[step], t["in.sample"])
        agree(f"scheduler step {step}", previous, t[key], tolerance)
    assert schedule.levels(-1) == (1.0, 0.0)
