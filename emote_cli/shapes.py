"""Axis vocabulary. One order at every boundary: `b f c h w`, pixels in [-1, 1].

Letters: b batch, f frames, n motion frames, c channels, h height, w width (space only), k tokens, d feature
width, s layers of speech features.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

ImagePixels = Float[Tensor, "b 3 image_height image_width"]
VideoPixels = Float[Tensor, "b f 3 image_height image_width"]
ImageLatents = Float[Tensor, "b c h w"]
VideoLatents = Float[Tensor, "b f c h w"]
MotionLatents = Float[Tensor, "b n c h w"]
Tokens = Float[Tensor, "b k d"]
Maps = Float[Tensor, "bf _ h w"]
"""Feature maps inside a U-Net: one row per frame; channels may change from layer to layer."""
