"""Pieces of HTML: how far a render is, what came of it, what went wrong. Every text from outside is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emote_cli.errors import EmoteError
from emote_cli.web import texts
from emote_cli.web.renders import Render


def time_words(seconds: float) -> str:
    """Seconds, minutes or hours, as a person says it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def problem(error: EmoteError, hidden: Path) -> str:
    """An error as the command shows it: what happened, and what to do.

    Args:
        error: the error.
        hidden: folder of the server's files, whose paths mean nothing to a visitor.
    """
    lines = {"error": error.message, "hint": error.hint}
    rows = (f"<p><b>{name}:</b> {escape(nameless(line, hidden))}</p>" for name, line in lines.items() if line)
    return f'<div class="problem" role="alert">{"".join(rows)}</div>'


def nameless(text: str, hidden: Path) -> str:
    """The same line with bare file names in place of paths below a folder."""
    words = " ".join(text.split())
    start = f"{hidden}/"
    while (at := words.find(start)) >= 0:
        end = at + len(start)
        rest = words[end:].split(" ", 1)[0]
        words = words[:at] + words[end + rest.rfind("/") + 1 :]
    return words


def notes(lines: list[str], hidden: Path) -> str:
    """Warnings, a line each."""
    return "".join(f'<p class="note">{escape(nameless(line, hidden))}</p>' for line in lines)


def progress(render: Render | None, before: int, hidden: Path) -> str:
    """Tell how far a render is: in words for everybody, and as a bar and the newest frame.

    Args:
        render: the tab's last one; None: there is none.
        before: how many renders of others come first.
        hidden: folder whose path no message may show.
    """
    if render is None:
        return f"<p>{texts.NOTHING}</p>"
    if render.state == "failed" and render.error is not None:
        return notes(render.notes, hidden) + problem(render.error, hidden)
    done, total = render.n_done, render.n_frames
    bar = ""
    if render.is_over:
        words = texts.STOPPED if render.state == "stopped" else _done(render, hidden)
    elif render.stop.is_set():
        words = texts.STOPPING
    elif render.state == "waiting":
        words = texts.WAITING.format(before=before)
    elif render.forecast:
        words = texts.MEASURING
    elif render.state == "starting" or render.left_s is None:
        words = texts.STARTING
    else:
        words = texts.MAKING_FRAMES.format(
            done=done, total=total, rate=render.rate, left=time_words(render.left_s)
        )
    if not render.is_over and not render.forecast:
        bar = f'<progress max="{total}" value="{done}" aria-label="{texts.STATUS}">{done}/{total}</progress>'
    if render.picture and not render.is_over:
        data = base64.b64encode(render.picture).decode()
        bar += f'<img class="newest" alt="{texts.FRAME_ALT}" src="data:image/jpeg;base64,{data}">'
    return f"<p>{words}</p>{bar}{notes(render.notes, hidden)}"


def _done(render: Render, hidden: Path) -> str:
    if render.forecast:
        return "".join(
            f"{escape(str(name))}: {escape(str(value))}<br>" for name, value in render.lines.items()
        )
    return texts.DONE.format(total=render.n_frames, seconds=render.seconds, took=time_words(render.took_s))


def address(render: Render) -> str:
    """Where the page serves a video, relative to its root."""
    assert render.output is not None
    return f"results/{render.folder.parent.name}/{render.id}/{quote(render.output.name)}"


def result(render: Render) -> str:
    """A finished video: to play, to download, and how it was made."""
    if render.output is None:
        return ""
    link, name = escape(address(render)), escape(render.output.name)
    rows = "".join(
        f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in flat(render.lines)
    )
    return (
        f'<video controls playsinline preload="auto" src="{link}" aria-label="{texts.RESULT}: {name}"></video>'
        f'<p><a class="download" href="{link}?download" download="{name}">'
        f"{escape(texts.DOWNLOAD.format(name=render.output.name))}</a></p>"
        f"<details><summary>{texts.MAKING}</summary><dl>{rows}</dl></details>"
    )


def recent(renders: list[Render]) -> str:
    """Earlier videos of a visit, newest first."""
    items = "".join(
        f"<li><details><summary>{escape(each.output.name)}, {each.seconds:.1f} s</summary>"
        f"{result(each)}<p><code>{escape(each.command)}</code></p></details></li>"
        for each in reversed(renders)
        if each.output is not None
    )
    return f"<h3>{texts.RECENT}</h3><ol>{items}</ol>" if items else ""


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested values as rows, as `emote info` prints them."""
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        rows += (
            flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
        )
    return rows
