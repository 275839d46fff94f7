"""The one place that talks to the ffmpeg binary: where it is, what it says of a file, why it failed."""

from __future__ import annotations

import functools
import os
import re
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from emote_cli import stopping
from emote_cli.errors import EmoteError, InputError
from emote_cli.media.banner import MediaInfo, parse_banner

CONTAINERS = (
    *"aac ac3 aiff amr amrnb amrwb ape asf au av1 avi caf dts dv eac3 flac flv gif gsm h264 hevc ivf m4v".split(),
    *"matroska mov mp3 mpc mpc8 mpeg mpegts mpegvideo mxf nut obu ogg oma qcp rm shn sox tak tta voc w64".split(),
    *"wav wtv wv yuv4mpegpipe".split(),
)
"""ffmpeg's names of the formats that are opened. Each is one file that holds its own sound and pictures; the others
are pictures, texts, devices, and playlists, which make ffmpeg open what they name."""

_PLAYLISTS = tuple(b"#extm3u ffconcat <?xml <mpd <asx <smil [playlist] [reference] v=0 rtsp: http".split())
"""How they begin, in small letters."""

_OWN = ("/dev/", "/proc/")

PROBE_LIMIT_S = 60.0
"""A file that takes longer to look into is refused."""

STALL_LIMIT_S = 300.0
"""An ffmpeg that says nothing for this long is ended."""


@functools.cache
def ffmpeg_exe() -> str:
    """Find the ffmpeg binary that imageio-ffmpeg ships.

    Raises:
        EmoteError: no binary is there.
    """
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise EmoteError(
            f"no ffmpeg binary was found ({error})",
            hint="reinstall imageio-ffmpeg, or point IMAGEIO_FFMPEG_EXE at an ffmpeg",
        ) from error


def url(path: Path) -> str:
    """Write a path as ffmpeg takes it literally, whatever colons, dashes or percent signs it holds."""
    # /dev/stdin and its like are this process's own: ffmpeg needs the file behind them.
    return f"file:{os.path.realpath(path) if str(path).startswith(_OWN) else path}"


def source(path: Path) -> list[str]:
    """Make ffmpeg's arguments for reading a user's file, and nothing but that file."""
    return ["-protocol_whitelist", "file", "-format_whitelist", ",".join(CONTAINERS), "-i", url(path)]


