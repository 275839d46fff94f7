"""Held-out clips: which ones of a data set or folder, and what a model gets of each: its first frame and its sound.

portraits/NAME.png      the first frame that shows a face
portraits/NAME.clip     size and time of the clip that portrait and truth come from
truths/NAME.mp4         the true clip, where a data set keeps picture and sound apart
renders/NAME.mp4        the clip as the model makes it (renders.py)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from PIL import Image

from emote_cli.data import layout, parts
from emote_cli.data.prepare.layouts import find_sources
from emote_cli.data.prepare.sources import Source
from emote_cli.data.selection import HELD_OUT, is_held_out, names_of, read_dataset, read_split
from emote_cli.errors import DataError, FaceError, InputError, OutputError
from emote_cli.files import make_folder, write_file
from emote_cli.media.video import Soundtrack, add_sound, probe, read_frames
from emote_cli.perception.faces import FaceAnalyzer, find_faces
from emote_cli.types import Pixels
from emote_cli.zoo.locate import locate_bundled

PORTRAITS, TRUTHS, RENDERS = "portraits", "truths", "renders"

_LOOKED_AT_S = 10
"""A face is looked for in this much of a clip."""

_LISTS = 'a JSON or YAML file, {"heldout": ["clip1", "*.mpg"]}'


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip to be made again, and where everything of it lies.

    Attributes:
        name: of its files.
        video: where its picture comes from; None: `portrait` is there, and nothing is known of the truth.
        audio: what is heard.
        portrait: the picture to animate; written by `write_inputs`.
        truth: the true clip with its sound; None without one. Written by `write_inputs` unless it is `video`.
        render: the video to make.
        seconds: its length.
    """

    name: str
    video: Path | None
    audio: Path
    portrait: Path
    truth: Path | None
    render: Path
    seconds: float

    @classmethod
    def of_video(cls, video: Path, name: str, out: Path, seconds: float, audio: Path | None = None) -> Clip:
        """A clip with the truth; its files go below `out`.

        Args:
            video: the true clip.
            name: of its files.
            out: the output folder.
            seconds: its length.
            audio: its sound where that lies apart.
        """
        return cls(
            name=name,
            video=video,
            audio=audio or video,
            portrait=out / PORTRAITS / f"{name}.png",
            truth=out / TRUTHS / f"{name}.mp4" if audio else video,
            render=out / RENDERS / f"{name}.mp4",
            seconds=seconds,
        )

    def on_any_machine(self) -> Clip:
        """The same with paths that are right in any folder of any machine that sees the same files."""
        return replace(
            self,
            video=self.video and self.video.resolve(),
            audio=self.audio.resolve(),
            portrait=self.portrait.resolve(),
            truth=self.truth and self.truth.resolve(),
            render=self.render.resolve(),
        )


@dataclass(frozen=True, slots=True)
class HoldOut:
    """The held-out clips of a data set.

    Attributes:
        clips: to be made again, at least one.
        silent: names of those without sound, which cannot be.
    """

    clips: list[Clip]
    silent: list[str]


def is_prepared(folder: Path) -> bool:
    """Whether a folder is a data set of `emote prepare`, or holds parts of one."""
    return (folder / layout.MANIFEST).is_file() or any(folder.glob(parts.PATTERN))


def find_clips(data: Path, out: Path, split: Path | None = None, part: str = HELD_OUT) -> HoldOut:
    """Find the held-out clips of a data set that `emote prepare` made, or of a plain folder of videos.

    Args:
        data: the data set, or the folder; of a folder without a split every video is taken.
        out: where portraits, truths and renders go.
        split: lists of clips, as for `emote train`.
        part: the lists of the split that count.

    Raises:
        InputError: the folder or the split is missing, or a video cannot be read.
        DataError: no clip is held out, or none has sound.
        OutputError: `out` lies inside of `data`.
    """
    if not data.is_dir():
        raise InputError(
            f"{data} is no folder", hint="name a data set of emote prepare, or a folder of videos"
        )
    if out.resolve().is_relative_to(data.resolve()):
        raise OutputError(f"{out} lies inside of {data}", hint="choose a place beside it with --out")
    lists = None if split is None else read_split(split)
    found = (_of_dataset if is_prepared(data) else _of_folder)(data, out, lists, part)
    if not found.clips:
        raise DataError(
            f"none of the {len(found.silent)} held-out clips of {data} has sound",
            hint="the model needs speech: prepare the data set without --no-audio, or name other clips",
        )
    return found


