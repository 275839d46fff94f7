"""What every family of checkpoints does in its own way, beside its network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from emote_cli.animation.chunks import Carry, MadeChunk
from emote_cli.animation.finishing import make_finisher
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.runtime import Runtime
from emote_cli.animation.scene import Scene
from emote_cli.types import Pixels, Portrait, Sound


class Scheme(ABC):
    """Frames from a portrait and speech, as a family of checkpoints makes them.

    Args:
        runtime: with a model of the family.

    Attributes:
        runs_ahead: whether a chunk is sampled in a second thread while the one before is finished.
    """

    runs_ahead = False

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @abstractmethod
    def raw_chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Frames as the network makes them, chunk by chunk; see `Animator.raw_chunks`."""

    def raw_frames(self, portrait: Portrait, speech: Sound, options: AnimateOptions) -> Iterator[Pixels]:
        """Frames as the network makes them; see `Animator.raw_frames`."""
        for made in self.raw_chunks(portrait, speech, options):
            yield from made.frames

    def make_finisher(self, scene: Scene, options: AnimateOptions) -> Callable[[Any, float], Pixels]:
        """Make the function from what chunks hold, and their times in seconds, to frames of the output."""
        return make_finisher(scene, options)


def to_numpy(motion: Float[Tensor, ...]) -> Float[ndarray, ...]:
    """Bring motion frames into the form in which they are stored: float32, nothing lost."""
    return motion.float().cpu().numpy()
