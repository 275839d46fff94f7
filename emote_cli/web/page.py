"""The page: its parts, and which action each one calls."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gradio as gr

from emote_cli.animation.declare import option_of
from emote_cli.animation.job import OPTIONS
from emote_cli.errors import EmoteError
from emote_cli.settings import ModelSettings
from emote_cli.web import controls, texts
from emote_cli.web.actions import Actions
from emote_cli.web.renders import Renders
from emote_cli.web.run_folder import RunFolder
from emote_cli.web.visits import Visits
from emote_cli.zoo.catalog import MODELS
from emote_cli.zoo.locate import find_model, locate

TICK_S = 0.7
"""Seconds between two looks at a render that is not over."""

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


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where a portrait and a recording are given.

    Attributes:
        portrait: the picture.
        faces: the picture with its faces numbered, where there are several.
        face: the choice of one.
        unseen: what is wrong with the picture.
        sound: the recording.
        example: fills in both.
    """

    portrait: gr.Image
    faces: gr.Image
    face: gr.Radio
    unseen: gr.HTML
    sound: gr.Audio
    example: gr.Button


@dataclass(frozen=True, slots=True)
class Results:
    """Where a video is asked for and shown.

    Attributes:
        planned: what would be made.
        forecast: asks for a forecast.
        animate: asks for a video.
        stop: stops it.
        status: how far it is.
        result: the newest video.
        command: the command line that makes it again.
        recent: the videos before.
    """

    planned: gr.HTML
    forecast: gr.Button
    animate: gr.Button
    stop: gr.Button
    status: gr.HTML
    result: gr.HTML
    command: gr.Textbox
    recent: gr.HTML


def build(visits: Visits, renders: Renders, model: str, run: RunFolder | None = None) -> gr.Blocks:
    """Build the page: its parts, joined to what they do.

    Args:
        visits: the tabs and their files.
        renders: the line of videos.
        model: that is chosen at first.
        run: a training run to show beside it, or None.

    Raises:
        EmoteError: the model is unknown, missing or damaged.
    """
    _, settings = find_model(model)
    actions = Actions(visits, renders)
    with gr.Blocks(title=texts.TITLE, analytics_enabled=False) as blocks:
        head = f"<h1>{texts.TITLE}</h1><p>{texts.SUBTITLE}</p><p>{texts.CONSENT} {texts.PRIVATE}</p>"
        gr.HTML(head, elem_id="consent")
        if run is None:
            _make_part(blocks, actions, settings, model)
        else:
            with gr.Tabs():
                with gr.Tab(texts.RUN.format(name=run.path.name), id="run"):
                    shown = gr.HTML(run.page(), elem_id="run")
                    blocks.load(run.page, outputs=shown, show_progress="hidden", api_visibility="private")
                with gr.Tab(texts.MAKE, id="make"):
                    _make_part(blocks, actions, settings, model)
        blocks.unload(actions.leave)
    blocks.queue(max_size=100, default_concurrency_limit=2, api_open=False)
    return blocks


def _make_part(blocks: gr.Blocks, actions: Actions, settings: ModelSettings, model: str) -> None:
    """The part of the page that makes videos; its fields, and what each one calls."""
    visit = gr.Textbox(visible=False)
    shown = gr.Textbox(visible=False)
    boxes = gr.State([])
    clock = gr.Timer(TICK_S, active=False)
    with gr.Row():
        with gr.Column(min_width=300):
            inputs = _make_inputs()
        with gr.Column(min_width=300):
            models = installed(model)
            name = gr.Dropdown(
                models, value=model, label=texts.MODEL, visible=len(models) > 1, elem_id="model"
            )
            fields = _make_options(settings)
            results = _make_results()
    given = [
        visit, inputs.portrait, inputs.sound, inputs.face, name, *(fields[each] for each in controls.NAMES)
    ]  # fmt: skip
    view = [
        results.status, results.result, results.command, results.recent, shown,
        results.animate, results.forecast, results.stop, clock,
    ]  # fmt: skip
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    blocks.load(actions.enter, visit, [visit, *view], js=_VISIT, **quiet)
    clock.tick(actions.look, [visit, shown], view, queue=False, **quiet)
    seen = inputs.portrait.change(
        actions.show_portrait,
        [visit, inputs.portrait],
        [inputs.faces, inputs.face, boxes, inputs.unseen],
        **quiet,
    )
    heard = inputs.sound.change(actions.hear, [visit, inputs.sound], None, **quiet)
    inputs.faces.select(actions.choose_face, boxes, inputs.face, **quiet)
    for event in (seen, heard):
        event.then(actions.plan, given, results.planned, **quiet)
    inputs.example.click(actions.take_example, visit, [inputs.portrait, inputs.sound], **quiet)
    name.change(actions.choose_model, name, [fields[each] for each in controls.OF_MODEL], **quiet)
    for button, is_forecast in ((results.animate, False), (results.forecast, True)):
        button.click(
            lambda *values, is_forecast=is_forecast: actions.ask(is_forecast, *values), given, view, **quiet
        )
    results.stop.click(actions.stop, visit, view, queue=False, **quiet)


def _make_inputs() -> Inputs:
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
        field.preprocess = _path_of  # the file as it was sent: what is wrong with it, the command says
    gr.HTML(f"<p>{texts.SOUND_HELP}</p>")
    example = gr.Button(texts.EXAMPLE, size="sm", elem_id="example")
    return Inputs(portrait, faces, face, unseen, sound, example)


def _make_options(settings: ModelSettings) -> dict[str, Any]:
    """The fields of all options, by name; the rarer ones are folded away."""
    fields: dict[str, Any] = {}
    with gr.Group():
        gr.HTML(f"<h2>{texts.EXPRESSION}</h2>", padding=True)
        for row in controls.IMPORTANT:
            with gr.Row():
                fields |= {each: _control(each, settings) for each in row}
    with gr.Accordion(texts.MORE, open=False, elem_id="more"):
        for row in controls.FOLDED:
            with gr.Row():
                fields |= {each: _control(each, settings) for each in row}
    return fields


def _make_results() -> Results:
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
    return Results(planned, forecast, animate, stop, status, result, command, recent)


def installed(model: str) -> list[str]:
    """List the models to choose from: the named one, and those that are here."""
    found = [model]
    for each in MODELS:
        if each.name != model and (each.bundled or each.published):
            with suppress(EmoteError):
                locate(each.name)
                found.append(each.name)
    return found


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
