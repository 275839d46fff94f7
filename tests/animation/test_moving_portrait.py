"""What a viewer sees of a moved portrait is what the Painter was trained to draw."""

import cv2
import numpy as np
import torch

from emote_cli.animation.moving_portrait import MovingPortrait, look, view_of
from emote_cli.model.painter import VIEW, Painter
from emote_cli.perception.motion_latents import mean_face
from emote_cli.training.pairs import cut

LOWER_LIP = [146, 91, 181, 84, 17, 314, 405, 321, 375, 95, 88, 178, 87, 14, 317, 402, 318, 324]


def face() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A smooth picture, the landmarks of a closed mouth in it, and of an open one."""
    rest = (mean_face() * 61 + (97, 71)).astype(np.float32)
    noise = np.random.default_rng(0).integers(120, 255, (211, 193, 3), dtype=np.uint8)
    opened = rest.copy()
    opened[LOWER_LIP, 1] += 14
    return cv2.GaussianBlur(noise, (0, 0), 6), rest, opened


def seen_error(painter: Painter) -> float:
    """How far, on average, the frame's square is from what the Painter's own `paint` gives; the edges fade."""
    picture, rest, opened = face()
    frame = MovingPortrait(picture, rest, painter).draw(opened)
    view = view_of(opened, rest)
    seen = look(picture, rest, opened, view)
    warped, portrait = (
        torch.from_numpy(p.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        for p in (seen.warped, seen.portrait)
    )
    with torch.inference_mode():
        painted = painter.paint(warped, portrait, torch.from_numpy(seen.hints)[None])
    wanted = ((painted.clamp(-1, 1)[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    middle = (slice(VIEW // 4, 3 * VIEW // 4),) * 2
    return float(np.abs(cut(frame, view)[middle].astype(np.float32) - wanted[middle]).mean())


def test_an_untrained_painter_shows_the_sketched_mouth() -> None:
    assert seen_error(Painter()) < 3


def test_a_painter_s_own_pixels_are_shown() -> None:
    painter = Painter()
    with torch.no_grad():
        painter.conv_out.bias.fill_(-0.5)
    assert seen_error(painter) < 3
