"""Held-out clips as a model makes them: the way of `emote animate`, with its options as they are by default."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from emote_cli.animation.batch import load_once
from emote_cli.animation.job import Job
from emote_cli.animation.options import DeviceName
from emote_cli.animation.provenance import (
    MADE_BY,
    inputs_and_settings,
    is_same_making,
    read_making,
    weights_hash,
)
from emote_cli.animation.render import check, render, tuning_of
from emote_cli.errors import DeviceError, EmoteError, InputError, OutputError, WeightsError
from emote_cli.evaluation.batch import Request, as_error
from emote_cli.evaluation.holdout import RENDERS, Clip, has_inputs, write_inputs
from emote_cli.files import only_writer
from emote_cli.jobs.spread import spread
from emote_cli.settings import ModelSettings
from emote_cli.zoo.locate import find_model, resolve_model

_FATAL = (DeviceError, OutputError, WeightsError)
"""What goes wrong with one clip and would with all others."""


@dataclass(frozen=True, slots=True)
class Maker:
    """The function from a clip to its render; the same here and on a cluster.

    Attributes:
        model: name of the model, or its folder, as the user gives it; the videos say it, too.
        device: where to run.
        weights: hash of the model's weights.
        settings: of the model.
        place: where the model lies on any machine; None: `model` is right here.
        on_frame: called with the number of frames just written.
    """

    model: str
    device: str
    weights: str
    settings: ModelSettings
    place: str | None = None
    on_frame: Callable[[int], object] = field(default=int)

    @classmethod
    def of(cls, model: str, device: str = "auto") -> Maker:
        """Find the model.

        Raises:
            WeightsError: it is unknown, missing or damaged.
        """
        folder, settings = find_model(model)
        return cls(model, device, weights_hash(folder or model), settings)

    @property
    def chunk_frames(self) -> int | None:
        """Frames from seam to seam; None where chunks overlap."""
        overlap = self.settings.family.long_video == "overlap"
        return None if overlap else self.settings.temporal.chunk_frames

    def count_frames(self, clip: Clip) -> int:
        """Frames that a clip's render has, about."""
        return round(clip.seconds * self.settings.fps)

    def job(self, clip: Clip) -> Job:
        """What `emote animate` would be asked for; a killed render goes on where it was."""
        return Job(
            portrait=clip.portrait,
            audio=clip.audio,
            output=clip.render,
            resume=True,
            model=self.model,
            device=cast(DeviceName, self.device),
        )

    def check_made(self, clip: Clip) -> bool:
        """Whether the clip's render is there, whole, and as this model makes it of the clip as it is now.

        Portrait and truth of a render are written anew where the clip has changed.

        Raises:
            OutputError: another one is there.
        """
        if not clip.render.exists():
            return False
        if not has_inputs(clip):
            write_inputs(clip)
        wanted = {**inputs_and_settings(self.job(clip)), "weights_sha256": self.weights, "made_by": MADE_BY}
        made = False
        with contextlib.suppress(InputError):
            made = is_same_making(read_making(clip.render), wanted)
        if not made:
            raise OutputError(
                f"{clip.render} was made by another model, version or setting, or of another clip",
                hint="choose another folder with --out, or remove that video to make it anew",
            )
        return True

    def on_any_machine(self) -> Maker:
        """The same with paths that are right in any folder of any machine that sees the same files."""
        return replace(self, place=resolve_model(self.model))

    def __call__(self, clip: Clip) -> tuple[str, ...]:
        """Make the render, and say what may make it poor, a line each."""
        write_inputs(clip)
        job = self.job(clip)
        plan = replace(check(replace(job, model=self.place or self.model)), job=job)
        animator = load_once(plan.model, plan.job.device, plan.job.dtype, tuning_of(plan))
        render(plan, self.on_frame, animator)
        return plan.warnings


def make_renders(
    clips: Sequence[Clip],
    maker: Maker,
    workers: int | None = None,
    ray: str | None = None,
    on_frame: Callable[[int], object] = int,
) -> Iterator[tuple[Clip, tuple[str, ...] | EmoteError]]:
    """Make every clip's render; a clip that cannot be made does not stop the others.

    Args:
        clips: those that are not made yet.
        maker: makes one.
        workers: how many processes, each with a model of its own; None: this one.
        ray: address of a Ray cluster, or `local`.
        on_frame: called with the number of frames just written; without processes and cluster only.

    Yields:
        The clip with what may make it poor, or with the error; in the order in which they are done.

    Raises:
        EmoteError: what would go wrong with every clip, such as a device that is not there.
    """
    here = workers is None and ray is None
    make_one = replace(maker, on_frame=on_frame) if here else maker.on_any_machine()
    asked = {clip if here else clip.on_any_machine(): clip for clip in clips}
    try:
        with contextlib.closing(
            spread(make_one, list(asked), workers, ray, gpu=maker.device != "cpu")
        ) as answers:
            for job, answer in answers:
                if isinstance(answer, _FATAL):
                    raise answer
                yield asked[job], as_error(answer) if isinstance(answer, BaseException) else answer
    finally:
        load_once.cache_clear()


def requests_for_clips(clips: Sequence[Clip], **how: Any) -> list[Request]:
    """What to measure of clips that are made.

    Args:
        clips: made ones.
        how: the other attributes of each `Request`.
    """
    return [Request(clip.render, clip.truth, clip.portrait, **how) for clip in clips]


@contextlib.contextmanager
def only_maker(out: Path) -> Iterator[None]:
    """Let no other run make clips in the same folder meanwhile.

    Raises:
        OutputError: another one does.
    """
    with only_writer(out / RENDERS / ".lock", out):
        yield
