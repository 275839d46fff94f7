"""The page: its parts, and what happens when they are used. Checks, words and defaults are the command's."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from emote_cli.animation.declare import option_of
from emote_cli.animation.job import OPTIONS, Job
from emote_cli.animation.render import Plan, check
from emote_cli.errors import EmoteError
from emote_cli.settings import ModelSettings, load_preset, load_settings
from emote_cli.types import Box
from emote_cli.web import controls, show, texts
from emote_cli.web.portrait import face_at, number_faces
from emote_cli.web.renders import Render, Renders
from emote_cli.web.run_folder import RunFolder
from emote_cli.web.visits import Visit, Visits
from emote_cli.zoo.catalog import MODELS
from emote_cli.zoo.locate import SETTINGS_NAME, locate

PORTRAIT_BYTES = 50_000_000
"""The largest picture that is taken."""

LONGEST_S = 600.0
"""The longest speech that is taken."""

TICK_S = 0.7
"""Seconds between two looks at a render that is not over."""

EXAMPLES = Path(__file__).parent / "examples"

_VISIT = """(held) => {
    let visit = sessionStorage.getItem("emote-visit");
    if (!visit) {
        const bytes = crypto.getRandomValues(new Uint8Array(16));
        visit = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
        sessionStorage.setItem("emote-visit", visit);
    }
    document.documentElement.lang = "en";
    return [visit];
}"""
"""A tab's id: it outlives a reload of the tab, and no other tab has it."""


