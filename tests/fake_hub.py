"""A hub on 127.0.0.1 with switches for everything that goes wrong on real ones.

Small files are served by the hub itself, large ones (LFS) by a second server that it redirects to, as real
hubs do.
"""

import hashlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class Stored:
    """One file at one commit. `served` differs from `content` where a mirror is broken."""

    content: bytes
    lfs: bool
    served: bytes = b""

    @property
    def etag(self) -> str:
        if self.lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass
class Request:
    method: str
    server: str
    path: str
    range: str
    token: str


@dataclass
class FakeHub:
    """Repositories, and what is to go wrong.

    Attributes:
        files: (repository, commit, path) -> file.
        branches: (repository, revision) -> commit.
        failures: what the next requests for files are answered with: (status, headers), each once.
        cuts: after how many bytes the next transfers break off, each once.
        gated: repositories that ask for a token.
        ignore_range: answer a Range with the whole file.
        requests: everything that was asked.
    """

    files: dict[tuple[str, str, str], Stored] = field(default_factory=dict)
    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)
    ignore_range: bool = False
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.servers = {name: _serve(self, name) for name in ("hub", "store")}

    @property
    def endpoint(self) -> str:
        return self.address("hub")

    def address(self, server: str) -> str:
        return f"http://127.0.0.1:{self.servers[server].server_port}"

    def close(self) -> None:
        for server in self.servers.values():
            server.shutdown()
            server.server_close()

    def put(self, repo: str, path: str, content: bytes, lfs: bool = True, revision: str = "main") -> Stored:
        """Add a file; all files of one (repository, revision) share a commit."""
        commit = self.branches.setdefault(
            (repo, revision), hashlib.sha1(f"{repo}@{revision}".encode()).hexdigest()
        )
        self.branches[repo, commit] = commit
        self.files[repo, commit, path] = stored = Stored(content, lfs, content)
        return stored

    def fetched(self) -> list[str]:
        """Paths of the bytes that were really asked for, in order."""
        return [r.path.rpartition("/")[2] for r in self.requests if r.method == "GET" and r.server == "store"]


def _serve(hub: FakeHub, name: str) -> ThreadingHTTPServer:
    handler = type("Handler", (_Handler,), {"hub": hub, "server_name": name})
    server = _QuietServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub
    server_name: str

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path, headers = unquote(self.path), self.headers
        asked = headers.get("Range", ""), headers.get("Authorization", "")
        self.hub.requests.append(Request(self.command, self.server_name, path, *asked))
        if self.server_name == "store":
            repo, commit, name = re.fullmatch(r"/(.+?)@(\w+)/(.+)", path).groups()
            self.body(self.hub.files[repo, commit, name], {})
        elif "/resolve/" not in path:
            self.status(404, {})
        elif self.hub.failures:
            self.status(*self.hub.failures.pop(0))
        else:
            self.resolve(path)

    def resolve(self, path: str) -> None:
        hub, match = self.hub, re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo, revision, name = match.groups() if match else ("", "", "")
        if not any(known == repo for known, _ in hub.branches):
            return self.status(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "No such repository"})
        if repo in hub.gated and not self.headers.get("Authorization"):
            return self.status(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        commit = hub.branches.get((repo, revision))
        if commit is None:
            return self.status(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        stored = hub.files.get((repo, commit, name))
        if stored is None:
            return self.status(404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        headers = {"X-Repo-Commit": commit, "ETag": f'"{stored.etag}"'}
        if not stored.lfs:
            return self.body(stored, headers)
        headers |= {"X-Linked-Etag": f'"{stored.etag}"', "X-Linked-Size": str(len(stored.content))}
        return self.status(302, headers | {"Location": f"{hub.address('store')}/{repo}@{commit}/{name}"})

    def status(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": "0"} | headers).items():
            self.send_header(key, value)
        self.end_headers()

    def body(self, stored: Stored, headers: dict[str, str]) -> None:
        content, status, extra = stored.served, 200, dict(headers)
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if match and not self.hub.ignore_range:
            start = int(match[1])
            if start >= len(content):
                return self.status(416, {"Content-Range": f"bytes */{len(content)}"})
            status = 206
            extra["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content = content[start:]
        self.send_response(status)
        for key, value in (extra | {"Content-Length": str(len(content))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            cut = self.hub.cuts.pop(0) if self.server_name == "store" and self.hub.cuts else len(content)
            self.wfile.write(content[:cut])
            if cut < len(content):
                self.close_connection = True
        return None

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
