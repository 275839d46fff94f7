"""What `emote evaluate` does, step by step, with progress: make the held-out clips again, and measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emote_cli.errors import EmoteError
    from emote_cli.evaluation.batch import Request
    from emote_cli.evaluation.evaluate import Evaluation


def render(
    data: Path,
    model: str,
    split: Path | None,
    device: str,
    out: Path,
    workers: int | None,
    ray: str | None,
    how: dict[str, Any],
) -> tuple[list[Request], list[str]]:
    """Make the held-out clips of a data set again, those that are not made yet; everything is checked first.

    Returns:
        What to measure, and a line for each clip that could not be made.

    Raises:
        EmoteError: what is wrong with the model, the data or the folder; or with the first clip, if none could be made.
    """
    from emote_cli import console
    from emote_cli.data.selection import HELD_OUT
    from emote_cli.errors import EmoteError, InputError
    from emote_cli.evaluation.batch import make_place
    from emote_cli.evaluation.holdout import RENDERS, find_clips, is_prepared
    from emote_cli.evaluation.renders import Maker, make_renders, only_maker, requests_for_clips
    from emote_cli.training.run_folder import read_data_settings

    part = HELD_OUT
    if split is None and is_prepared(data) and (trained := read_data_settings(Path(model))) and trained.split:
        split, part = Path(trained.split), trained.held_out
        if not split.is_file():
            raise InputError(
                f"{model} was trained with {split}, which is not here", hint="name it with --split"
            )
        console.say(f"held-out clips: those under {part} in {split}, with which {model} was trained")
    held_out, maker = find_clips(data, out, split, part), Maker.of(model, device)
    make_place(out, RENDERS)
    if held_out.silent:
        console.warn(f"without sound, and left out: {', '.join(held_out.silent)}")
    errors: dict[str, EmoteError] = {}
    with only_maker(out):
        todo = [clip for clip in held_out.clips if not maker.check_made(clip)]
        if len(todo) < len(held_out.clips):  # an earlier run made the others
            console.say(f"{len(held_out.clips) - len(todo)} of {len(held_out.clips)} clips were made before")
        frames = {clip: maker.count_frames(clip) for clip in todo}
        with console.progress("rendering", sum(frames.values()), "frames") as advance:
            counted = _Counter(advance)
            for clip, answer in make_renders(todo, maker, workers, ray, counted):
                counted.finish(frames[clip])
                if isinstance(answer, EmoteError):
                    errors[clip.name] = answer
                else:
                    for line in answer:
                        console.warn(f"{clip.name}: {line}")
    made = [clip for clip in held_out.clips if clip.name not in errors]
    if not made:
        raise next(iter(errors.values()))
    how = {**how, "chunk_frames": how["chunk_frames"] or maker.chunk_frames}
    lines = [f"not made: {name}: {error.message}" for name, error in errors.items()]
    return requests_for_clips(made, **how), lines


def measure(
    requests: Sequence[Request], workers: int | None, ray: str | None
) -> tuple[list[Evaluation], list[str]]:
    """What was measured, in the order of the requests; and a line for each video that could not be.

    Raises:
        EmoteError: none could be measured; it says why not the first.
    """
    from emote_cli import console
    from emote_cli.errors import EmoteError
    from emote_cli.evaluation.batch import evaluate_all

    frames = {request: _count_frames(request) for request in requests}
    answers: dict[Request, Evaluation | EmoteError] = {}
    with console.progress("measuring", sum(frames.values()), "frames") as advance:
        counted = _Counter(advance)
        for request, answer in evaluate_all(requests, workers, ray, counted):
            counted.finish(frames[request])
            answers[request] = answer
    errors = {each: answer for each in requests if isinstance(answer := answers[each], EmoteError)}
    found = [answer for each in requests if not isinstance(answer := answers[each], EmoteError)]
    if not found:
        raise next(iter(errors.values()))
    return found, [f"not measured: {each.video}: {error.message}" for each, error in errors.items()]


def _count_frames(request: Request) -> int:
    """Frames that will be watched; none of a video that cannot be read, which is told when its turn comes."""
    from emote_cli.errors import InputError

    try:
        return request.count_frames()
    except InputError:
        return 0


class _Counter:
    """Advances a bar by frames as they come, and at a job's end by those that came from elsewhere."""

    def __init__(self, advance: Callable[[int], object]) -> None:
        self._advance, self._seen = advance, 0

    def __call__(self, frames: int) -> None:
        self._seen += frames
        self._advance(frames)

    def finish(self, frames: int) -> None:
        """A job of so many frames is done."""
        self._advance(frames - self._seen)
        self._seen = 0
