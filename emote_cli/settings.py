"""How a model is built and sampled from, as typed settings; a checkpoint carries its own. Unknown keys are errors.

Presets are `presets/*.yaml`: `tiny` (tests), `mini` (bundled), `sd15` (the paper), `hallo` and `echomimic` (public
weights).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import Field, model_validator

from emote_cli.errors import SettingsError
from emote_cli.settings_tree import Settings, parse_settings, read_yaml

Widths = Annotated[tuple[Annotated[int, Field(gt=0, le=8192)], ...], Field(min_length=1, max_length=10)]
"""Channels of the levels of a network."""


class AutoencoderSettings(Settings):
    """The image autoencoder: SD's VAE, optionally on pixels folded `patch` x `patch`."""

    retired: ClassVar[dict[str, Any]] = {"tile_above": 1024}

    kind: Literal["pictures", "motion"] = Field(
        "pictures",
        description="what latents hold: pictures, or how far the face has moved from the portrait (model/motion.py)",
    )
    block_channels: Widths = Field((128, 256, 512, 512), description="widths, finest first")
    layers_per_block: int = Field(2, gt=0, le=16)
    latent_channels: int = Field(4, gt=0, le=4096)
    patch: int = Field(1, gt=0, le=64, description="pixels folded into channels before the first convolution")
    norm_groups: int = Field(32, gt=0, le=1024)
    scaling_factor: float = Field(
        0.18215, gt=0, le=1e06, description="latents are multiplied by this after encoding"
    )
    shortcut: bool = Field(
        False, description="add a linear path (one patch per latent cell) around encoder and decoder"
    )

    @property
    def factor(self) -> int:
        """Pixels per latent cell, along one side."""
        return int(self.patch * 2 ** (len(self.block_channels) - 1))


class UNetSettings(Settings):
    """Shape shared by ReferenceNet and Backbone: SD 1.5's by default."""

    block_channels: Widths = Field((320, 640, 1280, 1280), description="widths, finest first")
    attention: tuple[bool, ...] = Field((True, True, True, False), description="levels with transformers")
    layers_per_block: int = Field(2, gt=0, le=16)
    heads: int = Field(8, gt=0, le=256, description="attention heads at every site")
    norm_groups: int = Field(32, gt=0, le=1024)
    feed_forward_mult: int = Field(4, gt=0, le=64, description="inner width of feed-forwards / width")

    @model_validator(mode="after")
    def _levels_agree(self) -> UNetSettings:
        if len(self.attention) != len(self.block_channels):
            raise ValueError(
                f"attention has {len(self.attention)} levels, block_channels {len(self.block_channels)}"
            )
        for width in self.block_channels:
            if width % self.norm_groups or width % self.heads:
                raise ValueError(f"width {width} is not a multiple of norm_groups and heads")
        return self


class FamilySettings(Settings):
    """Where the checkpoints of the EMO family differ: data, not code paths."""

    reference: Literal["own_attention", "joined"] = Field(
        "own_attention",
        description="own layer after self-attention (EMO), or keys joined to it (Hallo, EchoMimic)",
    )
    audio: Literal["own_layer", "text_slot", "audio_module"] = Field(
        "own_layer", description="own layer (EMO), SD's text slot (EchoMimic), or Hallo's three-branch module"
    )
    identity_tokens: int = Field(
        0, ge=0, le=1024, description="face-identity tokens in SD's text slot (Hallo: 4)"
    )
    identity_width: int = Field(768, gt=0, le=65536, description="length of an identity token")
    identity_embedding: int = Field(
        512, gt=0, le=65536, description="length of the face embedding that identity tokens come from"
    )
    speed_layers: bool = Field(True, description="whether TemporalModules hear the head speed")
    temporal_sites: Literal["all", "attention"] = Field("all", description="levels whose TemporalModules run")
    long_video: Literal["motion_frames", "overlap"] = "motion_frames"
    motion_mask: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the motion frames' pixels outside the face that become grey (Hallo 2: 0.25)",
    )
    audio_ratio: float = Field(
        1.0, ge=0, le=100, description="factor on the audio layer's output (EchoMimic: 3)"
    )
    reference_latents: bool = Field(
        False,
        description="the reference latents enter as extra channels and the target is the change against them",
    )


class AudioSettings(Settings):
    """Speech features and their way into tokens."""

    encoder: Literal["wav2vec2", "whisper", "whisper_blocks", "mel"] = "wav2vec2"
    layers: int = Field(
        12, gt=0, le=256, description="vectors per video frame: wav2vec2 layers, or mel columns"
    )
    embed: int = Field(768, gt=0, le=65536, description="length of each vector")
    margin: int = Field(2, ge=0, le=256, description="m: frames on each side of the window (paper 3.2)")
    hidden: int = Field(512, gt=0, le=65536, description="inner width of the projector")
    tokens: int = Field(32, gt=0, le=4096, description="audio tokens per frame")
    token_width: int = Field(768, gt=0, le=65536)

    @property
    def window(self) -> int:
        """Frames per window, 2m + 1."""
        return 2 * self.margin + 1


class TemporalSettings(Settings):
    """TemporalModules (AnimateDiff form) and motion frames."""

    attention_blocks: int = Field(2, gt=0, le=32)
    max_frames: int = Field(32, gt=0, le=4096, description="positions: motion frames + frames of a chunk")
    motion_frames: int = Field(4, gt=0, le=1024, description="n: last frames of the previous chunk")
    chunk_frames: int = Field(12, gt=0, le=1024, description="f: frames generated together")

    @model_validator(mode="after")
    def _fits(self) -> TemporalSettings:
        if self.motion_frames + self.chunk_frames > self.max_frames:
            together = self.motion_frames + self.chunk_frames
            raise ValueError(f"motion_frames + chunk_frames = {together} > max_frames {self.max_frames}")
        return self


