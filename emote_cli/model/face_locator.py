"""FaceLocator: light convolutions over the face-region mask, added after conv_in (paper 3.2)."""

from __future__ import annotations

from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from jaxtyping import Float
from torch import Tensor

from emote_cli.settings import FaceLocatorSettings


class FaceLocator(ControlNetConditioningEmbedding):  # type: ignore[misc]
    """Mask `b c image_height image_width` in 0..1 -> features `b width h w`; starts at zero.

    The mask is the union of the face boxes of a clip, one per clip; a wider box allows more motion (paper
    4.5).
    """

    def __init__(self, width: int, settings: FaceLocatorSettings) -> None:
        super().__init__(
            conditioning_embedding_channels=width,
            conditioning_channels=settings.in_channels,
            block_out_channels=settings.channels,
        )

    def forward(self, mask: Float[Tensor, "b c image_height image_width"]) -> Float[Tensor, "b width h w"]:
        """Mask -> features."""
        features: Tensor = super().forward(mask.to(self.conv_in.weight.dtype))
        return features
