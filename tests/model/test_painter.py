"""The Painter begins as the warped portrait, and every part of it learns."""

import torch

from emote_cli.model.painter import HINTS, Painter


def inputs(side: int = 32) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return torch.rand(3, 3, side, side), torch.rand(3, 3, side, side), torch.rand(3, HINTS, side, side)


def test_an_untrained_painter_changes_nothing() -> None:
    warped, portrait, hints = inputs()
    assert torch.equal(Painter((8, 12)).paint(warped, portrait, hints), warped)


def test_every_parameter_gets_a_gradient() -> None:
    painter = Painter((8, 12, 20))
    torch.nn.init.normal_(painter.conv_out.weight, std=0.1)
    torch.autograd.backward(painter.paint(*inputs()).square().mean())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in painter.parameters())


def test_the_mask_opens_where_the_mouth_does() -> None:
    warped, portrait, hints = inputs()
    hints[:, 0] = 0
    hints[:, 0, 10:20, 10:20] = 1
    _, mask = Painter((8, 12))(warped, portrait, hints)
    assert mask[:, 0, 15, 15].min() > 0.8 > 0.1 > mask[:, 0, 2, 2].max()
