"""The U-Net skeleton that ReferenceNet and Backbone share: SD 1.5's topology and key names, any widths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from emote_cli.model.blocks import Downsample, ResidualBlock, TimeEmbedding, Upsample
from emote_cli.settings import UNetSettings

MakeLayer = Callable[["UNetLevel", int, int], nn.Module | None]
"""(level, width of the site, inner width of an audio module there) -> the layer, or None for none."""


class UNetLevel(nn.Module):
    """The layers of one level; lists of layers that it has none of are empty.

    Args:
        path: module path, the same in both networks.
        depth: how often the picture has been halved here.
        has_attention: whether spatial transformers stand here.
    """

    # Lists of layers; torch types their items as "Tensor | Module".
    resnets: Any
    downsamplers: Any
    upsamplers: Any

    def __init__(self, path: str, depth: int, has_attention: bool) -> None:
        super().__init__()
        self.path, self.depth, self.has_attention = path, depth, has_attention
        self.resnets = nn.ModuleList()
        self.attentions = nn.ModuleList()
        self.audio_modules = nn.ModuleList()
        self.motion_modules = nn.ModuleList()

    def add(self, kind: str, layer: nn.Module | None) -> None:
        """Append a layer to `attentions`, `audio_modules` or `motion_modules`; None adds nothing."""
        if layer is not None:
            getattr(self, kind).append(layer)

    def at(self, kind: str, index: int) -> Any:
        """The layer of that kind at one site, or None."""
        layers = getattr(self, kind)
        return layers[index] if index < len(layers) else None

    def site(self, index: int) -> str:
        """Name of the attention site, the same in both networks."""
        return f"{self.path}.attentions.{index}"


class UNet(nn.Module):
    """conv_in, time embedding, down levels, mid level, up levels.

    Args:
        in_channels: channels of conv_in.
        shape: widths and depths.
        attention: makes the spatial transformer of a site.
        audio_module: makes Hallo's audio module of a site.
        motion: makes the TemporalModule of a site.
    """

    # Levels; torch types their items as "Tensor | Module".
    down_blocks: Any
    mid_block: Any
    up_blocks: Any

    def __init__(
        self,
        *,
        in_channels: int,
        shape: UNetSettings,
        attention: MakeLayer,
        audio_module: MakeLayer = lambda level, width, incoming: None,
        motion: MakeLayer = lambda level, width, incoming: None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self._makers = {"attentions": attention, "audio_modules": audio_module, "motion_modules": motion}
        widths = shape.block_channels
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], 4 * widths[0])
        skips = [widths[0]]
        self.down_blocks = nn.ModuleList(self._down_level(depth, skips) for depth in range(len(widths)))
        self.mid_block = self._mid_level()
        self.up_blocks = nn.ModuleList(self._up_level(index, skips) for index in range(len(widths)))
        del self._makers

    def _resnet(self, width_in: int, width: int) -> ResidualBlock:
        time_width = 4 * self.shape.block_channels[0]
        return ResidualBlock(width_in, width, groups=self.shape.norm_groups, eps=1e-5, time_width=time_width)

    def _add_sites(self, level: UNetLevel, width: int, incoming: int) -> None:
        for kind, make in self._makers.items():
            if level.has_attention or kind == "motion_modules":
                level.add(kind, make(level, width, incoming))

    def _down_level(self, depth: int, skips: list[int]) -> UNetLevel:
        widths, shape = self.shape.block_channels, self.shape
        level = UNetLevel(f"down_blocks.{depth}", depth, shape.attention[depth])
        width, incoming = widths[depth], widths[max(depth - 1, 0)]
        for _ in range(shape.layers_per_block):
            level.resnets.append(self._resnet(incoming, width))
            self._add_sites(level, width, incoming)
            incoming = width
            skips.append(width)
        if depth < len(widths) - 1:
            level.downsamplers = nn.ModuleList([Downsample(width, padding=1)])
            skips.append(width)
        return level

    def _mid_level(self) -> UNetLevel:
        widths = self.shape.block_channels
        level, width = UNetLevel("mid_block", len(widths) - 1, True), widths[-1]
        level.resnets.append(self._resnet(width, width))
        self._add_sites(level, width, width)
        level.resnets.append(self._resnet(width, width))
        return level

    def _up_level(self, index: int, skips: list[int]) -> UNetLevel:
        shape = self.shape
        widths = shape.block_channels[::-1]
        depth = len(widths) - 1 - index
        level = UNetLevel(f"up_blocks.{index}", depth, shape.attention[depth])
        width, incoming = widths[index], widths[max(index - 1, 0)]
        for _ in range(shape.layers_per_block + 1):
            level.resnets.append(self._resnet(incoming + skips.pop(), width))
            incoming = width
            self._add_sites(level, width, widths[min(index + 1, len(widths) - 1)])
        if index < len(widths) - 1:
            level.upsamplers = nn.ModuleList([Upsample(width)])
        return level

    def embed_time(self, timestep: Int[Tensor, " b"], like: Tensor) -> Float[Tensor, "b d"]:
        """Timestep (0 ... 999) -> embedding in the dtype of `like`."""
        embedded: Tensor = self.time_embedding(timestep, like.dtype)
        return embedded

    def levels(self) -> Iterator[UNetLevel]:
        """All levels in the order of the data flow."""
        yield from self.down_blocks
        yield self.mid_block
        yield from self.up_blocks

    def sites(self) -> dict[str, Any]:
        """Attention sites by name, in the order of the data flow."""
        return {
            level.site(index): attention
            for level in self.levels()
            for index, attention in enumerate(level.attentions)
        }
