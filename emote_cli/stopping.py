"""Ctrl-C ends a command within seconds, whatever it is doing, and leaves nothing half-written.

The usual way is Python's: the main thread gets a KeyboardInterrupt and every block cleans up behind itself. It fails
where the main thread is long in foreign code, or where foreign code swallows the exception. Then a watching thread
removes what is unfinished and ends the process.
"""

from __future__ import annotations

import _thread
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

EXIT_CODE = 130
"""What the command returns after Ctrl-C, as shells expect."""

PATIENCE_S = 1.5
"""How long the usual way may take."""

_AFTER_SAVING_S = 0.7

_SHOW_CURSOR = b"\x1b[?25h"


@runtime_checkable
class Process(Protocol):
    """A process that must not outlive this one."""

    def kill(self) -> object:
        """End it at once."""


_unfinished: set[Path] = set()
_processes: set[Process] = set()
_saving = threading.Semaphore(1)
_over = threading.Event()


def mark_unfinished(path: Path) -> None:
    """Remember a file or folder that must not stay behind unless it is finished."""
    _unfinished.add(path)


def mark_finished(path: Path) -> None:
    """Forget a file or folder that was marked: it has been removed, or got its name."""
    _unfinished.discard(path)


def watch_process(process: Process) -> None:
    """Remember a process that must not outlive this one."""
    _processes.add(process)


def forget_process(process: Process) -> None:
    """Forget a process that was watched: it has ended."""
    _processes.discard(process)


@contextmanager
def saving() -> Iterator[None]:
    """Let the block end before the process does: it saves what Ctrl-C asks to be saved."""
    with _saving:
        yield


def watch() -> None:
    """Let Ctrl-C end the process from here on; to be called once, by the main thread of a command."""
    if threading.current_thread() is not threading.main_thread():
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    # The system writes the number of a signal here at once, even while the main thread is in foreign code.
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = _ask_again
    threading.Thread(target=_wait_for_signal, args=(ours, theirs), daemon=True).start()


def _ask_again(lost: sys.UnraisableHookArgs) -> None:
    """A KeyboardInterrupt that struck in a callback, which cannot pass it on, strikes once more a little later."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        again = threading.Timer(0.05, _thread.interrupt_main)
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(lost)


def _wait_for_signal(ours: socket.socket, theirs: socket.socket) -> None:
    with ours, theirs:
        while (number := ours.recv(1)) and signal.SIGINT not in number:
            pass
        if not number or _over.wait(PATIENCE_S):
            return
        with _saving:
            if not _over.wait(_AFTER_SAVING_S):
                os.write(2, b"stopped\n")
                leave()


def done() -> None:
    """Let Ctrl-C do nothing any more: the command is done."""
    _over.set()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def leave() -> None:
    """End this process now, without Python's own clean-up, in which foreign threads may hang.

    Its processes are ended, and what is unfinished is removed.
    """
    _over.set()
    children = getattr(sys.modules.get("multiprocessing"), "active_children", list)
    for process in [*_processes, *children()]:
        with suppress(Exception):
            process.kill()
    for path in list(_unfinished):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
    with suppress(Exception):
        if sys.stderr.isatty():
            os.write(2, _SHOW_CURSOR)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(EXIT_CODE)
