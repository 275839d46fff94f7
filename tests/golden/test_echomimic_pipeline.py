"""EchoMimic's way from sound and noise to a video: what it hears, and both of its pipelines whole."""

import numpy as np
import pytest
import torch
from einops import rearrange
from golden_models import agree, echomimic_model

from emote_cli.animation.memory import Guard
from emote_cli.animation.quality import Recipe
from emote_cli.animation.schemes.echomimic_video import EchoMimicInputs, sample_video
from emote_cli.diffusion.solvers import Ddim
from emote_cli.perception.whisper import encode, whisper_features
from emote_cli.perception.whisper_encoder import WhisperEncoder, log_mel
from emote_cli.settings import AudioSettings
from emote_cli.types import Waveform

NAMES = {
    "encoder.blocks": "layers", "attn.query": "self_attn.q_proj", "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj", "attn.out": "self_attn.out_proj", "attn_ln": "self_attn_layer_norm",
    "mlp.0": "fc1", "mlp.2": "fc2", "mlp_ln": "final_layer_norm", "encoder.conv": "conv",
}  # fmt: skip
"""OpenAI's names, and transformers'."""


def published_name(ours: str) -> str:
    for theirs, name in NAMES.items():
        if name in ours:
            ours = ours.replace(name, theirs)
    return ours


def sinusoids(length: int, width: int) -> torch.Tensor:
    """Whisper's positions: sines, then cosines."""
    rate = torch.exp(-np.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    turn = torch.arange(length)[:, None] * rate[None]
    return torch.cat([turn.sin(), turn.cos()], 1)


@pytest.fixture(scope="module")
def whisper(load_case, recipe_of) -> WhisperEncoder:
    description, _ = load_case("echomimic_audio")
    recipe, size = recipe_of("echomimic_audio"), description["dims"]
    encoder = WhisperEncoder(
        size["n_audio_state"],
        size["n_audio_layer"],
        size["n_audio_head"],
        size["n_audio_ctx"],
        size["n_mels"],
    )
    seed, tensors = description["weights_seed"], {}
    for name, value in encoder.state_dict().items():
        if name == "embed_positions.weight":
            tensors[name] = sinusoids(*value.shape)
        else:
            key = f"whisper.{published_name(name)}"
            tensors[name] = torch.from_numpy(recipe.make(key, tuple(value.shape), seed))
    encoder.load_state_dict(tensors)
    return encoder.eval()


def test_log_mel(load_case):
    description, t = load_case("echomimic_audio")
    told = description["log_mel"]
    waveform = Waveform(t["in.samples"].numpy(), description["sample_rate"])
    ours = log_mel(waveform, description["dims"]["n_mels"])
    assert ours.shape[1] == told["length"]
    tolerance = description["tolerance"]["out.log_mel"]
    rows = next(t[key] for key in t if key.startswith("out.log_mel.frames"))
    columns = next(t[key] for key in t if key.startswith("out.log_mel.columns"))
    agree("echomimic log-mel, rows", ours[told["bands"]], rows, tolerance)
    agree("echomimic log-mel, columns", ours[:, told["columns"]], columns, tolerance)


def test_states(load_case, whisper):
    description, t = load_case("echomimic_audio")
    states = encode(whisper, Waveform(t["in.samples"].numpy(), description["sample_rate"]))
    assert len(states) == description["states_of_the_original"]
    picked = torch.from_numpy(states[t["out.states.index"].numpy()])
    agree("echomimic states", picked, t["out.states"], description["tolerance"]["out.states"])


def test_tokens_of_frames(load_case, whisper):
    description, t = load_case("echomimic_audio")
    settings = AudioSettings(encoder="whisper", embed=description["dims"]["n_audio_state"])
    waveform = Waveform(t["in.samples"].numpy(), description["sample_rate"])
    features, frames = whisper_features(waveform, settings, description["fps"], whisper)
    assert features.n_frames == description["frames_of_the_original"]
    assert frames == round(waveform.duration_s * description["fps"])
    index = features.index(0, features.n_frames, settings.margin)
    assert np.array_equal(index, t["out.state_index_of_frames"].numpy())
    windows = np.concatenate([features.windows(int(i), 1, settings.margin) for i in t["out.tokens.frames"]])
    tokens = rearrange(torch.from_numpy(windows), "f s l e -> f (s l) e")
    agree("echomimic tokens", tokens, t["out.tokens"], description["tolerance"]["out.tokens"])


class Tokens:
    """The case's tokens in place of what is heard."""

    def __init__(self, tokens: np.ndarray, layers: int) -> None:
        self.tokens, self.n_frames, self.layers = tokens, len(tokens), layers

    def windows(self, start: int, count: int, margin: int) -> np.ndarray:
        return rearrange(self.tokens[start : start + count], "f (s l) e -> f s l e", l=self.layers)


@pytest.fixture(scope="module")
def model(load_case, recipe_of, folder_of):
    name = "echomimic_pipeline"
    description, _ = load_case(name)
    return echomimic_model(
        description, folder_of(name), recipe_of(name), description["weights_seed"],
        description["window"]["size"], description["config"]["vae"],
    )  # fmt: skip


def test_pipelines_from_raw_noise(load_case, model, monkeypatch):
    description, _ = load_case("echomimic_pipeline")
    after: list[torch.Tensor] = []
    step = Ddim.step

    def watched(self, *args):
        after.append(step(self, *args))
        return after[-1]

    monkeypatch.setattr(Ddim, "step", watched)
    for name in description["pipelines"]:
        after.clear()
        follow_pipeline(load_case, model, after, name)


def follow_pipeline(load_case, model, after: list[torch.Tensor], pipeline: str) -> None:
    """Run one of the case's pipelines; `after` is filled with the latents after each step as they are taken."""
    description, t = load_case("echomimic_pipeline")
    tolerance, how = description["tolerance"], description["pipelines"][pipeline]
    inputs = EchoMimicInputs(
        pixels=rearrange(t["in.picture"].float() / 127.5 - 1, "h w c -> c h w"),
        face_mask=t["in.face_mask"],
        features=Tokens(t["in.tokens"].numpy(), model.settings.audio.layers),
    )
    (raw,) = (t[key] for key in t if key.startswith("in.raw_noise"))
    assert raw.shape[2] == description["frames"]
    latents = sample_video(
        model, inputs, rearrange(raw, "b c f h w -> b f c h w"),
        Recipe("ddim", how["steps"], how["guidance"]), Guard(None),
    )  # fmt: skip
    assert torch.equal(after[-1], latents)
    for number, (ours, theirs) in enumerate(
        zip(after, t[f"out.{pipeline}.latents_after_steps"], strict=True)
    ):
        ours = rearrange(ours, "b f c h w -> b c f h w")
        agree(f"echomimic {pipeline} latents after step {number}", ours, theirs, tolerance["latents"])
    with torch.inference_mode():
        video = model.decode(latents[:, description["video_frames"]]) / 2 + 0.5
    (key,) = (key for key in t if key.startswith(f"out.{pipeline}.video"))
    agree(
        f"echomimic {pipeline} video", rearrange(video, "b f c h w -> b c f h w"), t[key], tolerance["video"]
    )
