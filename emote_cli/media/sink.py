"""An ffmpeg that is fed through a pipe and writes one file, which gets its name when it is whole."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from emote_cli import stopping
from emote_cli.errors import OutputError
from emote_cli.files import no_space, part_name
from emote_cli.media.ffmpeg import Complaints, ffmpeg_exe, url


class Sink:
    """Feeds an ffmpeg. End it with `finish` or `discard`, whichever comes first counts.

    Args:
        path: the file to write.
        arguments: ffmpeg's, from the input to the output's format; the input is `-`.
        folder: where it lies until it is whole, on the same disk; None is beside it.
    """

    def __init__(self, path: Path, arguments: Sequence[str], folder: Path | None = None) -> None:
        self.path = path
        self._part = part_name(path if folder is None else folder / path.name)
        # Its own session: Ctrl-C must reach this process only, which then ends ffmpeg.
        self._process = subprocess.Popen(
            [ffmpeg_exe(), "-hide_banner", "-y", "-loglevel", "error", *arguments, url(self._part)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        stopping.watch_process(self._process)
        assert self._process.stderr is not None
        self._complaints = Complaints(self._process.stderr)

    def write(self, data: bytes | memoryview) -> None:
        """Feed some bytes.

        Raises:
            OutputError: ffmpeg cannot write (a full disk, say).
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except OSError as error:
            self._process.wait()
            raise self._failure() from error

    def finish(self, complete: Callable[[Path], object] = lambda part: None) -> None:
        """Wait for ffmpeg, let `complete` mend the file, and give it its name.

        Raises:
            OutputError: ffmpeg cannot write.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError as error:
            self._process.wait()
            raise self._failure() from error
        if self._process.wait() != 0:
            raise self._failure()
        complete(self._part)
        os.replace(self._part, self.path)

    def discard(self) -> None:
        """End ffmpeg and remove what it wrote, unless it is finished."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass  # the bytes still buffered for a killed process
        self._part.unlink(missing_ok=True)
        stopping.forget_process(self._process)
        stopping.mark_finished(self._part)

    def _failure(self) -> OutputError:
        complaint = self._complaints.last()
        if os.strerror(errno.ENOSPC) in complaint or os.strerror(errno.EDQUOT) in complaint:
            return no_space(self._part.parent)
        return OutputError(
            f"ffmpeg could not write {self.path}: {complaint}",
            hint="check free space and write permission of the folder, and the audio file",
        )
