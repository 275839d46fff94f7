"""What reaches the page: requests of its own tabs, to its own routes, of a bounded size. All else is refused."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

UPLOAD_BYTES = 200_000_000
"""The largest file that can be sent to the page."""

CALL_BYTES = 1_000_000
"""The largest other request; the page's own have a few kilobytes."""

_FILES = "/gradio_api/file="
_UPLOAD = "/gradio_api/upload"
_CALLS = ("/gradio_api/queue/join", "/gradio_api/run/")
_OPEN = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)?$"
    r"|/(assets|static|svelte|results|run)/"
    r"|/gradio_api/(upload|upload_progress|queue/(join|data)|run/\w+|cancel|reset|app_id|startup-events)/?$"
    r"|/gradio_api/(heartbeat/\w+|theme\.css)$"
    r"|/gradio_api/file="
)
"""Of Gradio's routes those that the page uses: no proxy, no monitoring, no editing, no API for programs."""

_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'; object-src 'none'"
)
"""Gradio's page needs inline scripts; whatever they are, they can reach this server and nothing else."""

_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"SAMEORIGIN"),
]


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: HTTP's number for the reason.
        reason: one line.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class RequestGuard:
    """ASGI middleware around the whole page.

    Args:
        app: what it guards.
        files: the only folder whose files Gradio may read for a request.
        hosts: names under which the page may be asked for, besides IP addresses and this machine's name; a page
            of another name that resolves to this machine (DNS rebinding) is refused. It may grow later.
        room: bytes that uploads may still take up.
    """

    def __init__(
        self,
        app: App,
        files: Path,
        hosts: Collection[str] = (),
        room: Callable[[], int] = lambda: UPLOAD_BYTES,
    ) -> None:
        self.app, self.files, self.room = app, files.resolve(), room
        self.hosts, self.own = hosts, {"localhost", socket.gethostname().lower()}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = {name for name, _ in _HEADERS}
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in own]
                message = {**message, "headers": [*kept, *_HEADERS]}
            await send(message)

        try:
            if scope["type"] != "http":
                raise Refused(403, "only HTTP is spoken here")
            headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
            }
            self._check_sender(scope, headers)
            self._check_route(scope["path"])
            limit = self._limit(scope, headers)
            body = _counted(receive, limit)
            if scope["method"] == "POST" and scope["path"].startswith(_CALLS):
                body = await self._checked_call(body)
            await self.app(scope, body, answer)
        except Refused as refusal:
            if not started:
                await _refuse(send, refusal)

    def _check_sender(self, scope: MutableMapping[str, Any], headers: dict[str, str]) -> None:
        """Only the page's own tabs may ask; another site may link to the front page."""
        host = headers.get("host", "")
        if not self._is_own(host):
            raise Refused(421, f"this page is not at {host!r}")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refused(403, "requests from other sites are refused")
        site = headers.get("sec-fetch-site", "none")
        is_link = (
            scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-dest") == "document"
        )
        if site not in ("same-origin", "none") and not is_link:
            raise Refused(403, "requests from other sites are refused")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refused(405, "GET, HEAD and POST only")

    def _is_own(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self.own or name in self.hosts:
            return True
        try:
            return bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    def _check_route(self, path: str) -> None:
        if not _OPEN.match(path):
            raise Refused(404, "there is nothing here")
        if path.startswith(_FILES):
            self._check_file(path.removeprefix(_FILES))

    def _check_file(self, name: str) -> None:
        """Gradio's files are those of the page: uploads, and pictures that it drew."""
        try:
            inside = Path(name).resolve().is_relative_to(self.files)
        except (OSError, ValueError, RuntimeError):
            inside = False
        if not inside or "://" in name:
            raise Refused(403, "this file is not the page's")

    def _limit(self, scope: MutableMapping[str, Any], headers: dict[str, str]) -> int:
        limit = CALL_BYTES
        if scope["path"].rstrip("/") == _UPLOAD:
            limit = min(UPLOAD_BYTES + CALL_BYTES, max(self.room(), 0))
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            raise Refused(413, f"{length} bytes are more than the {limit} that are taken")
        return limit

    async def _checked_call(self, receive: Receive) -> Receive:
        """Read a call whole: the files that it names must be the page's."""
        parts = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise Refused(400, "the request broke off")
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        body = b"".join(parts)
        try:
            named = list(_file_names(json.loads(body)))
        except (ValueError, RecursionError) as error:
            raise Refused(400, "the request is no JSON") from error
        for name in named:
            self._check_file(name)
        sent = False

        async def again() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        return again


def _file_names(value: Any) -> Iterator[str]:
    """All paths that a call's data names, however deep."""
    if isinstance(value, dict):
        path = value.get("path")
        if isinstance(path, str):
            yield path
        for each in value.values():
            yield from _file_names(each)
    elif isinstance(value, list):
        for each in value:
            yield from _file_names(each)


def _counted(receive: Receive, limit: int) -> Receive:
    """The same body; one that grows beyond the limit, whatever its head says, is refused."""
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise Refused(413, f"more than the {limit} bytes that are taken")
        return message

    return counted


async def _refuse(send: Send, refusal: Refused) -> None:
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *_HEADERS]
    await send({"type": "http.response.start", "status": refusal.status, "headers": head})
    await send({"type": "http.response.body", "body": refusal.reason.encode()})