class Page:
    """What happens on the page.

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
        """A tab was opened, or reloaded: show what became of its videos."""
        visit = self.visits.enter(visit_id)
        self._tabs[str(request.session_hash)] = visit.id
        return visit.id, *self.look(visit.id, "")

    def leave(self, request: gr.Request) -> None:
        """A tab was closed, or is being reloaded."""
        if (visit_id := self._tabs.pop(str(request.session_hash), None)) is not None:
            self.visits.leave(visit_id)

    def look(self, visit_id: str, shown: str) -> tuple[Any, ...]:
        """How a tab's renders are.

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
        """A portrait was given or taken away: number its faces.

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
        """A click on the numbered picture."""
        if not boxes:
            return gr.skip()
        x, y = event.index
        return face_at(tuple(Box(*box) for box in boxes), x, y)

    def hear(self, visit_id: str, upload: str | None) -> None:
        """A recording was given or taken away."""
        visit = self.visits.enter(visit_id)
        self.visits.hold(visit, "sound", None if upload is None else Path(upload))

    def take_example(self, visit_id: str) -> tuple[str, str]:
        """The portrait and the recording that come with emote."""
        self.visits.enter(visit_id)
        folder = self.visits.uploads / "example"
        folder.mkdir(exist_ok=True)
        paths = [folder / name for name in ("portrait.jpg", "speech.wav")]
        for path in paths:
            shutil.copyfile(EXAMPLES / path.name, path)
        return str(paths[0]), str(paths[1])

    def choose_model(self, model: str) -> list[Any]:
        """Another model: the options as that one has them."""
        own = controls.defaults(settings_of(model))
        has_lips = settings_of(model).family.reference_latents
        return [
            gr.update(value=own[name], interactive=has_lips) if name == "articulation" else own[name]
            for name in controls.OF_MODEL
        ]

    def plan(self, visit_id: str, *given: Any) -> Any:
        """What would be made, as far as that is known without work."""
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
        settings = settings_of(model)
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
        named: dict[str, Any] = {} if model == "mini" else {"model": model}
        named |= {} if face in (None, 1) else {"face": face}
        return plan, folder, controls.command_line(inputs[0].name, inputs[1].name, named | options)


def settings_of(model: str) -> ModelSettings:
    """The settings of a model by name or path.

    Raises:
        EmoteError: it is unknown, missing or damaged.
    """
    folder = locate(model)
    return load_preset(model) if folder is None else load_settings(folder / SETTINGS_NAME)


def installed(model: str) -> list[str]:
    """The models to choose from: the named one, and those that are here."""
    found = [model]
    for each in MODELS:
        if each.name != model and (each.bundled or each.published):
            with suppress(EmoteError):
                locate(each.name)
                found.append(each.name)
    return found


def _check_size(path: Path, limit: int) -> None:
    if (size := path.stat().st_size) > limit:
        message, hint = texts.TOO_LARGE
        raise EmoteError(message.format(name=path.name, megabytes=size / 1e6, limit=limit / 1e6), hint)


def build(visits: Visits, renders: Renders, model: str, run: RunFolder | None = None) -> gr.Blocks:
    """The page's parts, joined to what they do.

    Raises:
        EmoteError: the model is unknown, missing or damaged.
    """
    settings = settings_of(model)
    page = Page(visits, renders)
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False) as blocks:
        head = f"<h1>{texts.TITLE}</h1><p>{texts.SUBTITLE}</p><p>{texts.CONSENT} {texts.PRIVATE}</p>"
        gr.HTML(head, elem_id="consent")
        if run is None:
            _make_part(blocks, page, settings, model)
        else:
            with gr.Tabs():
                with gr.Tab(texts.RUN.format(name=run.path.name), id="run"):
                    shown = gr.HTML(run.page(), elem_id="run")
                    blocks.load(run.page, outputs=shown, show_progress="hidden", api_visibility="private")
                with gr.Tab(texts.MAKE, id="make"):
                    _make_part(blocks, page, settings, model)
        blocks.unload(page.leave)
    blocks.queue(max_size=100, default_concurrency_limit=2, api_open=False)
    return blocks


def _make_part(blocks: gr.Blocks, page: Page, settings: ModelSettings, model: str) -> None:
    visit = gr.Textbox(visible=False)
    shown = gr.Textbox(visible=False)
    boxes = gr.State([])
    clock = gr.Timer(TICK_S, active=False)
    with gr.Row():
        with gr.Column(min_width=300):
            portrait = gr.Image(
                label=texts.PORTRAIT, type="filepath", sources=["upload", "webcam", "clipboard"], height=300,
                elem_id="portrait", alt_text=texts.PORTRAIT_ALT, buttons=["fullscreen"],
                placeholder=texts.PORTRAIT_HELP,
            )  # fmt: skip
            faces = gr.Image(
                label=texts.FACES, interactive=False, visible=False, elem_id="faces", height=300,
                alt_text=texts.FACES_ALT, buttons=[], format="jpeg",
            )  # fmt: skip
            face = gr.Radio(label=texts.FACE, choices=[], visible=False, elem_id="face")
            unseen = gr.HTML(elem_id="unseen", visible=False)
            sound = gr.Audio(
                label=texts.SOUND,
                type="filepath",
                sources=["upload", "microphone"],
                elem_id="sound",
                buttons=[],
            )
            for field in (portrait, sound):
                field.preprocess = (
                    _path_of  # the file as it was sent: what is wrong with it, the command says
                )
            gr.HTML(f"<p>{texts.SOUND_HELP}</p>")
            example = gr.Button(texts.EXAMPLE, size="sm", elem_id="example")
        with gr.Column(min_width=300):
            models = installed(model)
            name = gr.Dropdown(
                models, value=model, label=texts.MODEL, visible=len(models) > 1, elem_id="model"
            )
            parts: dict[str, Any] = {}
            with gr.Group():
                gr.HTML(f"<h2>{texts.EXPRESSION}</h2>", padding=True)
                for row in controls.IMPORTANT:
                    with gr.Row():
                        parts |= {each: _control(each, settings) for each in row}
            with gr.Accordion(texts.MORE, open=False, elem_id="more"):
                for row in controls.FOLDED:
                    with gr.Row():
                        parts |= {each: _control(each, settings) for each in row}
            planned = gr.HTML(elem_id="planned", visible=False)
            with gr.Row(elem_id="go"):
                forecast = gr.Button(texts.FORECAST, elem_id="forecast", min_width=80)
                animate = gr.Button(texts.ANIMATE, variant="primary", elem_id="animate", min_width=80)
                stop = gr.Button(texts.STOP, variant="stop", interactive=False, elem_id="stop", min_width=80)
            status = gr.HTML(f"<p>{texts.NOTHING}</p>", elem_id="status")
            result = gr.HTML(elem_id="result", visible=False)
            command = gr.Textbox(
                label=texts.COMMAND,
                interactive=False,
                visible=False,
                buttons=["copy"],
                elem_id="command",
                lines=2,
            )
            recent = gr.HTML(elem_id="recent", visible=False)
    given = [visit, portrait, sound, face, name, *(parts[each] for each in controls.NAMES)]
    view = [status, result, command, recent, shown, animate, forecast, stop, clock]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    blocks.load(page.enter, visit, [visit, *view], js=_VISIT, **quiet)
    clock.tick(page.look, [visit, shown], view, queue=False, **quiet)
    seen = portrait.change(page.show_portrait, [visit, portrait], [faces, face, boxes, unseen], **quiet)
    heard = sound.change(page.hear, [visit, sound], None, **quiet)
    faces.select(page.choose_face, boxes, face, **quiet)
    for event in (seen, heard):
        event.then(page.plan, given, planned, **quiet)
    example.click(page.take_example, visit, [portrait, sound], **quiet)
    own = [parts[each] for each in controls.OF_MODEL]
    name.change(page.choose_model, name, own, **quiet)
    for button, is_forecast in ((animate, False), (forecast, True)):
        button.click(
            lambda *values, is_forecast=is_forecast: page.ask(is_forecast, *values), given, view, **quiet
        )
    stop.click(page.stop, visit, view, queue=False, **quiet)


def _shown(html: str) -> Any:
    """A piece of HTML; an empty one takes no room."""
    return gr.update(value=html, visible=bool(html))


def _path_of(payload: Any) -> str | None:
    """The path of an upload."""
    return None if payload is None else str(payload.path)


def _control(name: str, settings: ModelSettings) -> Any:
    """The field for an option."""
    own = controls.defaults(settings)[name]
    common: dict[str, Any] = {
        "label": texts.LABELS[name],
        "info": option_of(OPTIONS[name]).help,
        "value": own,
        "elem_id": f"option-{name}",
    }
    if words := controls.choices(name):
        known = [(word, word) for word in words]
        common["value"] = own or ""
        return gr.Dropdown([(texts.OWN, ""), *known] if own is None else known, **common)
    if scale := controls.scale(name):
        low, high, step = scale
        has_it = name != "articulation" or settings.family.reference_latents
        return gr.Slider(low, high, step=step, interactive=has_it, **common)
    if isinstance(own, bool):
        return gr.Checkbox(**common)
    common["value"] = "" if own is None else f"{own:g}"
    return gr.Textbox(max_lines=1, **common)
