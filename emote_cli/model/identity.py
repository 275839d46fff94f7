"""IdentityProjector: the embedding of a face -> tokens for SD's text slot (Hallo)."""

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from emote_cli.settings import FamilySettings


class IdentityProjector(nn.Module):
    """One linear layer and a normalization. Zeros stand for "nobody"; the tokens of nobody are not zero.

    Args:
        family: length of the face embedding, and number and length of its tokens.
    """

    def __init__(self, family: FamilySettings) -> None:
        super().__init__()
        self.tokens = family.identity_tokens
        self.proj = nn.Linear(family.identity_embedding, family.identity_tokens * family.identity_width)
        self.norm = nn.LayerNorm(family.identity_width)

    def forward(self, embedding: Float[Tensor, "b embedding"]) -> Float[Tensor, "b k d"]:
        """Face embeddings -> identity tokens."""
        tokens: Tensor = self.norm(
            rearrange(self.proj(embedding.to(self.proj.weight.dtype)), "b (k d) -> b k d", k=self.tokens)
        )
        return tokens
