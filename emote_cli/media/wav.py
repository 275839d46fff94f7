"""What the header of a WAV file says of its length, and how much sound there is behind it."""

from __future__ import annotations

import struct
from pathlib import Path

_UNKNOWN = (0, 0xFFFFFFFF)
"""Written by programs that stream, and do not know the length."""


def read_lengths_s(path: Path) -> tuple[float, float] | None:
    """Read the length that a WAV header states, and that of what is there, in seconds; None where there is none."""
    total = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        rate = 0
        while len(chunk := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", chunk)
            if name == b"data":
                if not rate or size in _UNKNOWN:
                    return None
                begin = file.tell()
                there = total - begin
                file.seek(begin + size + size % 2)
                # Other chunks may follow; sound that the header does not count looks like none.
                longer = there > size + 1 and not _is_chunk(file.read(8), total - file.tell())
                return size / rate, (there if there < size or longer else size) / rate
            if name == b"fmt ":
                rate = struct.unpack("<8xI", file.read(12))[0] if size >= 12 else 0
                size -= 12
            file.seek(max(size, 0) + size % 2, 1)
    return None


def _is_chunk(head: bytes, behind: int) -> bool:
    """Whether these bytes name a chunk that fits into what is left."""
    if len(head) < 8 or not all(32 <= byte < 127 for byte in head[:4]):
        return False
    return int.from_bytes(head[4:], "little") <= behind + 1
