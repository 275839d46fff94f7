"""How one file gets here from a hub of public weights: whole and verified, or not at all.

Everything goes through huggingface-hub's session, headers and errors. The transfer itself is ours, because
the library (2.x) throws a half-fetched file away when the process ends: here it stays beside its final place,
and the next run goes on where it stopped.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emote_cli.errors import EmoteError, OutputError, WeightsError

_HASH = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub, or a mirror of one, and how patient to be with it.

    Attributes:
        endpoint: address; None means HF_ENDPOINT, or the public hub.
        attempts: tries without a byte of progress before giving up.
        first_wait_s: pause after the first failure; doubles with each further one.
        timeout_s: how long to wait for an answer, or for the next bytes.
        mirrored: whether HF_ENDPOINT can name another one: not where a file has an address of its own.
    """

    endpoint: str | None = None
    attempts: int = 5
    first_wait_s: float = 1.0
    timeout_s: float = 30.0
    mirrored: bool = True

    @property
    def address(self) -> str:
        """The endpoint in use.

        Raises:
            WeightsError: if it is no http(s) address.
        """
        from huggingface_hub import constants

        address = self.endpoint or os.environ.get("HF_ENDPOINT") or str(constants.ENDPOINT)
        if not re.match(r"https?://[^/]", address):
            raise WeightsError(
                f"HF_ENDPOINT is '{address}', which is no address",
                hint="write https://..., or unset it",
            )
        return address.rstrip("/")


@dataclass(frozen=True, slots=True)
class Remote:
    """One file as the hub describes it.

    Attributes:
        repo: repository id.
        path: path inside the repository.
        commit: the revision, 40 hex digits.
        etag: sha256 of a large file (LFS), git blob id of a small one.
        size: bytes.
        url: its own address, if no hub has it.
    """

    repo: str
    path: str
    commit: str
    etag: str
    size: int
    url: str = ""

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.repo}/{self.path}"


def look_up(hub: Hub, repo: str, path: str, revision: str) -> Remote:
    """Ask the hub for the commit, hash and size of one file.

    Args:
        hub: where to ask.
        repo: of the file.
        path: of the file in it.
        revision: branch, tag or commit.

    Raises:
        WeightsError: if the hub refuses, has no such file, or cannot be reached.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repo, path, revision=revision, endpoint=hub.address)
    patience = _Patience(hub, f"{repo}/{path}")
    while True:
        try:
            found = get_hf_file_metadata(url, timeout=hub.timeout_s, endpoint=hub.address)
            break
        except _network_errors() as error:
            patience.bear(error)
    if not found.commit_hash or found.size is None or not _HASH.fullmatch(found.etag or ""):
        raise WeightsError(
            f"{hub.address} states no commit, size and checksum of {repo}/{path}",
            hint="it does not answer like a hub: check HF_ENDPOINT and proxies",
        )
    return Remote(repo, path, found.commit_hash, found.etag, found.size)


def partial_path(target: Path) -> Path:
    """Name the file that holds what has arrived while it is not whole."""
    return target.with_name(target.name + ".incomplete")


def fetch(hub: Hub, remote: Remote, target: Path) -> Iterator[int]:
    """Download one file, going on where an earlier try stopped; `target` appears only whole and verified.

    Args:
        hub: where from.
        remote: the file, from `look_up`.
        target: path of the whole file; what has arrived lies beside it until then.

    Yields:
        Bytes that have arrived since the last yield (negative where a try had to start over).

    Raises:
        WeightsError: if the transfer fails for good, or the bytes do not match the hub's hash.
        OutputError: if the disk is full or not writable.
    """
    partial = partial_path(target)
    if remote.url:
        hub = replace(hub, endpoint="/".join(remote.url.split("/")[:3]), mirrored=False)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(partial, remote):
            resumed = partial.stat().st_size if partial.exists() else 0
            yield resumed
            yield from _fill(hub, remote, partial)
            if resumed and not matches(partial, remote.etag):
                partial.unlink()
                yield -remote.size
                yield from _fill(hub, remote, partial)
            if not matches(partial, remote.etag):
                partial.unlink()
                other = "try another mirror (HF_ENDPOINT)" if hub.mirrored else "update emote-cli"
                raise WeightsError(
                    f"{remote.name} arrived damaged: its hash should be {remote.etag[:12]}...",
                    hint=f"run the same command again; if it stays, {other}",
                )
            os.replace(partial, target)
    except OSError as error:
        raise explain(error, remote.name, hub) from error


def matches(path: Path, etag: str) -> bool:
    """Tell whether a file has the hub's hash: sha256 (64 digits), or git blob id (40 digits)."""
    if len(etag) == 64:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == etag
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == etag


def _fill(hub: Hub, remote: Remote, partial: Path) -> Iterator[int]:
    """Append to `partial` until it has the right size, through broken transfers."""
    patience = _Patience(hub, remote.name)
    partial.touch()
    while (size := partial.stat().st_size) != remote.size:
        try:
            if size > remote.size:
                partial.write_bytes(b"")
                yield -size
            for arrived in _stream(hub, remote, partial):
                if arrived > 0:
                    patience.failures = 0
                yield arrived
            if (size := partial.stat().st_size) != remote.size:
                raise ConnectionError(f"{size} bytes arrived, {remote.size} were announced")
        except _network_errors() as error:
            patience.bear(error)