def require_file(path: Path, kind: str) -> None:
    """Check that `path` is a file with something in it, which can be read as often as needed.

    Raises:
        InputError: it is missing, a folder, a pipe, a device, empty, or may not be read.
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size:
            path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{kind} {path} does not exist", hint="check the path") from None
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise InputError(
            f"{kind} {path} cannot be opened: {what}", hint="check the path and its permissions"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{kind} {path} is a folder", hint="name a file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"{kind} {path} is a pipe or a device", hint="save it to a file first: it is read more than once"
        )
    if status.st_size == 0:
        raise InputError(f"{kind} {path} is empty (0 bytes)", hint="copy or record it again")


def run_ffmpeg(
    arguments: list[str], path: Path, limit_s: float = PROBE_LIMIT_S
) -> subprocess.CompletedProcess[bytes]:
    """Run ffmpeg to its end and collect what it says.

    Args:
        arguments: behind ffmpeg's own ones.
        path: the file that it works on, for the error.
        limit_s: seconds after which it is stopped.

    Returns:
        Exit code, stdout and stderr; an exit code other than 0 is no error here.

    Raises:
        InputError: it takes longer than `limit_s`.
    """
    command = [ffmpeg_exe(), "-hide_banner", "-nostdin", *arguments]
    try:
        return subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=limit_s,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"ffmpeg did not finish with {path} within {limit_s:g} s",
            hint="save the recording again, as WAV or MP4",
        ) from error


class Complaints:
    """Collects the end of what a running ffmpeg says of its troubles, without a file.

    Args:
        stderr: of the process; it is read to its end by a thread.
    """

    _KEPT = 8192

    def __init__(self, stderr: IO[bytes]) -> None:
        self._text = b""
        self._stderr = stderr
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        with self._stderr:
            for line in self._stderr:
                self._text = (self._text + line)[-self._KEPT :]

    def last(self) -> str:
        """The last line that says something; call it when the process has ended."""
        self._thread.join(1.0)
        return last_line(self._text.decode("utf-8", errors="replace"))


@contextmanager
def read_through(arguments: list[str], path: Path, hint: str) -> Iterator[Callable[[int], bytes]]:
    """Run an ffmpeg and read what it writes, to the end; it never outlives the block, and is ended if it stalls.

    Args:
        arguments: ffmpeg's, up to the output's format.
        path: what it reads, for messages.
        hint: what to do if that fails.

    Yields:
        A function that reads that many bytes, less only at the end.

    Raises:
        InputError: when the block ends, if ffmpeg failed.
    """
    command = [ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "error", *arguments, "-"]
    pipe = subprocess.PIPE
    # Its own session: Ctrl-C must reach this process only, which then ends ffmpeg.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
    )
    stopping.watch_process(process)
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, complaints, watch = process.stdout, Complaints(process.stderr), _Watch(process)

    def read(count: int) -> bytes:
        with watch:
            return stdout.read(count)

    try:
        yield read
        if process.wait() != 0:
            stalled = f"ffmpeg said nothing for {STALL_LIMIT_S:g} s"
            what = stalled if watch.barked else complaints.last()
            raise InputError(f"{path} could not be decoded: {what}", hint=hint)
    finally:
        watch.over.set()
        stdout.close()
        if process.poll() is None:
            process.kill()
        process.wait()
        stopping.forget_process(process)


class _Watch:
    """Ends a process that lets a read wait for `STALL_LIMIT_S`; use it as a context manager around each read."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._since: float | None = None
        self.over = threading.Event()
        self.barked = False
        threading.Thread(target=self._look, daemon=True).start()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *what: object) -> None:
        self._since = None

    def _look(self) -> None:
        while not self.over.wait(STALL_LIMIT_S / 20):
            since = self._since
            if since is not None and time.monotonic() - since > STALL_LIMIT_S:
                self.barked = True
                self._process.kill()
                return


def last_line(stderr: str) -> str:
    """Find the last line of ffmpeg's complaints that says something of its own."""
    dull = ("Conversion failed!", "At least one output file must be specified")
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and line.strip() not in dull]
    return lines[-1] if lines else "ffmpeg said nothing"


def inspect(path: Path, kind: str = "file") -> MediaInfo:
    """Ask ffmpeg what streams a file holds, without decoding them.

    Args:
        path: any media file.
        kind: what to call it in messages ("video", "recording").

    Raises:
        InputError: the file is missing, empty, or nothing that ffmpeg reads.
    """
    require_file(path, kind)
    result = run_ffmpeg(source(path), path)
    text = result.stderr.decode("utf-8", errors="replace")
    if "Input #0" not in text:
        raise InputError(
            f"{kind} {path} is not readable: {_refusal(path, text)}",
            hint="give a video or audio file that ffmpeg can play",
        )
    return parse_banner(text)


def _refusal(path: Path, text: str) -> str:
    """Why ffmpeg does not open a file, in our words where ffmpeg only obeys us."""
    with path.open("rb") as file:
        head = file.read(256).lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if head.startswith(_PLAYLISTS):
        return "it is a playlist, which names other files"
    return "it is no recording and no video" if "not on whitelist" in text else last_line(text)


def read_tags(path: Path) -> dict[str, str]:
    """Read the tags (title, comment, ...) of a media file, names in lower case.

    Raises:
        InputError: the file is missing, or nothing that ffmpeg reads.
    """
    require_file(path, "file")
    done = run_ffmpeg(["-loglevel", "error", *source(path), "-f", "ffmetadata", "-"], path)
    if done.returncode != 0:
        complaint = _refusal(path, done.stderr.decode("utf-8", errors="replace"))
        raise InputError(f"{path} is not readable: {complaint}", hint="give a video or audio file")
    text = done.stdout.decode("utf-8", errors="replace").replace("\\\n", "\0")
    head = re.split(r"^\[", text, maxsplit=1, flags=re.MULTILINE)[0]
    pairs = [line.partition("=") for line in head.splitlines() if line and line[0] not in ";#"]
    return {name.lower(): re.sub(r"\\(.)", r"\1", value).replace("\0", "\n") for name, _, value in pairs}
