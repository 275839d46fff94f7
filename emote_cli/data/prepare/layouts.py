"""Which videos and stills there are to prepare: any folder, CelebV-HQ with its json, or HDTF with its lists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from emote_cli.data.prepare.sources import STILL_SUFFIXES, Layout, Source, safe_id, take_whole_videos
from emote_cli.errors import InputError
from emote_cli.types import Box

VIDEO_SUFFIXES = frozenset(
    ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv".split()
)
"""Files with these endings are taken for videos."""

_HDTF_TIMES = "*_annotion_time.txt"
"""HDTF's own spelling."""

_HDTF_CLIP = re.compile(r"(?:(?:RD|WDA|WRA)_)?.+_\d{1,3}")


def is_video(path: Path) -> bool:
    """Whether a file is there whose name ends like a video's."""
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def find_sources(folder: Path, layout: Layout = "auto") -> list[Source]:
    """List the videos below a folder, and the still portraits where no annotation names the clips; sorted by id.

    Args:
        folder: searched with all its subfolders; hidden ones are passed over.
        layout: how to read it; `auto` looks for the annotations of CelebV-HQ and HDTF.

    Raises:
        InputError: the folder is missing, no folder, or without a video or picture; or its annotation is missing.
    """
    if not folder.exists():
        raise InputError(f"folder {folder} does not exist", hint="check the path")
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder", hint="name the folder that holds the videos or portraits"
        )
    videos = _files(folder, VIDEO_SUFFIXES)
    if layout == "auto":
        layout = guess_layout(folder)
    if layout == "celebv-hq":
        sources = celebv_hq(folder, videos)
    elif layout == "hdtf":
        sources = hdtf(folder, videos)
    else:
        sources = take_whole_videos(folder, sorted([*videos, *_files(folder, STILL_SUFFIXES)]))
    if not sources:
        raise InputError(
            f"folder {folder} holds no video and no picture",
            hint=f"known endings: {' '.join(sorted(VIDEO_SUFFIXES | STILL_SUFFIXES))}",
        )
    return sorted(sources, key=lambda source: source.id)


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return sorted(found)


def guess_layout(folder: Path) -> Layout:
    """Guess the layout from the annotation that lies in the folder; `folder` if there is none."""
    if _celebv_json(folder) is not None:
        return "celebv-hq"
    if next(folder.rglob(_HDTF_TIMES), None) is not None:
        return "hdtf"
    return "folder"


# ------------------------------------------------------------------------------------------- CelebV-HQ


def celebv_hq(folder: Path, videos: list[Path]) -> list[Source]:
    """List the clips of CelebV-HQ's json.

    A clip that was already made (`<clip>.mp4`, anywhere below the folder) is neither cut nor cropped again;
    of a whole video (`<ytb_id>.*`) the annotated seconds are taken, and the person at the annotated place.

    Raises:
        InputError: there is no such json, or it is not CelebV-HQ's.
    """
    path = _celebv_json(folder)
    if path is None:
        raise InputError(
            f"{folder} holds no CelebV-HQ annotation",
            hint="put celebvhq_info.json into it, or use --layout folder",
        )
    by_stem = {video.stem: video for video in reversed(videos)}
    clips = json.loads(path.read_text(encoding="utf-8"))["clips"]
    return [_celebv_clip(folder, path, str(key), clip, by_stem) for key, clip in clips.items()]


def _celebv_clip(folder: Path, annotation: Path, key: str, clip: Any, by_stem: dict[str, Path]) -> Source:
    try:
        whole = str(clip["ytb_id"])
        start, end = float(clip["duration"]["start_sec"]), float(clip["duration"]["end_sec"])
        edges = clip["bbox"]
        box = Box(*(float(edges[side]) for side in ("left", "top", "right", "bottom")))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{annotation}: clip {key} has no usable {error}",
            hint="fetch CelebV-HQ's celebvhq_info.json again",
        ) from error
    if (made := by_stem.get(key)) is not None:
        return Source(safe_id(key), made, _name(folder, made), cut=False, crop=False)
    video = by_stem.get(whole, folder / f"{key}.mp4")
    return Source(safe_id(key), video, _name(folder, video), start, end, face_hint=box)


