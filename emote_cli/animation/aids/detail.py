"""Quality aids outside the network: still places get their detail back, colors and the upper face stay the portrait's.

Detail transfer: what the autoencoder loses of the portrait is given back where the picture stands still. The loss
is known exactly, since the portrait is: portrait - decode(encode(portrait)). It is added to every frame under a soft
mask that is 1 where the frame looks like the decoded portrait and 0 where it moved (mouth, blinking eyes, a turned
head). A model whose heads do not move anyway may keep everything but the lower face as it is in the portrait, and there
show no color that the portrait has neither there nor at the mouth: such colors come from latents that lie far off.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from emote_cli.perception.landmarks import CHEEKS, CHIN, JAW, NOSE
from emote_cli.types import Face

STILL = 0.05
"""Difference of blurred frames, in units of [-1, 1], at which the mask has fallen to 1/e."""
BLUR_SHARE = 1 / 64
"""Radius of the blur over the picture's side."""

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (BT.601)."""
RARE, STRANGE, LEEWAY = 0.02, 0.15, 0.025
"""Shares of the portrait's colors that are left out at either end, of the mouth and of the skin around it (where a
collar may be), and what is added again, in units of [-1, 1]."""
NEXT = 1
"""How many pixels away a color of the portrait is still at that place: a dark collar begins right below a chin."""

DROP, SOFT = 0.12, 0.05
"""How far the chin may drop, and the deviation of the mask's edge, over the face's height."""

Frames = Float[Tensor, "f 3 h w"]


def blur_radius(maps: Float[Tensor, "f c h w"]) -> int:
    """How far a box blur of pictures of this size reaches, in pixels."""
    return max(int(maps.shape[-1] * BLUR_SHARE), 1)


def blur(maps: Float[Tensor, "f c h w"]) -> Float[Tensor, "f c h w"]:
    """Blur twice with a box, edges repeated."""
    radius = blur_radius(maps)
    for _ in range(2):
        padded = functional.pad(maps, (radius,) * 4, mode="replicate")
        maps = functional.avg_pool2d(padded, 2 * radius + 1, stride=1)
    return maps


def stillness(frames: Frames, decoded: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "f 1 h w"]:
    """1 where a frame looks like the decoded portrait, falling to 0 where it differs."""
    change = blur((frames - decoded).abs().mean(1, keepdim=True))
    return blur(torch.exp(-((change / STILL) ** 2)))


def transfer_detail(
    frames: Frames, portrait: Float[Tensor, "1 3 h w"], decoded: Float[Tensor, "1 3 h w"]
) -> Frames:
    """Add the lost detail to still places.

    Args:
        frames: decoded frames in [-1, 1].
        portrait: the portrait itself.
        decoded: the portrait through the autoencoder.
    """
    return (frames + stillness(frames, decoded) * (portrait - decoded)).clamp(-1, 1)


def lower_outline(face: Face, drop_px: float) -> Float[np.ndarray, "points 2"]:
    """Points around the lower face, and around where it is with the chin `drop_px` lower."""
    box = face.box_px
    if not face.blendshapes:  # a box that a person gave: its landmarks say nothing
        x, y = box.center
        return np.array([(box.x0, y), (box.x1, y), (box.x0, box.y1), (box.x1, box.y1), (x, box.y1 + drop_px)])
    jaw, cheeks = face.landmarks_px[list(JAW), :2], face.landmarks_px[list(CHEEKS), :2]
    # Not the pose's axis: the square may be turned.
    up = face.landmarks_px[NOSE, :2] - face.landmarks_px[CHIN, :2]
    return np.concatenate([jaw, cheeks, jaw - up / np.linalg.norm(up) * drop_px])


def soft_hull(
    points: Float[np.ndarray, "points 2"], size: int, soft_px: float, reach_px: int = 0
) -> Float[np.ndarray, "size size"]:
    """1 inside the hull of some points and `reach_px` around it, falling to 0 softly."""
    mask = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.float32)).round().astype(np.int32), 1.0)
    if reach_px:
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach_px + 1,) * 2))
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(soft_px, 0.5)), np.float32)


def draw_lower_face_mask(face: Face, size: int) -> Float[np.ndarray, "size size"]:
    """A soft mask: 1 over mouth, jaw and the room that a dropping chin needs, 0 over eyes, hair and background."""
    height = face.box_px.height
    return soft_hull(lower_outline(face, DROP * height), size, SOFT * height)


def keep_portrait(frames: Frames, portrait: Float[Tensor, "1 3 h w"], mask: Float[Tensor, "h w"]) -> Frames:
    """Keep the portrait where the mask is 0, the frames where it is 1."""
    return portrait + mask * (frames - portrait)


def luma_and_chroma(frames: Frames) -> tuple[Float[Tensor, "f h w"], Float[Tensor, "f 2 h w"]]:
    """Brightness, and how far red and blue differ from it."""
    luma = torch.einsum("fchw,c->fhw", frames, frames.new_tensor(LUMA))
    return luma, frames[:, [0, 2]] - luma[:, None]


@dataclass(frozen=True, slots=True)
class ColorLimits:
    """How far red and blue may differ from the brightness, pixel by pixel."""

    low: Float[Tensor, "1 2 h w"]
    high: Float[Tensor, "1 2 h w"]


def color_limits(
    portrait: Float[Tensor, "1 3 h w"], mask: Float[Tensor, "h w"], lips: Float[Tensor, "h w"]
) -> ColorLimits:
    """What the portrait has at that place; at the lips also all that it has at the mouth.

    Away from the lips it is the skin around them that counts: a grey chin would be a stain. Nor are teeth and shadow
    greyer than the palest place at the mouth: beside warm skin grey looks blue.

    Args:
        portrait: in [-1, 1].
        mask: of the mouth and what is around it; counts as there where it is over a half. A mouth outside the
            picture sets no limits.
        lips: softly, the part of it that may open.
    """
    own = luma_and_chroma(portrait)[1]
    if not (mask > 0.5).any():
        return ColorLimits(torch.full_like(own, -torch.inf), torch.full_like(own, torch.inf))
    low, high = find_usual(own, mask > 0.5, RARE)
    skin = (mask > 0.5) & (lips < 0.5)
    if skin.any():
        low, high = (
            torch.lerp(*ends, lips) for ends in zip(find_usual(own, skin, STRANGE), (low, high), strict=True)
        )
    least = -functional.max_pool2d(-own, 2 * NEXT + 1, 1, NEXT)
    greatest = functional.max_pool2d(own, 2 * NEXT + 1, 1, NEXT)
    return ColorLimits(torch.minimum(low, least) - LEEWAY, torch.maximum(high, greatest) + LEEWAY)


def find_usual(
    chroma: Float[Tensor, "1 2 h w"], place: Bool[Tensor, "h w"], rare: float
) -> tuple[Float[Tensor, "1 2 1 1"], Float[Tensor, "1 2 1 1"]]:
    """Find the least and the greatest value at a place, without that share at either end."""
    low, high = (chroma[0, :, place].quantile(share, dim=1).view(1, 2, 1, 1) for share in (rare, 1 - rare))
    return low, high


def lock_colors(frames: Frames, limits: ColorLimits) -> Frames:
    """Bring colors inside the limits; the brightness stays. Frames are in [-1, 1]."""
    luma, found = luma_and_chroma(frames)
    red, blue = found.clamp(limits.low, limits.high).unbind(1)
    green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
    return (luma[:, None] + torch.stack([red, green, blue], 1)).clamp(-1, 1)