class SpeedSettings(Settings):
    """Speed buckets (paper 1.8): degrees per frame at 30 fps."""

    buckets: int = Field(10, gt=1, le=1000)
    top: float = Field(1.8, gt=0, le=1000, description="center of the last bucket")
    radius: float = Field(0.2, gt=0, le=1000)
    margin: int = Field(2, ge=0, le=256, description="m: frames on each side of the window")
    width: int = Field(128, gt=0, le=65536, description="l: length of the embedding")


class FaceLocatorSettings(Settings):
    """Convolutions over the face-region mask."""

    in_channels: int = Field(1, gt=0, le=1024)
    channels: Widths = Field((16, 32, 64, 128), description="each step after the first halves the size")


class DiffusionSettings(Settings):
    """One noise schedule for training and sampling."""

    objective: Literal["v", "epsilon", "sample"] = "v"
    timesteps: int = Field(1000, gt=0, le=100000)
    beta_start: float = Field(0.00085, gt=0, lt=1)
    beta_end: float = Field(0.012, gt=0, lt=1)
    beta_schedule: Literal["scaled_linear", "linear"] = "scaled_linear"
    zero_terminal_snr: bool = True
    solver: Literal["ddim", "dpm"] = Field("ddim", description="default solver")
    steps: int = Field(40, gt=0, le=1000, description="default number of denoising steps")
    guidance: float = Field(3.5, ge=0, le=100, description="default guidance scale; 1 = off")
    shared_noise: float = Field(
        0.0, ge=0, le=1, description="share of the noise's variance that all frames of a video have in common"
    )

    @model_validator(mode="after")
    def _solvable(self) -> DiffusionSettings:
        if self.zero_terminal_snr and self.objective == "epsilon":
            raise ValueError(
                "zero_terminal_snr needs objective v or sample: epsilon cannot tell the picture at t = 999"
            )
        return self


class AidSettings(Settings):
    """Defaults of the quality aids around the network (animation/aids/)."""

    detail_transfer: bool = Field(
        False, description="give still places the portrait's own detail back (detail.py)"
    )
    lower_face_only: bool = Field(
        False,
        description="with detail transfer: all but the lower face, and the mouth's colors, are the portrait's",
    )
    articulation: float = Field(
        1.0, gt=0, le=5, description="how far speech moves the lips away from silence"
    )
    smoothing: int = Field(
        0, ge=0, le=5, description="how many frames on either side each one is averaged with"
    )
    idle_motion: bool = Field(False, description="let the head sway and the eyes blink (idle.py)")


class ModelSettings(Settings):
    """Everything that says how a model is built; saved as settings.yaml beside its weights."""

    moved: ClassVar[dict[str, str]] = {name: f"aids.{name}" for name in AidSettings.model_fields}

    name: str
    image_size: int = Field(512, gt=0, le=4096, description="side of the square picture in pixels")
    fps: int = Field(25, gt=0, le=240, description="frame rate that the model was trained for")
    autoencoder: AutoencoderSettings = AutoencoderSettings()
    unet: UNetSettings = UNetSettings()
    family: FamilySettings = FamilySettings()
    audio: AudioSettings = AudioSettings()
    temporal: TemporalSettings = TemporalSettings()
    speed: SpeedSettings = SpeedSettings()
    face_locator: FaceLocatorSettings = FaceLocatorSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    aids: AidSettings = AidSettings()
    head_speed: float = Field(0.4, ge=0, le=2, description="default head speed, degrees per frame at 30 fps")

    @model_validator(mode="after")
    def _sizes_agree(self) -> ModelSettings:
        cells = self.autoencoder.factor * 2 ** (len(self.unet.block_channels) - 1)
        if self.image_size % cells:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {cells}")
        if 2 ** (len(self.face_locator.channels) - 1) != self.autoencoder.factor:
            raise ValueError(
                "the face locator must shrink by the autoencoder's factor: one channel entry per halving"
            )
        return self

    @property
    def latent_size(self) -> int:
        """Side of the square latents."""
        return self.image_size // self.autoencoder.factor


def preset_names() -> list[str]:
    """List the models that have a preset."""
    names = (file.name for file in resources.files("emote_cli").joinpath("presets").iterdir())
    return sorted(
        n.removesuffix(".yaml") for n in names if n.endswith(".yaml") and not n.startswith("train-")
    )


def load_preset(name: str) -> ModelSettings:
    """Read `presets/NAME.yaml`.

    Raises:
        SettingsError: if there is no such preset, or it does not validate.
    """
    if name not in preset_names():
        raise SettingsError(f"unknown preset '{name}'", f"known: {', '.join(preset_names())}")
    text = resources.files("emote_cli").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    return parse_settings(ModelSettings, yaml.safe_load(text), f"preset {name}")


def load_settings(path: Path) -> ModelSettings:
    """Read a settings.yaml that `save_settings` wrote.

    Raises:
        SettingsError: if the file is missing or does not validate.
    """
    if not path.is_file():
        raise SettingsError(
            f"no settings at {path}", "a model folder holds settings.yaml and model.safetensors"
        )
    return parse_settings(ModelSettings, read_yaml(path, "a model folder holds settings.yaml"), str(path))