def _celebv_json(folder: Path) -> Path | None:
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue  # somebody else's json
        clips = content.get("clips") if isinstance(content, dict) else None
        if isinstance(clips, dict) and clips and all("ytb_id" in c for c in list(clips.values())[:3]):
            return path
    return None


# ------------------------------------------------------------------------------------------------ HDTF


def hdtf(folder: Path, videos: list[Path]) -> list[Source]:
    """List the clips of HDTF's lists.

    Clips that were already made (`<name>_<number>.mp4`) are cut into segments, but not cropped again; of a
    whole video the listed times are taken. HDTF's crop boxes belong to the resolution of its own downloads,
    so they only say which face is meant, and only where that resolution is listed.

    Raises:
        InputError: there is no list, or a line of it cannot be read.
    """
    lists = sorted(folder.rglob(_HDTF_TIMES))
    if not lists:
        raise InputError(
            f"{folder} holds no {_HDTF_TIMES}", hint="put HDTF's lists into it, or use --layout folder"
        )
    by_stem = {video.stem: video for video in reversed(videos)}
    sources: list[Source] = []
    used: set[Path] = set()
    for times in lists:
        subset = times.name.removesuffix("_annotion_time.txt")
        for line in _lines(times):
            sources += _hdtf_video(folder, times, subset, line, by_stem)
    used.update(source.path for source in sources)
    others = [video for video in videos if video not in used]
    ready = [video for video in others if _HDTF_CLIP.fullmatch(video.stem)]
    sources += [Source(safe_id(v.stem), v, _name(folder, v), crop=False) for v in ready]
    return sources + take_whole_videos(folder, [video for video in others if video not in ready])


def _hdtf_video(folder: Path, times: Path, subset: str, line: str, by_stem: dict[str, Path]) -> list[Source]:
    """The clips of one line `Radio1.mp4 00:20-01:35 ...`."""
    file, *spans = line.split()
    stem = Path(file).stem
    video = by_stem.get(stem) or by_stem.get(f"{subset}_{stem}")
    sources = []
    for number, span in enumerate(spans):
        names = [f"{prefix}{stem}_{n}" for prefix in (f"{subset}_", "") for n in (number, f"{number:03d}")]
        made = next((by_stem[name] for name in names if name in by_stem), None)
        if made is not None:
            sources.append(Source(safe_id(made.stem), made, _name(folder, made), crop=False))
            continue
        start, end = _span(times, span)
        path = video or folder / f"{stem}.mp4"
        hint = _hdtf_hint(times, subset, stem, number)
        sources.append(
            Source(safe_id(f"{subset}_{stem}_{number}"), path, _name(folder, path), start, end, hint)
        )
    return sources


def _span(times: Path, text: str) -> tuple[float, float]:
    try:
        start, end = (_seconds(part) for part in text.split("-"))
    except ValueError as error:
        raise InputError(
            f"{times}: {text!r} is not a span like 00:20-01:35", hint="correct that line"
        ) from error
    return start, end


def _seconds(text: str) -> float:
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def _hdtf_hint(times: Path, subset: str, stem: str, number: int) -> Box | None:
    """Where the face is, if both the crop box and the resolution that it belongs to are listed."""
    boxes, sizes = (
        _table(times.parent / f"{subset}_crop_wh.txt"),
        _table(times.parent / f"{subset}_resolution.txt"),
    )
    box = boxes.get(f"{stem}_{number}")
    size = sizes.get(stem)
    if box is None or size is None or len(box) < 4 or len(size) < 2 or min(size[:2]) <= 0:
        return None
    x0, width, y0, height = box[:4]
    return Box(x0 / size[0], y0 / size[1], (x0 + width) / size[0], (y0 + height) / size[1])


def _table(path: Path) -> dict[str, list[float]]:
    """Lines `name.mp4 numbers...` as name -> numbers; empty without the file."""
    rows = {}
    for line in _lines(path) if path.is_file() else []:
        name, *_ = line.split()
        rows[Path(name).stem] = [float(n) for n in re.findall(r"\d+(?:\.\d+)?", line[len(name) :])]
    return rows


def _lines(path: Path) -> list[str]:
    """The lines that hold something; a byte order mark and a missing final newline do no harm."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
