"""`emote web`: the same tool in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def web(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port (default: 7860, or the next free one)."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME|PATH", help="The model that is chosen at first.")
    ] = "mini",
    run: Annotated[
        Path | None,
        typer.Option(
            "--run", metavar="RUN", help="Also show this folder, made by prepare, evaluate or train."
        ),
    ] = None,
    share: Annotated[
        bool,
        typer.Option("--share", help="Make it public through Gradio's tunnel (its program is downloaded)."),
    ] = False,
) -> None:
    """Open the page that animates portraits, for people without a terminal; Ctrl-C ends it.

    It listens on this machine only, unless --host says more. What is sent to it is deleted when its tab is closed.
    """
    from emote_cli import console
    from emote_cli.web.run_folder import RunFolder
    from emote_cli.web.server import bind, require_extra, serve

    folder = None if run is None else RunFolder.open(run)
    require_extra()
    listener = bind(host, port)
    if host not in ("127.0.0.1", "localhost", "::1"):
        console.warn(f"everybody who reaches {host} can use this page: it asks for no password")
    if share:
        console.warn("everybody who has the share link can use this page")
    with listener:
        serve(listener, model, folder, share, console.result)
