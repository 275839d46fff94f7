"""AudioProjector: the window of speech features around a frame -> audio tokens (paper 3.2, A_gen)."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.settings import AudioSettings

Windows = Float[Tensor, "b f window layers embed"]
AudioTokens = Float[Tensor, "b f k d"]


class AudioProjector(nn.Module):
    """All layers of all frames of the window through an MLP to tokens (for wav2vec2 features).

    Args:
        settings: window, layers, embed, hidden, tokens and token_width give the sizes.
    """

    def __init__(self, settings: AudioSettings) -> None:
        super().__init__()
        self.tokens = settings.tokens
        inputs = settings.window * settings.layers * settings.embed
        self.proj1 = nn.Linear(inputs, settings.hidden)
        self.proj2 = nn.Linear(settings.hidden, settings.hidden)
        self.proj3 = nn.Linear(settings.hidden, settings.tokens * settings.token_width)
        self.norm = nn.LayerNorm(settings.token_width)

    def forward(self, windows: Windows) -> AudioTokens:
        """Features of frames t - m ... t + m -> tokens of frame t."""
        flat = rearrange(windows, "b f s l e -> b f (s l e)").to(self.proj1.weight.dtype)
        hidden = functional.relu(self.proj2(functional.relu(self.proj1(flat))))
        tokens: Tensor = self.norm(rearrange(self.proj3(hidden), "b f (k d) -> b f k d", k=self.tokens))
        return tokens


class MelProjector(nn.Module):
    """Log-mel columns of the window through convolutions over time: tokens are places in the window.

    Args:
        settings: embed, hidden, tokens and token_width give the sizes.
    """

    def __init__(self, settings: AudioSettings) -> None:
        super().__init__()
        self.tokens = settings.tokens
        width = settings.token_width
        self.conv1 = nn.Conv1d(settings.embed, settings.hidden, 5, padding=2)
        self.conv2 = nn.Conv1d(settings.hidden, settings.hidden, 5, padding=2, stride=2)
        self.conv3 = nn.Conv1d(settings.hidden, width, 5, padding=2, stride=2)
        self.position = nn.Parameter(torch.empty(settings.tokens, width))
        if not self.position.is_meta:  # there torch would load its compiler for it
            nn.init.normal_(self.position, std=0.02)
        self.mix = nn.Sequential(nn.Linear(width * settings.tokens, settings.hidden), nn.SiLU())
        self.summary = nn.Linear(settings.hidden, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, windows: Windows) -> AudioTokens:
        """Mel columns of frames t - m ... t + m -> tokens of frame t."""
        b = len(windows)
        columns = rearrange(windows, "b f s l e -> (b f) e (s l)").to(self.conv1.weight.dtype)
        hidden = functional.silu(self.conv2(functional.silu(self.conv1(columns))))
        places = rearrange(self.conv3(hidden), "bf d k -> bf k d")
        places = functional.adaptive_avg_pool1d(rearrange(places, "b k d -> b d k"), self.tokens)
        places = rearrange(places, "b d k -> b k d") + self.position
        whole = self.summary(self.mix(rearrange(places, "b k d -> b (k d)")))
        tokens: Tensor = self.norm(places + whole[:, None])
        return rearrange(tokens, "(b f) k d -> b f k d", b=b)


class PlainTokens(nn.Module):
    """The window's vectors are the tokens (EchoMimic, whose attention reads Whisper's features directly)."""

    def forward(self, windows: Windows) -> AudioTokens:
        """Features of frames t - m ... t + m -> tokens of frame t."""
        return rearrange(windows, "b f s l e -> b f (s l) e")


def make_projector(settings: AudioSettings) -> nn.Module:
    """Make the projector for the kind of speech features that the model hears."""
    if settings.encoder == "whisper":
        return PlainTokens()
    return (
        MelProjector(settings) if settings.encoder in ("mel", "whisper_blocks") else AudioProjector(settings)
    )
