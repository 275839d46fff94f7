"""From the page to a server on a port: routes for results and runs, the guard around all, and its end."""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from emote_cli import stopping
from emote_cli.errors import EmoteError, OutputError, SettingsError
from emote_cli.web.run_folder import RunFolder

FIRST_PORT = 7860
"""The port where nobody names one; the next ones are tried where it is taken."""

_TRIED = 20


def require_extra() -> None:
    """Make sure that the packages of the extra are there.

    Raises:
        SettingsError: they are not.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        with _no_stub_files():
            import gradio  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"emote web needs packages that are not installed ({error.name})",
            hint="pip install 'emote-cli[web]'",
        ) from error


@contextlib.contextmanager
def _no_stub_files() -> Iterator[None]:
    """Let Gradio's import leave the stub files (.pyi) of its components alone: that is more than a third of its time.

    Where a class has no file, Gradio makes no stub of it.
    """
    usual = inspect.getfile

    def getfile(thing: Any) -> str:
        if type(thing).__name__ == "ComponentMeta":
            raise OSError("no stub file")
        return usual(thing)

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = usual


def bind(host: str, port: int | None) -> socket.socket:
    """A socket that listens at this address.

    Raises:
        OutputError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in [port] if port is not None else range(FIRST_PORT, FIRST_PORT + _TRIED):
        listener = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, number))
            listener.listen(128)
            return listener
        except OSError as error:
            listener.close()
            fault = error
    raise OutputError(
        f"cannot listen at {host}, port {number}: {fault.strerror or fault}",
        hint="--port takes another port, --host an address of this machine",
    ) from fault


def serve(
    listener: socket.socket,
    model: str,
    run: RunFolder | None = None,
    share: bool = False,
    tell: Callable[[str], object] = lambda line: None,
) -> None:
    """Serve the page until Ctrl-C; then delete its files.

    Args:
        listener: from `bind`.
        model: the model that is chosen at first.
        run: what to show beside.
        share: whether to open a tunnel that makes the page public.
        tell: is told every address of the page once it answers.

    Raises:
        EmoteError: the model is unknown, or the tunnel does not open.
    """
    with tempfile.TemporaryDirectory(prefix="emote-web-", ignore_cleanup_errors=True) as folder:
        stopping.mark_unfinished(Path(folder))
        with page_app(Path(folder), model, run, share) as app:
            _run(app, listener, share, tell)
        stopping.mark_finished(Path(folder))


@contextlib.contextmanager
def page_app(root: Path, model: str, run: RunFolder | None = None, share: bool = False) -> Iterator[Any]:
    """The guarded page as an ASGI application; its files lie below `root`, and renders stop at the end.

    Args:
        root: folder for all that is uploaded and made.
        model: that is chosen at first.
        run: a training run to show, or None.
        share: whether Gradio's tunnel will ask for the page under a name of its own.
    """
    from emote_cli.web.visits import Visits

    visits = Visits(root.resolve())
    # Where Gradio keeps what is uploaded, and pictures that it is given; read when it starts.
    os.environ["GRADIO_TEMP_DIR"] = str(visits.uploads)

    import fastapi
    import gradio

    from emote_cli.web import texts
    from emote_cli.web.guard import UPLOAD_BYTES, RequestGuard
    from emote_cli.web.page import build
    from emote_cli.web.renders import Renders

    renders = Renders(visits)
    try:
        app = fastapi.FastAPI(title=texts.TITLE, docs_url=None, redoc_url=None, openapi_url=None)
        _add_routes(app, renders, run)
        gradio.mount_gradio_app(
            app,
            build(visits, renders, model, run),
            path="/",
            footer_links=[],
            run_history=False,
            max_file_size=UPLOAD_BYTES,
            show_error=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            theme=gradio.themes.Default(
                font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
            ),
            css=(Path(__file__).parent / "page.css").read_text("utf-8"),
        )
        yield RequestGuard(app, visits.uploads, hosts=_tunnel_hosts if share else (), room=visits.room)
    finally:
        renders.close()


def _add_routes(app: Any, renders: Any, run: RunFolder | None) -> None:
    from fastapi.responses import FileResponse, PlainTextResponse

    missing = PlainTextResponse("there is nothing here", status_code=404)

    def video(folder: str, render_id: str, name: str, download: str | None = None) -> Any:
        path = renders.find_video(folder, render_id)
        if path is None or path.name != name or not path.is_file():
            return missing
        kind = "inline" if download is None else "attachment"
        headers = {"cache-control": "private, no-store"}
        return FileResponse(path, filename=path.name, content_disposition_type=kind, headers=headers)

    def of_run(name: str) -> Any:
        found = None if run is None else run.find(name)
        return missing if found is None else FileResponse(found[0], media_type=found[1])

    app.add_api_route("/results/{folder}/{render_id}/{name}", video, methods=["GET", "HEAD"])
    app.add_api_route("/run/{name:path}", of_run, methods=["GET", "HEAD"])


_tunnel_hosts: set[str] = set()


def _run(app: Any, listener: socket.socket, share: bool, tell: Callable[[str], object]) -> None:
    import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            tell(_address(listener))
            if share:
                tell(_open_tunnel(listener))

    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=1,
        server_header=False, ws="none",
    )  # fmt: skip
    with _ended_by_sigterm():
        Server(config).run(sockets=[listener])


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that files are deleted."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _open_tunnel(listener: socket.socket) -> str:
    """Make the page public through Gradio's tunnel (its program is fetched at the first use).

    Raises:
        EmoteError: it does not open.
    """
    import secrets
    from urllib.parse import urlsplit

    from gradio import networking

    host, port = listener.getsockname()[:2]
    try:
        address = networking.setup_tunnel(host, port, secrets.token_urlsafe(32), None, None)
    except Exception as error:  # whatever its network code raises
        raise EmoteError(f"no share link: {error}", hint="leave --share out, or check the network") from error
    _tunnel_hosts.add(urlsplit(address).hostname or "")
    return str(address)
