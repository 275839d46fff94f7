"""Averages each frame's latents with those around it, against lips that tremble from frame to frame.

Output lags by `reach` frames, because averaging needs the first frames of the next chunk. Motion frames are
not averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

AnyLatents = Float[Tensor, "b _ c h w"]


def average(latents: AnyLatents, reach: int) -> AnyLatents:
    """Average each frame with those around it; nearer ones count more.

    Args:
        latents: also of `reach` frames before the first and behind the last that come back.
        reach: frames on either side.
    """
    if not reach:
        return latents
    weights = [reach + 1 - abs(offset) for offset in range(-reach, reach + 1)]
    count = latents.shape[1] - 2 * reach
    parts = [weight * latents[:, first : first + count] for first, weight in enumerate(weights)]
    return torch.stack(parts).sum(0) / sum(weights)


@dataclass(frozen=True, slots=True)
class Track:
    """The last frames' latents, as far back as they are needed.

    Attributes:
        reach: how many frames on either side each one is averaged with; no more than half a chunk.
        motion_frames: how many of the last ones the next chunk goes on from.
        latents: the last `reach` of them are not shown yet. No frames before the first chunk.
    """

    reach: int
    motion_frames: int
    latents: AnyLatents

    @property
    def motion(self) -> AnyLatents | None:
        """The motion frames for the next chunk."""
        return self.latents[:, -self.motion_frames :] if self.latents.shape[1] else None

    def extend(self, made: AnyLatents, *, is_last: bool) -> tuple[AnyLatents, Track]:
        """Add a chunk; returns the latents that can be shown now, and the track from here on.

        Before the first frame and behind the last one time stands still.
        """
        first = not self.latents.shape[1]
        before = made[:, :1].repeat(1, self.reach, 1, 1, 1) if first else self.latents
        track = torch.cat([before, made], 1)
        seen = track if first else track[:, before.shape[1] - 2 * self.reach :]
        after = [made[:, -1:]] * self.reach if is_last else []
        kept = track[:, -max(2 * self.reach, self.motion_frames) :]
        return average(torch.cat([seen, *after], 1), self.reach), Track(self.reach, self.motion_frames, kept)
