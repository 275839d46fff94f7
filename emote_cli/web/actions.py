"""What happens when the page is used. Checks, words and defaults are the command's."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr

from emote_cli.animation.job import Job
from emote_cli.animation.render import Plan, check
from emote_cli.errors import EmoteError
from emote_cli.types import Box
from emote_cli.web import controls, show, texts
from emote_cli.web.portrait import face_at, number_faces
from emote_cli.web.renders import Render, Renders
from emote_cli.web.visits import Visit, Visits
from emote_cli.zoo.catalog import BUNDLED_MODELS
from emote_cli.zoo.locate import find_model

PORTRAIT_BYTES = 50_000_000
"""The largest picture that is taken."""

LONGEST_S = 600.0
"""The longest speech that is taken."""

EXAMPLES = Path(__file__).parent / "examples"


class Actions:
    """What the page calls: each method takes what fields hold and returns what they become.

    Args:
        visits: the tabs and their files.
        renders: the line of videos.
    """

    def __init__(self, visits: Visits, renders: Renders) -> None:
        self.visits, self.renders = visits, renders
        self._tabs: dict[str, str] = {}
        # One thread looks at pictures and sound: in many, each keeps memory of its own.
        self._looker = ThreadPoolExecutor(1, "looker")

    def enter(self, visit_id: str, request: gr.Request) -> tuple[Any, ...]:
        """Open a tab, or reload it: show what became of its videos."""
        visit = self.visits.enter(visit_id)
        self._tabs[str(request.session_hash)] = visit.id
        return visit.id, *self.look(visit.id, "")

    def leave(self, request: gr.Request) -> None:
        """Close a tab; it may come back, if it is being reloaded."""
        if (visit_id := self._tabs.pop(str(request.session_hash), None)) is not None:
            self.visits.leave(visit_id)

    def look(self, visit_id: str, shown: str) -> tuple[Any, ...]:
        """Show how a tab's renders are.

        Args:
            visit_id: the tab's.
            shown: which results it shows already; those are not sent again, since a player would start anew.

        Returns:
            Progress, result, command, earlier results, what is shown now, two buttons, the clock.
        """
        self.visits.enter(visit_id)
        mine = self.renders.of(visit_id)
        last = mine[-1] if mine else None
        videos = [each for each in mine if each.output is not None]
        is_busy = last is not None and not last.is_over
        now = ",".join(each.id for each in videos) or "-"
        if now == shown:
            results: tuple[Any, ...] = (gr.skip(), gr.skip(), gr.skip())
        else:
            newest = videos[-1] if videos else None
            results = (
                _shown(show.result(newest) if newest else ""),
                gr.update(value=newest.command if newest else "", visible=newest is not None),
                _shown(show.recent(videos[:-1])),
            )
        words = show.progress(last, self.renders.before(last) if last else 0, self.visits.root)
        buttons = gr.update(interactive=not is_busy), gr.update(interactive=not is_busy)
        return words, *results, now, *buttons, gr.update(interactive=is_busy), gr.update(active=is_busy)

    def show_portrait(self, visit_id: str, upload: str | None) -> tuple[Any, ...]:
        """Take a portrait, or note that it was taken away, and number its faces.

        Returns:
            The numbered picture, the choice of a face, where the faces are, and what is wrong.
        """
        nothing: tuple[Any, ...] = (
            gr.update(value=None, visible=False),
            gr.update(choices=[], value=None, visible=False),
            [],
        )
        visit = self.visits.enter(visit_id)
        self.visits.hold(visit, "portrait", None if upload is None else Path(upload))
        if upload is None:
            return *nothing, _shown("")
        try:
            _check_size(Path(upload), PORTRAIT_BYTES)
            found = self._looker.submit(number_faces, Path(upload)).result()
        except EmoteError as error:
            return *nothing, _shown(show.problem(error, Path(upload).parent))
        if len(found.boxes) < 2:
            return *nothing, _shown("")
        numbers = range(1, len(found.boxes) + 1)
        choices = [(texts.FACE_LARGEST.format(number=1) if n == 1 else str(n), n) for n in numbers]
        boxes = [[box.x0, box.y0, box.x1, box.y1] for box in found.boxes]
        return (
            gr.update(value=found.picture, visible=True),
            gr.update(choices=choices, value=1, visible=True),
            boxes,
            _shown(""),
        )

    def choose_face(self, boxes: list[list[float]], event: gr.SelectData) -> Any:
        """Choose the face that was clicked in the numbered picture."""
        if not boxes:
            return gr.skip()
        x, y = event.index
        return face_at(tuple(Box(*box) for box in boxes), x, y)

    def hear(self, visit_id: str, upload: str | None) -> None:
        """Take a recording, or note that it was taken away."""
        visit = self.visits.enter(visit_id)
        self.visits.hold(visit, "sound", None if upload is None else Path(upload))

    def take_example(self, visit_id: str) -> tuple[str, str]:
        """Fill in the portrait and the recording that come with emote."""
        self.visits.enter(visit_id)
        folder = self.visits.uploads / "example"
        folder.mkdir(exist_ok=True)
        paths = [folder / name for name in ("portrait.jpg", "speech.wav")]
        for path in paths:
            shutil.copyfile(EXAMPLES / path.name, path)
        return str(paths[0]), str(paths[1])

    def choose_model(self, model: str) -> list[Any]:
        """Change the model: options show what that one has."""
        _, settings = find_model(model)
        own = controls.defaults(settings)
        has_lips = settings.family.reference_latents
        return [
            gr.update(value=own[name], interactive=has_lips) if name == "articulation" else own[name]
            for name in controls.OF_MODEL
        ]

    def plan(self, visit_id: str, *given: Any) -> Any:
        """Tell what would be made, as far as that is known without work."""
        portrait, sound = given[0], given[1]
        if not portrait or not sound:
            return _shown("")
        visit = self.visits.enter(visit_id)
        folder = None
        try:
            plan, folder, _ = self._check(visit, *given)
        except EmoteError as error:
            return _shown(show.problem(error, self.visits.root))
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
        width, height = plan.scene.size
        words = texts.PLANNED.format(
            seconds=plan.scene.duration_s, frames=plan.scene.n_frames, width=width, height=height
        )
        if (pace := self.renders.pace(plan)) is not None:
            words += " " + texts.PLANNED_TIME.format(time=show.time_words(pace * plan.scene.n_frames))
        return _shown(f"<p>{words}</p>" + show.notes(list(plan.warnings), self.visits.root))

    def ask(self, forecast: bool, visit_id: str, *given: Any) -> tuple[Any, ...]:
        """Put a video, or the forecast of one, into the line."""
        visit = self.visits.enter(visit_id)
        try:
            plan, folder, command = self._check(visit, *given)
            render = Render(
                visit.id, folder, plan, command, forecast, plan.scene.n_frames, seconds=plan.scene.duration_s,
                notes=list(plan.warnings),
            )  # fmt: skip
            try:
                self.renders.add(render)
            except EmoteError:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        except EmoteError as error:
            return (show.problem(error, self.visits.root), *self.look(visit.id, "")[1:])
        return self.look(visit.id, "")

    def stop(self, visit_id: str) -> tuple[Any, ...]:
        """Stop what this tab waits for."""
        self.renders.stop(visit_id)
        return self.look(visit_id, "")

    def _check(
        self,
        visit: Visit,
        portrait: str | None,
        sound: str | None,
        face: int | None,
        model: str,
        *values: Any,
    ) -> tuple[Plan, Path, str]:
        """The plan of a job, as the command makes it; its folder; the command line."""
        if not portrait:
            raise EmoteError(*texts.NO_PORTRAIT)
        if not sound:
            raise EmoteError(*texts.NO_SOUND)
        _check_size(Path(portrait), PORTRAIT_BYTES)
        _, settings = find_model(model)
        options = controls.chosen(dict(zip(controls.NAMES, values, strict=True)), settings)
        folder, inputs = self.visits.new_job(visit, [Path(portrait), Path(sound)])
        try:
            output = folder / f"{inputs[0].stem}.mp4"
            asked = {
                **options,
                "model": model,
                "face": face,
                "portrait": inputs[0],
                "audio": inputs[1],
                "output": output,
            }
            plan = self._looker.submit(check, Job.of(asked)).result()
            if plan.scene.speech.duration_s > LONGEST_S:
                message, hint = texts.TOO_LONG
                raise EmoteError(message.format(seconds=plan.scene.speech.duration_s, limit=LONGEST_S), hint)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        named: dict[str, Any] = {} if model in BUNDLED_MODELS else {"model": model}
        named |= {} if face in (None, 1) else {"face": face}
        return plan, folder, controls.command_line(inputs[0].name, inputs[1].name, named | options)


def _check_size(path: Path, limit: int) -> None:
    if (size := path.stat().st_size) > limit:
        message, hint = texts.TOO_LARGE
        raise EmoteError(message.format(name=path.name, megabytes=size / 1e6, limit=limit / 1e6), hint)


def _shown(html: str) -> Any:
    """A piece of HTML; an empty one takes no room."""
    return gr.update(value=html, visible=bool(html))
