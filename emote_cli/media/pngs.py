"""A video as a folder of PNG files: every pixel as it was made."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np

from emote_cli.errors import OutputError
from emote_cli.files import write_file, write_text
from emote_cli.types import Pixels

NOTE_NAME = "making.txt"
"""Beside the pictures: the comment that a video would carry."""
_NAME = "{:06d}.png"
_OURS = re.compile(r"\d{6,}\.png|" + re.escape(NOTE_NAME))


def is_png_folder(path: Path) -> bool:
    """Whether an output's name asks for a folder of PNG files: it has no dot, and is a name."""
    return "." not in path.name and path.name != "-"


def check_png_folder(path: Path, force: bool) -> None:
    """Make sure that nothing else is overwritten.

    Raises:
        OutputError: the folder holds something, or cannot be replaced.
    """
    if path.name in ("", "..") or path.is_mount():
        raise OutputError(f"output {path} cannot be replaced", hint="name a new folder with -o")
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"{path} is a file", hint="name a folder, or a video such as talk.mp4")
    if not force:
        video = path / "video.mp4"
        raise OutputError(
            f"output {path} is a folder",
            hint=f"name a file, for example {video}; --force fills it with frames",
        )
    names = [file.name for file in path.iterdir()]
    foreign = next((name for name in sorted(names) if not _OURS.fullmatch(name)), None)
    if foreign is not None:
        raise OutputError(f"folder {path} holds other files ({foreign})", hint="name a new folder with -o")


class PngFolder:
    """Frames as PNG files, counted from 000000; see `segments.Pictures`.

    Args:
        folder: where they are collected.
        tags: what the video says of itself.
    """

    def __init__(self, folder: Path, tags: dict[str, str]) -> None:
        self._folder, self._comment = folder, tags.get("comment", "")
        self._number = 0

    def begin(self, number: int, first_frame: int) -> None:
        """Go on with a frame; those of an earlier try are written again."""
        self._folder.mkdir(exist_ok=True)
        self._number = first_frame

    def write(self, frame: Pixels) -> None:
        """Write one frame.

        Raises:
            OutputError: the disk is full.
        """
        good, data = cv2.imencode(".png", np.ascontiguousarray(frame[..., ::-1]))
        if not good:
            raise OutputError(f"cannot encode frame {self._number} as PNG", hint="please report this")
        write_file(self._folder / _NAME.format(self._number), lambda file: file.write(data.tobytes()))
        self._number += 1

    def end(self) -> None:
        """Do nothing: each frame is whole once it is written."""

    def discard(self) -> None:
        """Do nothing: each frame is whole once it is written."""

    def join(self, n_segments: int, n_frames: int, path: Path, *, whole: bool) -> None:
        """Give the frames their place; a part of them is copied, so that all can go on.

        Args:
            n_segments: not used: the frames lie in one folder.
            n_frames: frames that are whole, from the first one on; later files go.
            path: of the folder that the user asked for.
            whole: whether the video is finished.

        Raises:
            OutputError: the place is taken.
        """
        folder = self._folder
        if not whole:
            folder = self._folder.with_name("partial")
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self._folder, folder)
        frames = {_NAME.format(number) for number in range(n_frames)}
        for file in folder.iterdir():
            if file.name not in frames:
                file.unlink()  # of a killed run
        write_text(folder / NOTE_NAME, self._comment)
        old = folder.with_name("old")
        try:
            if path.exists():
                path.rename(old)
            folder.rename(path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}", hint="name a new folder") from error
        shutil.rmtree(old, ignore_errors=True)
