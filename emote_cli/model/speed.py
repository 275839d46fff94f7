"""SpeedEncoder: head-rotation speed -> overlapping tanh buckets -> MLP -> one token per frame (paper 3.2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emote_cli.settings import SpeedSettings


class SpeedEncoder(nn.Module):
    """s_i = tanh(3 (w - c_i) / r_i) for every frame of the window, then an MLP.

    Buckets overlap (radius = spacing by default), so that no speed between 0 and the last center falls into a
    gap.

    Args:
        settings: buckets, margin and width.
    """

    centers: Tensor

    def __init__(self, settings: SpeedSettings) -> None:
        super().__init__()
        self.radius = settings.radius
        centers = torch.linspace(0.0, settings.top, settings.buckets, device="cpu")
        self.register_buffer("centers", centers, persistent=False)
        inputs = (2 * settings.margin + 1) * settings.buckets
        self.mlp = nn.Sequential(
            nn.Linear(inputs, settings.width), nn.SiLU(), nn.Linear(settings.width, settings.width)
        )

    def buckets(self, speed: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes buckets"]:
        """The bucket vector of each speed, in degrees per frame at 30 fps."""
        return torch.tanh(3.0 * (speed[..., None] - self.centers) / self.radius)

    def forward(self, windows: Float[Tensor, "b f window"]) -> Float[Tensor, "b f d"]:
        """Speeds of frames t - m ... t + m -> the token of frame t; an unknown speed (NaN) gives zeros."""
        known = torch.isfinite(windows).all(-1, keepdim=True)
        inputs = self.buckets(torch.nan_to_num(windows)).flatten(-2)
        tokens: Tensor = self.mlp(inputs.to(next(self.mlp.parameters()).dtype))
        return tokens * known
