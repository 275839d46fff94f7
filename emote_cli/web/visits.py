"""The files of the page: each tab has a folder, and what it sent and made is deleted when it is gone."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

KEEP_GONE_S = 600.0
"""How long a closed tab's files stay: a reload, or a closed lid, is no farewell."""

KEEP_IDLE_S = 6 * 3600.0
"""How long the files of an open tab stay in which nothing happens."""

KEEP_UNUSED_S = 600.0
"""How long an upload stays that no tab holds (any more)."""

ROOM_BYTES = 2_000_000_000
"""What uploads and results may take up together."""

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class Visit:
    """One tab of a browser; it keeps its id over a reload.

    Attributes:
        id: 32 hexadecimal digits that only this tab knows.
        folder: for its jobs.
        held: uploads that it shows, by the name of their field.
        seen: when it was last heard of, in `time.monotonic` seconds.
        gone: when it was closed; None while it is open.
    """

    id: str
    folder: Path
    held: dict[str, Path] = field(default_factory=dict)
    seen: float = 0.0
    gone: float | None = None


class Visits:
    """All visits, and the folders that hold their files.

    Args:
        root: a folder of this server alone; `uploads/` in it is Gradio's.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.uploads, self.jobs = root, root / "uploads", root / "jobs"
        for folder in (self.uploads, self.jobs):
            folder.mkdir(parents=True, exist_ok=True)
        self._visits: dict[str, Visit] = {}
        self._lock = threading.RLock()

    def enter(self, visit_id: str) -> Visit:
        """The visit of this id; an unknown one, or one that is no id, begins a new one."""
        with self._lock:
            if not _ID.fullmatch(visit_id or ""):
                visit_id = secrets.token_hex(16)
            visit = self._visits.get(visit_id)
            if visit is None:
                # The folder's name is another secret: it is part of the addresses of results.
                folder = self.jobs / secrets.token_hex(16)
                folder.mkdir()
                visit = self._visits[visit_id] = Visit(visit_id, folder)
            visit.seen, visit.gone = time.monotonic(), None
            return visit

    def leave(self, visit_id: str) -> None:
        """The tab was closed, or is being reloaded."""
        with self._lock:
            if (visit := self._visits.get(visit_id)) is not None:
                visit.gone = time.monotonic()

    def hold(self, visit: Visit, name: str, upload: Path | None) -> None:
        """Note what a field of the page shows now; what it showed before is deleted if nobody else shows it.

        Args:
            visit: the tab.
            name: of the field.
            upload: file that it shows; None: it is empty.
        """
        with self._lock:
            before = visit.held.pop(name, None)
            if upload is not None:
                visit.held[name] = upload
            if before is not None and before not in self._held():
                self._delete_upload(before)

    def new_job(self, visit: Visit, inputs: Collection[Path]) -> tuple[Path, list[Path]]:
        """A fresh folder for a job, with copies of its inputs that outlive the fields that show them.

        Returns:
            The folder, and the copies; `close_job` deletes them.
        """
        folder = visit.folder / secrets.token_hex(8)
        copies = []
        for number, path in enumerate(inputs):
            copy = folder / f"in{number}" / path.name
            copy.parent.mkdir(parents=True)
            try:
                os.link(path, copy)
            except OSError:
                shutil.copyfile(path, copy)
            copies.append(copy)
        return folder, copies

    def sweep(self, busy: Collection[str] = ()) -> list[str]:
        """Delete what nobody needs any more.

        Args:
            busy: ids of visits with an unfinished job.

        Returns:
            The ids of the visits that are over.
        """
        now = time.monotonic()
        with self._lock:
            over = [
                visit.id
                for visit in self._visits.values()
                if visit.id not in busy
                and (
                    now - visit.seen > KEEP_IDLE_S
                    or (visit.gone is not None and now - visit.gone > KEEP_GONE_S)
                )
            ]
            for visit_id in over:
                shutil.rmtree(self._visits.pop(visit_id).folder, ignore_errors=True)
            held = self._held()
            for file in [file for file in self.uploads.rglob("*") if file.is_file()]:
                if file not in held and time.time() - file.stat().st_mtime > KEEP_UNUSED_S:
                    self._delete_upload(file)
        return over

    def room(self) -> int:
        """Bytes that uploads may still take up."""
        used = sum(file.stat().st_size for file in self.root.rglob("*") if file.is_file())
        return ROOM_BYTES - used

    def _held(self) -> set[Path]:
        return {path for visit in self._visits.values() for path in visit.held.values()}

    def _delete_upload(self, path: Path) -> None:
        if path.resolve().is_relative_to(self.uploads.resolve()):
            path.unlink(missing_ok=True)
            if path.parent != self.uploads and not any(path.parent.iterdir()):
                path.parent.rmdir()


def close_job(folder: Path, output: Path | None) -> None:
    """Delete everything of a job but its video; all of it where there is none."""
    if output is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for entry in folder.iterdir():
        if entry != output:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
