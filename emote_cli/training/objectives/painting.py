"""Stage `vae` of a model of motion latents: the Painter learns to draw what a moved portrait cannot show.

Pixels and their differences, at three sizes, are compared with the true frame. What teeth look like is not in the
portrait, and the mean of all teeth is gray mist. So a critic learns beside the Painter to tell its mouths from true
ones (a hinge loss; its gradient is reversed on its way to the Painter, arXiv 1409.7495), and its features are compared.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.model.emo import Emo
from emote_cli.model.painter import HINTS
from emote_cli.training.objectives.base import Objective
from emote_cli.training.pairs import Pair
from emote_cli.training.settings import TrainSettings

MOUTH_WEIGHT, EDGE_WEIGHT = 1.5, 0.5
"""Extra weight of pixels in the mouth's opening; weight of differences between neighbors."""
CRITIC_WEIGHT, FEATURE_WEIGHT = 0.12, 0.3
CRITIC_PATCH = 8
"""Pixels of the square per verdict."""
CRITIC_VIEW = (slice(24, 104), slice(16, 112))
"""Rows and columns of the square that the critic sees: the mouth."""


class Critic(nn.Module):
    """Patches of a mouth -> true or painted, and the features on the way.

    Each filter has length 1, which keeps the critic from winning by shouting.

    Args:
        width: channels of the first layer.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (3 + HINTS, width, 2 * width, 3 * width)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.judge = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, pixels: Tensor, hints: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge each patch, high for true ones."""
        maps, features = torch.cat([pixels, hints], 1)[(..., *CRITIC_VIEW)], []
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            length = layer.weight.square().sum((1, 2, 3), keepdim=True).sqrt()
            maps = functional.conv2d(maps, layer.weight / length, layer.bias, stride=2, padding=1)
            maps = functional.leaky_relu(maps, 0.2)
            features.append(maps)
        return self.judge(maps), features


class _Reversed(torch.autograd.Function):
    """The same value; its gradient comes back with the other sign, and scaled."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return -ctx.scale * gradients[0], None


def reverse(value: Tensor, scale: float) -> Tensor:
    """Pass a value on; its gradient comes back with the other sign, and scaled."""
    out: Tensor = _Reversed.apply(value, scale)  # type: ignore[no-untyped-call]
    return out


class Painting(Objective):
    """Pairs -> how far the painted mouth is from the true one.

    Args:
        model: with a Painter; nothing else of it trains.
        settings: of the stage.
    """

    def __init__(self, model: Emo, settings: TrainSettings) -> None:
        super().__init__(model, settings)
        self.critic = Critic()

    @property
    def helper(self) -> Critic:
        """The critic."""
        return self.critic

    def place(self, device: torch.device, layout: torch.memory_format) -> None:
        """Move the model and the critic."""
        super().place(device, layout)
        self.critic.to(device)

    def forward(self, batch: Pair, step: int, first: int) -> Float[Tensor, " b"]:
        """One loss per pair; see `Objective.forward`."""
        painted = self.model.painter.paint(batch.warped, batch.portrait, batch.hints)
        losses = picture_losses(painted, batch.target, batch.hints[:, :1])
        return losses + self._critic_losses(painted, batch)

    def _critic_losses(self, painted: Tensor, batch: Pair) -> Float[Tensor, " b"]:
        true, wanted = self.critic(batch.target, batch.hints)
        false, _ = self.critic(reverse(painted, CRITIC_WEIGHT), batch.hints)
        near = self._near(batch.hints)
        hinge = (near * (functional.relu(1 - true) + functional.relu(1 + false))).sum((1, 2, 3))
        _, made = self._frozen(painted, batch.hints)
        apart = [(a - b.detach()).abs().mean((1, 2, 3)) for a, b in zip(made, wanted, strict=True)]
        return hinge / near.sum((1, 2, 3)) + FEATURE_WEIGHT * torch.stack(apart).sum(0)

    def _near(self, hints: Tensor) -> Float[Tensor, "b 1 patches_y patches_x"]:
        """How much each of the critic's patches counts: those of the opening, and a little of the rest.

        Elsewhere a painted frame is the portrait: there is nothing to tell apart, and nothing would be learned.
        """
        opening = functional.max_pool2d(hints[:, :1], 11, 1, 5)[(..., *CRITIC_VIEW)]
        return functional.avg_pool2d(opening, CRITIC_PATCH) + 0.02

    def _frozen(self, pixels: Tensor, hints: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The critic's features of painted pixels, whose gradient reaches the Painter only."""
        weights = {name: value.detach() for name, value in self.critic.named_parameters()}
        out: tuple[Tensor, list[Tensor]] = torch.func.functional_call(self.critic, weights, (pixels, hints))
        return out


def picture_losses(
    painted: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"], opening: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, " b"]:
    """Compute L1 of pixels and of neighbors' differences at three sizes; more in the mouth's opening.

    Args:
        painted: in [-1, 1].
        target: the true picture, in [-1, 1].
        opening: of the mouth, 0 ... 1.
    """
    near = functional.max_pool2d(functional.avg_pool2d(opening, 5, 1, 2), 7, 1, 3)
    weight = 1 + MOUTH_WEIGHT * near
    weight = weight / weight.mean((1, 2, 3), keepdim=True)
    losses = (weight * (painted - target).abs()).mean((1, 2, 3))
    for size in (1, 2, 4):
        ours, theirs, share = (functional.avg_pool2d(value, size) for value in (painted, target, weight))
        for axis in (2, 3):
            apart = (ours.diff(dim=axis) - theirs.diff(dim=axis)).abs()
            losses = losses + EDGE_WEIGHT * (share.narrow(axis, 1, apart.shape[axis]) * apart).mean((1, 2, 3))
    return losses
