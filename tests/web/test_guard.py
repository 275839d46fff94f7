"""What reaches the page: its own tabs, its own routes and files, and no more than there is room for."""

import asyncio
import json

import pytest

from emote_cli.web import guard
from emote_cli.web.guard import RequestGuard


class Inner:
    """An application that notes what reaches it."""

    def __init__(self):
        self.seen = []

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.seen.append((scope["path"], body))
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"ALLOW")]}
        )
        await send({"type": "http.response.body", "body": b"hello"})


def ask(guarded, path="/", method="GET", body=b"", chunk=None, **headers):
    """The status and the headers of an answer."""
    headers = {"host": "127.0.0.1:7860"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http", "path": path, "method": method,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    chunk = chunk or len(body) or 1
    parts = [body[at : at + chunk] for at in range(0, len(body), chunk)] or [b""]
    messages = [
        {"type": "http.request", "body": part, "more_body": n < len(parts) - 1}
        for n, part in enumerate(parts)
    ]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(guarded(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.fixture
def inner():
    return Inner()


@pytest.fixture
def guarded(inner, tmp_path):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads/own.png").write_bytes(b"own")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (tmp_path / "uploads/link.txt").symlink_to(tmp_path / "secret.txt")
    return RequestGuard(inner, tmp_path / "uploads", hosts={"tunnel.example"}, room=lambda: 5_000_000)


def test_own_tabs_are_answered_with_headers_that_bind_the_page_to_this_server(guarded):
    status, headers = ask(guarded, sec_fetch_site="same-origin", origin="http://127.0.0.1:7860")
    assert status == 200
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert b"http" not in headers[b"content-security-policy"]
    assert headers[b"x-frame-options"] == b"SAMEORIGIN"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "192.168.1.5", "tunnel.example"]
)
def test_the_page_is_found_under_addresses_and_own_names(guarded, host):
    assert ask(guarded, host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example:7860", "", "127.0.0.1.evil.example", "[", "localhost.evil.example"]
)
def test_other_names_are_refused(guarded, inner, host):
    assert ask(guarded, host=host)[0] == 421
    assert not inner.seen


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/run/predict"])
def test_other_sites_cannot_post(guarded, inner, path, headers):
    assert ask(guarded, path, "POST", b"{}", **headers)[0] == 403
    assert not inner.seen


def test_other_sites_can_link_to_the_front_page_and_to_nothing_else(guarded):
    link = {"sec_fetch_site": "cross-site", "sec_fetch_dest": "document"}
    assert ask(guarded, "/", **link)[0] == 200
    assert ask(guarded, "/results/a/b/c.mp4", **link)[0] == 403
    assert ask(guarded, "/", sec_fetch_site="cross-site", sec_fetch_dest="iframe")[0] == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(guarded, inner, method):
    assert ask(guarded, method=method)[0] == 405
    assert not inner.seen


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://10.0.0.1/", "/monitoring", "/monitoring/summary", "/gradio_api/vibe-edit",
        "/gradio_api/info", "/gradio_api/call/x", "/gradio_api/process_recording", "/login", "/docs",
        "/openapi.json", "/gradio_api/dev/reload", "/gradio_api/component_server", "/x", "//etc/passwd",
    ],
)  # fmt: skip
def test_routes_that_the_page_does_not_use_are_closed(guarded, inner, path):
    assert ask(guarded, path)[0] == 404
    assert not inner.seen


def test_only_files_of_the_page_are_read(guarded, inner, tmp_path):
    prefix, uploads = "/gradio_api/file=", tmp_path / "uploads"
    assert ask(guarded, f"{prefix}{uploads}/own.png")[0] == 200
    inner.seen.clear()
    for name in (
        "/etc/passwd", f"{uploads}/../secret.txt", f"{uploads}/link.txt", f"{uploads}/own.png/../../secret.txt",
        "http://10.0.0.1/x", f"{tmp_path}/secret.txt", "pyproject.toml", "../../etc/passwd", "~/.netrc", "a\0b",
    ):  # fmt: skip
        assert ask(guarded, prefix + name)[0] == 403, name
    assert not inner.seen


@pytest.mark.parametrize("name", ["/etc/passwd", "http://10.0.0.1/a.png", "uploads/../secret.txt"])
def test_a_call_names_only_files_of_the_page(guarded, inner, tmp_path, name):
    name = name.replace("uploads", str(tmp_path / "uploads"))
    body = json.dumps(
        {"data": [None, [{"image": {"path": name, "meta": {"_type": "gradio.FileData"}}}]]}
    ).encode()
    assert ask(guarded, "/gradio_api/queue/join", "POST", body)[0] == 403
    assert not inner.seen


def test_a_call_reaches_the_page_as_it_was_sent(guarded, inner, tmp_path):
    body = json.dumps({"data": [{"path": str(tmp_path / "uploads/own.png")}]}).encode()
    assert ask(guarded, "/gradio_api/queue/join", "POST", body, chunk=7)[0] == 200
    assert inner.seen == [("/gradio_api/queue/join", body)]


@pytest.mark.parametrize("body", [b"no JSON", b"[" * 100_000, b"\xff"])
def test_a_call_that_is_no_json_is_refused(guarded, inner, body):
    assert ask(guarded, "/gradio_api/queue/join", "POST", body)[0] == 400
    assert not inner.seen


def test_what_is_too_large_is_refused_whether_it_says_so_or_not(guarded, inner):
    assert ask(guarded, "/gradio_api/queue/join", "POST", b"", content_length="2000000")[0] == 413
    assert ask(guarded, "/gradio_api/upload", "POST", b"", content_length="6000000")[0] == 413
    assert ask(guarded, "/gradio_api/upload", "POST", b"", content_length="-1")[0] == 413
    assert ask(guarded, "/gradio_api/upload", "POST", bytes(5_100_000), chunk=1_000_000)[0] == 413
    assert not inner.seen
    assert ask(guarded, "/gradio_api/upload", "POST", bytes(4_000_000), chunk=1_000_000)[0] == 200


def test_an_upload_has_a_limit_where_there_is_room(inner, tmp_path):
    guarded = RequestGuard(inner, tmp_path, room=lambda: 10**12)
    too_much = str(guard.UPLOAD_BYTES + guard.CALL_BYTES + 1)
    assert ask(guarded, "/gradio_api/upload", "POST", b"", content_length=too_much)[0] == 413


def test_websockets_are_not_spoken(guarded, inner):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(guarded({"type": "websocket", "path": "/", "headers": []}, None, send))
    assert not inner.seen