def _of_dataset(data: Path, out: Path, lists: dict[str, list[str]] | None, part: str) -> HoldOut:
    records = [record for record in read_dataset(data) if record.frames > 1]
    if lists is None:
        raise DataError(
            f"nothing says which of the {len(records)} clips of {data} are held out",
            hint=f'--split FILE does, {_LISTS}; "*" means every clip',
        )
    held_out = [record for record in records if is_held_out(names_of(record), lists, part)]
    if not held_out:
        raise _none(data, part, len(records), records[0].id if records else "")
    clips = [
        Clip.of_video(
            layout.clip_path(data, record.id),
            record.id,
            out,
            record.seconds,
            layout.audio_path(data, record.id),
        )
        for record in held_out
        if record.has_audio
    ]
    return HoldOut(clips, [record.id for record in held_out if not record.has_audio])


def _of_folder(folder: Path, out: Path, lists: dict[str, list[str]] | None, part: str) -> HoldOut:
    sources = [source for source in find_sources(folder, "folder") if not source.is_still]
    held_out = [each for each in sources if lists is None or is_held_out(_names_of(each), lists, part)]
    if not held_out:
        raise _none(folder, part, len(sources), sources[0].path.name if sources else "")
    clips, silent = [], []
    for source in held_out:
        info = probe(source.path)
        if info.has_audio:
            clips.append(Clip.of_video(source.path, source.id, out, info.duration_s))
        else:
            silent.append(source.id)
    return HoldOut(clips, silent)


def _names_of(source: Source) -> set[str]:
    return {source.id, source.name, source.path.name, source.path.stem}


def _none(data: Path, part: str, count: int, example: str) -> DataError:
    return DataError(
        f"none of the {count} clips of {data} is held out",
        hint=f"list them under {part} in the split"
        + (f"; clips are named like {example}" if example else ""),
    )


def has_inputs(clip: Clip) -> bool:
    """Whether portrait and truth are there, and come from the clip as it is now."""
    written = [path for path in (clip.portrait, clip.truth) if path is not None]
    if not all(path.exists() for path in written):
        return False
    note = _note(clip)
    return clip.video is None or (note.is_file() and note.read_text("utf-8") == _state(clip.video))


def _note(clip: Clip) -> Path:
    return clip.portrait.with_suffix(".clip")


def _state(video: Path) -> str:
    """What changes when another file is put in a video's place."""
    status = video.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def write_inputs(clip: Clip) -> None:
    """Write the clip's portrait, and its truth, anew.

    Raises:
        FaceError: the clip's beginning shows no face.
        InputError: the clip cannot be read.
        OutputError: they cannot be written.
    """
    for path in (clip.portrait, clip.render):
        make_folder(path.parent)
    if clip.video is None:
        return
    note, state = _note(clip), _state(clip.video)
    note.unlink(missing_ok=True)
    picture = Image.fromarray(first_face(clip.video))
    write_file(clip.portrait, lambda file: picture.save(file, format="PNG"))
    if clip.truth is not None and clip.truth != clip.video:
        make_folder(clip.truth.parent)
        add_sound(clip.truth, clip.video, Soundtrack(clip.audio))
    write_file(note, lambda file: file.write(state.encode()))


def first_face(video: Path) -> Pixels:
    """The first frame of a video in which `emote animate` finds a face.

    Raises:
        InputError: it cannot be read.
        FaceError: no frame of its beginning shows a face.
    """
    most = round(_LOOKED_AT_S * probe(video).fps)
    with FaceAnalyzer(locate_bundled("face_landmarker.task")) as analyzer:
        for frame in islice(read_frames(video), most):
            if find_faces(frame, analyzer):
                return frame
    raise FaceError(
        f"no face in the first {_LOOKED_AT_S} s of {video}", hint="leave it out, or cut its beginning off"
    )