def _stream(hub: Hub, remote: Remote, partial: Path) -> Iterator[int]:
    """One request for what `partial` still lacks."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    start = partial.stat().st_size
    url = remote.url or hf_hub_url(remote.repo, remote.path, revision=remote.commit, endpoint=hub.address)
    token = False if remote.url else None  # the hub's token is for the hub
    headers = build_hf_headers(library_name="emote", token=token) | {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with get_session().stream("GET", url, headers=headers, timeout=hub.timeout_s) as response:
        hf_raise_for_status(response)
        whole = start > 0 and response.status_code == 200
        if whole:
            yield -start
        with partial.open("wb" if whole else "ab") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
                yield len(chunk)


@contextmanager
def _alone(partial: Path, remote: Remote) -> Iterator[None]:
    """Keep a second process from writing the same partial file."""
    from huggingface_hub.utils import WeakFileLock

    lock = partial.with_name(partial.name + ".lock")
    try:
        with WeakFileLock(lock, timeout=1.0):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except TimeoutError as error:
        raise WeightsError(
            f"another process is fetching {remote.name}", hint="wait for it, then run the command again"
        ) from error


class _Patience:
    """Bears failures that may pass, with growing pauses; raises the others, and the last."""

    def __init__(self, hub: Hub, place: str) -> None:
        self.hub = hub
        self.place = place
        self.failures = 0

    def bear(self, error: Exception) -> None:
        """Wait a little, or raise the error in its final words."""
        self.failures += 1
        wait_s = max(
            _asked_wait_s(error), min(self.hub.first_wait_s * 2 ** (self.failures - 1), _LONGEST_WAIT_S)
        )
        tries = min(3, self.hub.attempts) if _no_connection(error) else self.hub.attempts
        if not _may_pass(error) or self.failures >= tries or wait_s > _LONGEST_WAIT_S:
            raise explain(error, self.place, self.hub) from error
        time.sleep(wait_s)


def _network_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub import errors

    return (errors.HTTPError, ConnectionError, TimeoutError)


def _status(error: Exception) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0))


def _may_pass(error: Exception) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    status = _status(error)
    return status in _TRANSIENT or (status == 0 and not isinstance(error, OfflineModeIsEnabled))


def _no_connection(error: Exception) -> bool:
    """Whether not even a connection came about (httpx's ConnectError, ConnectTimeout, ProxyError, ...)."""
    return (
        type(error).__name__.startswith(("Connect", "Proxy", "UnsupportedProtocol")) and _status(error) == 0
    )


def _asked_wait_s(error: Exception) -> float:
    """How long the hub asks to wait (Retry-After, or its rate-limit header); 0 if it does not say."""
    headers: Any = getattr(getattr(error, "response", None), "headers", {})
    asked = str(headers.get("Retry-After", ""))
    limit = re.search(r"r=0\b.*?t=(\d+)", str(headers.get("ratelimit", "")))
    return float(asked) if asked.isdigit() else float(limit[1]) if limit and _status(error) == 429 else 0.0


def explain(error: Exception, place: str, hub: Hub) -> EmoteError:
    """Say in one line what went wrong on the way, and in one what to do about it.

    Args:
        error: of the network, the hub or the disk.
        place: what was to be fetched, for the message.
        hub: where from.

    Returns:
        The error to raise in its place.
    """
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    status = _status(error)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return WeightsError(
            f"{place} is not on this disk, and HF_HUB_OFFLINE is set", hint="unset HF_HUB_OFFLINE"
        )
    if status == 0 and isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)):
        return _disk_error(error, place)
    if status == 0:
        return _transfer_error(error, place, hub)
    if isinstance(error, errors.GatedRepoError):
        what, hint = (
            "needs its terms accepted",
            "accept them on its page, then `hf auth login` or HF_TOKEN",
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        what, hint = "has no such revision", "give --revision a branch, a tag or a commit that exists"
    elif 400 <= status < 500 and status != 429 and not hub.mirrored:
        what = "does not exist" if status in (404, 410) else "is refused"
        hint = "try again later; if it stays, the file has moved: update emote-cli"
    elif status in (401, 403):
        what, hint = "is refused", "check HF_TOKEN or `hf auth login`; a missing repository answers the same"
    elif status in (404, 410):
        what, hint = "does not exist", "it may have moved: update emote-cli, or check HF_ENDPOINT"
    elif status == 429:
        asked = _asked_wait_s(error)
        what = "is refused: too many requests" + (f", wait {asked:.0f} s" if asked else "")
        hint = "wait, then run the same command again: it goes on where it stopped"
    elif status >= 500:
        what, hint = "cannot be served now", "run the same command later: it goes on where it stopped"
    else:
        what, hint = "cannot be fetched", "check HF_ENDPOINT and proxies"
    return WeightsError(f"{place} {what} (HTTP {status} from {hub.address})", hint=hint)


def _transfer_error(error: Exception, place: str, hub: Hub) -> EmoteError:
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    if _no_connection(error):
        mirror = "HF_ENDPOINT names a mirror, " if hub.mirrored else ""
        hint = f"check the network; {mirror}--offline uses what is on this disk"
        return WeightsError(f"no connection to {hub.address}: {reason}", hint=hint)
    return WeightsError(
        f"the transfer of {place} broke off: {reason}",
        hint="check the network, then run the same command again: it goes on where it stopped",
    )


def _disk_error(error: OSError, place: str) -> EmoteError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"the disk is full while fetching {place}",
            hint="free some space and run the same command again (it goes on), or choose a disk with --dir",
        )
    return OutputError(
        f"cannot write {error.filename or place}: {error.strerror or error}",
        hint="check the folder's rights, or choose another with --dir or HF_HOME",
    )
