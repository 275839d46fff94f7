"""The one way from the model's frames to those of the video: retimed, enlarged, alive, pasted back.

Python (`Animator.stream`), the command, `--dry-run` and validation all go through `show_chunks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from emote_cli.animation.aids.enlarge import Enlarged, Enlarger, enlarge_plainly
from emote_cli.animation.aids.idle import Idle
from emote_cli.animation.aids.paste import Liven, Paster, leave_as_is
from emote_cli.animation.chunks import Carry, MadeChunk
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.portrait import cut_square
from emote_cli.animation.retime import find_first_shown, retime
from emote_cli.animation.scene import Scene, listen
from emote_cli.media.image import resize
from emote_cli.types import Pixels, Portrait, Sound


@runtime_checkable
class MakesFrames(Protocol):
    """What `Animator` does for `show_chunks`."""

    def raw_chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Frames as the network makes them; see `Animator.raw_chunks`."""
        ...

    def make_finisher(self, scene: Scene, options: AnimateOptions) -> Callable[[Any, float], Pixels]:
        """Make the function from such a frame, and its time in seconds, to a frame of the output."""
        ...


@dataclass(frozen=True, slots=True)
class ShownChunk:
    """Frames of the video that come of one chunk.

    Attributes:
        frames: are finished one by one as they are asked for; take them all before the next chunk.
        n_made: frames that the model made for them.
        carry: what the next chunk needs.
        is_last: whether no chunk follows.
    """

    frames: Iterator[Pixels]
    n_made: int
    carry: Carry
    is_last: bool


def show_chunks(
    animator: MakesFrames, scene: Scene, options: AnimateOptions, after: Carry | None = None
) -> Iterator[ShownChunk]:
    """Animate a scene, chunk by chunk, to frames as they are shown.

    Args:
        animator: with the scene's model.
        scene: what to animate.
        options: how.
        after: of the last chunk that is made already.
    """
    finish = animator.make_finisher(scene, options)
    fps_made = Fraction(scene.settings.fps)

    def shown(chunk: MadeChunk) -> Iterator[Pixels]:
        first = find_first_shown(chunk.start, fps_made, scene.fps)
        retimed = retime(list(chunk.frames), chunk.start, chunk.is_last, fps_made, scene.fps, scene.n_frames)
        for index, frame in enumerate(retimed, first):
            yield finish(frame, float(index / scene.fps))

    for chunk in animator.raw_chunks(scene.portrait, listen(scene, options), options, after):
        yield ShownChunk(shown(chunk), len(chunk.frames), chunk.carry, chunk.is_last)


def show_frames(animator: MakesFrames, scene: Scene, options: AnimateOptions) -> Iterator[Pixels]:
    """The frames of `show_chunks`, one after the other; see `show_chunks`."""
    for chunk in show_chunks(animator, scene, options):
        yield from chunk.frames


def make_finisher(scene: Scene, options: AnimateOptions) -> Callable[[Pixels, float], Pixels]:
    """Make the function from the model's pictures, and their times in seconds, to frames of the output.

    Args:
        scene: what is animated, and the size of the output.
        options: how; of them `detail`, `frame`, `idle`, `head_speed` and `seed` count here.
    """
    photo, portrait, size = scene.photo, scene.portrait, scene.size
    detail = scene.settings.aids.detail_transfer if options.detail is None else options.detail
    liven = make_livener(scene, options)
    if options.frame == "full":
        paste = Paster(photo, portrait, detail, liven)
        height, width = photo.shape[:2]
        if (width // 2 * 2, height // 2 * 2) == size:
            return lambda frame, time_s: np.ascontiguousarray(paste(frame, time_s)[: size[1], : size[0]])
        return lambda frame, time_s: resize(paste(frame, time_s), size)
    side = find_finished_side(scene, options)
    enlarge: Callable[[Pixels], Enlarged] = partial(enlarge_plainly, side=side)
    if detail and side > portrait.pixels.shape[0]:
        enlarge = Enlarger(portrait.pixels, cut_square(photo, portrait.crop_px, portrait.roll_deg, side))
    return lambda frame, time_s: resize(np.rint(liven(enlarge(frame), time_s)).astype(np.uint8), size)


def make_livener(scene: Scene, options: AnimateOptions) -> Liven:
    """Make the function that lets the finished head sway and blink, where the options or the model say so."""
    portrait, speed = scene.portrait, find_idle_speed(scene, options)
    if speed is None:
        return leave_as_is
    side = find_finished_side(scene, options)
    return Idle(portrait.face, side / portrait.pixels.shape[0], side, speed, options.seed)


def find_idle_speed(scene: Scene, options: AnimateOptions) -> float | None:
    """Find how fast the idle head turns, in degrees per frame at 30 fps; None: it is still, and no eye blinks."""
    settings = scene.settings
    if not (settings.aids.idle_motion if options.idle is None else options.idle):
        return None
    return settings.head_speed if options.head_speed is None else options.head_speed


def find_finished_side(scene: Scene, options: AnimateOptions) -> int:
    """Find the side of the square when nothing but pasting or shrinking is left to do, in pixels."""
    if options.frame == "full":
        return round(scene.portrait.crop_px.width)
    return max(scene.size[0], scene.portrait.pixels.shape[0])
