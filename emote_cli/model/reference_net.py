"""ReferenceNet: a U-Net like the Backbone's, for single pictures, that returns what its self-attentions see.

Paper 3.2. Run at timestep 0 once per video on the reference and once per chunk on the motion frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emote_cli.model.conditioning import ReferenceFeatures
from emote_cli.model.layers import SpatialTransformer, TransformerBlock
from emote_cli.model.unet import UNet, UNetLevel
from emote_cli.settings import FamilySettings, UNetSettings
from emote_cli.shapes import ImageLatents, Maps, Tokens


class ReferenceNet(UNet):
    """Latents of pictures -> features by site. Ends at its last site: nothing behind it would be read.

    Args:
        latent_channels: of the pictures.
        shape: the backbone's.
        family: which attentions exist.
    """

    def __init__(self, *, latent_channels: int, shape: UNetSettings, family: FamilySettings) -> None:
        def attention(level: UNetLevel, width: int, incoming: int) -> nn.Module:
            block = TransformerBlock(
                width=width, shape=shape, family=family, audio_width=None, is_reference=True
            )
            return SpatialTransformer(width=width, groups=shape.norm_groups, block=block)

        super().__init__(in_channels=latent_channels, shape=shape, attention=attention)
        self._cut_behind_last_site()

    def _cut_behind_last_site(self) -> None:
        """Keep of the last site only what its tap needs, and drop the levels behind it."""
        self.last_site = list(self.sites())[-1]
        while not self.up_blocks[-1].attentions:
            del self.up_blocks[-1]
        level = self.up_blocks[-1]
        if hasattr(level, "upsamplers"):
            del level.upsamplers
        site = level.attentions[-1]
        site.proj_out = nn.Identity()
        block = site.transformer_blocks[0]
        for name in ("attn1", "norm2", "attn2", "norm3", "ff"):
            if hasattr(block, name):
                delattr(block, name)

    def forward(self, latents: ImageLatents, identity: Tokens | None = None) -> ReferenceFeatures:
        """Encode pictures.

        Args:
            latents: scaled VAE latents, one row per picture.
            identity: face-identity tokens per picture, for families that have them.

        Returns:
            Site -> normalized self-attention input, one row per picture.
        """
        latents = latents.to(self.conv_in.weight.dtype)
        timestep = torch.zeros(len(latents), dtype=torch.long, device=latents.device)
        time = self.embed_time(timestep, latents)
        features: dict[str, Tensor] = {}
        maps = self.conv_in(latents)
        skips = [maps]
        for level in self.down_blocks:
            for index in range(len(level.resnets)):
                maps = self._site(level, index, level.resnets[index](maps, time), identity, features)
                skips.append(maps)
            if hasattr(level, "downsamplers"):
                maps = level.downsamplers[0](maps)
                skips.append(maps)
        maps = self.mid_block.resnets[0](maps, time)
        maps = self._site(self.mid_block, 0, maps, identity, features)
        maps = self.mid_block.resnets[1](maps, time)
        for level in self.up_blocks:
            for index, resnet in enumerate(level.resnets):
                maps = resnet(torch.cat([maps, skips.pop()], 1), time)
                maps = self._site(level, index, maps, identity, features)
            if hasattr(level, "upsamplers"):
                maps = level.upsamplers[0](maps)
        return features

    def _site(
        self, level: UNetLevel, index: int, maps: Maps, identity: Tokens | None, features: dict[str, Tensor]
    ) -> Maps:
        """Tap one site and run it."""
        attention = level.at("attentions", index)
        if attention is None:
            return maps
        site = level.site(index)
        features[site] = attention.tap(maps)
        return maps if site == self.last_site else attention(maps, slot=identity)
