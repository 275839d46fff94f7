"""One video in, its clips out: the pure function that `emote prepare` maps over a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emote_cli.data import layout
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.prepare import filters
from emote_cli.data.prepare.filters import Verdict, judge
from emote_cli.data.prepare.footage import Footage
from emote_cli.data.prepare.measure import FrameStatistics, storage_values, track_values
from emote_cli.data.prepare.scenes import Segment, find_cuts, plan_segments
from emote_cli.data.prepare.settings import PrepareSettings
from emote_cli.data.prepare.sources import Source
from emote_cli.data.prepare.sync import FURTHEST_S, cut_sound, measure_opening, sound_lag
from emote_cli.data.prepare.thumbnails import ThumbStrip
from emote_cli.data.tracks import write_track
from emote_cli.errors import InputError
from emote_cli.files import sha256_once
from emote_cli.media.audio import SPEECH_RATE_HZ, read_audio, write_flac
from emote_cli.media.image import crop_and_resize
from emote_cli.media.video import write_video
from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.perception.geometry import crop_square, union_box
from emote_cli.perception.tracking import follow, track_to_crop
from emote_cli.types import Box, FaceTrack, Waveform

MAX_FACES = 3
"""More than one, so that a second person is noticed."""

_SQUARE = 1.05
"""Where others have cropped, pictures up to this aspect ratio are taken whole."""

_TRUNCATED_S = 0.5
"""A file that ends this much before its stated length is damaged."""

_MIN_FRAMES = 2
"""Shorter segments cannot be kept even with `keep_all`."""


@dataclass(frozen=True, slots=True)
class Work:
    """Everything that is the same for all sources of a run.

    Attributes:
        dataset_dir: the data set, with its folders.
        settings: how to cut, crop and judge.
        face_model: path of `face_landmarker.task`.
    """

    dataset_dir: Path
    settings: PrepareSettings
    face_model: Path


@dataclass(frozen=True, slots=True)
class _Sound:
    """The sound of a source: `heard` begins `before_s` ahead of the picture; `length_s` of it are the source's own."""

    heard: Waveform
    before_s: float
    length_s: float


@dataclass(frozen=True, slots=True)
class _Video:
    """One source, decoded once."""

    source: Source
    footage: Footage
    n_frames: int
    cuts: list[int]
    sound: _Sound | None
    whole: ClipRecord

    @property
    def decoded_s(self) -> float:
        """Length of what can be decoded, picture or sound."""
        return max(self.n_frames / self.footage.fps, self.sound.length_s if self.sound else 0.0)


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen in one segment."""

    track: FaceTrack
    crop_px: Box | None
    thumbs: ThumbStrip
    measured: dict[str, float]


def prepare_video(source: Source, work: Work) -> list[ClipRecord]:
    """Turn one video into clips, sound and tracks below `work.dataset_dir`.

    The same source and settings give the same files and records, wherever this runs.

    Returns:
        One record per segment, accepted or rejected; a single one if the whole video cannot be used.

    Raises:
        OutputError: the data set cannot be written.
    """
    blank = blank_record(source, work.settings)
    if not source.path.is_file():
        return [reject(blank, filters.MISSING_FILE, f"{source.name} is not there")]
    blank = replace(blank, sha256=sha256_once(source.path))
    try:
        video = _open(source, work, blank)
        if isinstance(video, ClipRecord):
            return [video]
        segments = plan_segments(source.id, video.n_frames, video.cuts, work.settings)
        if not source.cut:
            segments = [Segment(source.id, 0, video.n_frames)]
        return [_prepare_segment(video, segment, work) for segment in segments]
    except InputError as error:
        return [reject(blank, filters.UNREADABLE, error.message.replace(str(source.path), source.name))]


def _open(source: Source, work: Work, blank: ClipRecord) -> _Video | ClipRecord:
    """Look for cuts and read the sound; or say why the whole video is of no use."""
    settings = work.settings
    footage = Footage(source.path, settings.fps, source.start_s, source.end_s)
    blank = replace(
        blank, start_s=_round_values(footage.start_s), end_s=_round_values(footage.start_s + footage.stated_s)
    )
    if settings.audio and not footage.info.has_audio:
        return reject(blank, filters.NO_AUDIO, "no sound stream; --no-audio prepares silent sets")
    cuts, n_frames = find_cuts(footage.small_frames(), settings.fps, settings.cut_threshold)
    sound = _read_sound(source.path, footage) if settings.audio else None
    video = _Video(source, footage, n_frames, cuts, sound, blank)
    if footage.stated_s - video.decoded_s > _TRUNCATED_S:
        detail = f"only {video.decoded_s:.2f} s of {footage.stated_s:.2f} s can be decoded"
        return reject(replace(blank, frames=n_frames), filters.TRUNCATED, detail)
    return video


def _read_sound(path: Path, footage: Footage) -> _Sound:
    """The sound of the stretch, and what lies so close to it that it may have to be moved there."""
    before = min(FURTHEST_S, footage.start_s)
    span = None if footage.span_s is None else before + footage.span_s + FURTHEST_S
    heard = read_audio(path, SPEECH_RATE_HZ, footage.start_s - before, span)
    length = heard.duration_s - before
    return _Sound(heard, before, length if footage.span_s is None else min(length, footage.span_s))


def _prepare_segment(video: _Video, segment: Segment, work: Work) -> ClipRecord:
    settings = work.settings
    record = _segment_record(video, segment)
    short = judge({"seconds": segment.n_frames / settings.fps}, settings)
    if short and not (settings.keep_all and segment.n_frames >= _MIN_FRAMES):
        return reject(record, short[0].reason, short[0].detail)
    look = _look_at(video, segment, work)
    late = _lateness(video, segment, look.track)
    sound = _cut_sound(video, segment, late.get("sound_late_s", 0.0) if settings.fix_sync else 0.0)
    measured = {**look.measured, **_sound_values(video, sound), **late, **storage_values(video.footage.kind)}
    record = replace(record, measured={name: round(value, 4) for name, value in sorted(measured.items())})
    look.thumbs.write(layout.thumb_path(work.dataset_dir, record.id), look.crop_px)
    verdicts = _cut_verdicts(video, segment) + judge(measured, settings)
    if look.crop_px is None:
        return reject(record, filters.NO_FACE, "no face in any frame")
    if verdicts and not settings.keep_all:
        return reject(record, verdicts[0].reason, verdicts[0].detail, [v.reason for v in verdicts])
    _write_clip(video, segment, work, look.track, look.crop_px, sound)
    crop = [look.crop_px.x0, look.crop_px.y0, look.crop_px.x1, look.crop_px.y1]
    return replace(record, crop_px=crop, marks=[v.reason for v in verdicts])


def _look_at(video: _Video, segment: Segment, work: Work) -> _Look:
    fps, info = work.settings.fps, video.footage.info
    statistics, thumbs = FrameStatistics(), ThumbStrip(segment.n_frames)
    faces = []
    with FaceAnalyzer(work.face_model, max_faces=MAX_FACES, video=True) as analyzer:
        for i, frame in enumerate(video.footage.frames(segment.start, segment.stop)):
            faces.append(analyzer.analyze(frame, round(i * 1000 / fps)))
            statistics.add(frame, faces[-1])
            thumbs.add(i, frame)
    hint = video.source.face_hint
    near = None
    if hint is not None:
        near = Box(hint.x0 * info.width, hint.y0 * info.height, hint.x1 * info.width, hint.y1 * info.height)
    track = follow(faces, fps, near)
    crop = _crop(video, track, work.settings) if track.found.any() else None
    values = {**statistics.values(), **track_values(track, crop, info.width, info.height)}
    return _Look(track, crop, thumbs, {"seconds": segment.n_frames / fps, **values})


def _crop(video: _Video, track: FaceTrack, settings: PrepareSettings) -> Box:
    width, height = video.footage.info.width, video.footage.info.height
    if not video.source.crop and max(width, height) <= _SQUARE * min(width, height):
        side = min(width, height)
        x0, y0 = (width - side) // 2, (height - side) // 2
        return Box(x0, y0, x0 + side, y0 + side)
    return crop_square(union_box(track.boxes_px), width, height, settings.crop_expand)


def _lateness(video: _Video, segment: Segment, track: FaceTrack) -> dict[str, float]:
    """By how much the sound comes after the lips, and how well the two agree; nothing where it cannot be told."""
    if video.sound is None:
        return {}
    fps = video.footage.fps
    lag = sound_lag(
        video.sound.heard, measure_opening(track), video.sound.before_s + segment.start / fps, fps
    )
    return {"sound_late_s": lag.late_s, "sync": lag.agreement} if np.isfinite(lag.agreement) else {}


def _cut_sound(video: _Video, segment: Segment, late_s: float) -> Waveform | None:
    """The segment's sound, exactly as long as its picture; silence where the recording has ended."""
    if video.sound is None:
        return None
    fps = video.footage.fps
    start_s = video.sound.before_s + segment.start / fps + late_s
    return cut_sound(video.sound.heard, start_s, segment.n_frames / fps)


def _sound_values(video: _Video, sound: Waveform | None) -> dict[str, float]:
    if sound is None or video.sound is None:
        return {}
    from emote_cli.perception.voice import speech_share

    gap_s = abs(video.sound.length_s - video.n_frames / video.footage.fps)
    return {"speech": speech_share(sound), "length_gap_s": gap_s}


def _cut_verdicts(video: _Video, segment: Segment) -> list[Verdict]:
    inside = [cut for cut in video.cuts if segment.start < cut < segment.stop]
    where = ", ".join(f"{cut / video.footage.fps:.2f}" for cut in inside)
    return [Verdict(filters.CUT_INSIDE, f"cut at {where} s")] if inside else []


def _write_clip(
    video: _Video, segment: Segment, work: Work, track: FaceTrack, crop_px: Box, sound: Waveform | None
) -> None:
    settings, folder = work.settings, work.dataset_dir
    if sound is not None:
        write_flac(layout.audio_path(folder, segment.id), sound)
    write_track(layout.track_path(folder, segment.id), track_to_crop(track, crop_px, settings.size))
    frames = video.footage.frames(segment.start, segment.stop)
    write_video(
        layout.clip_path(folder, segment.id),
        (crop_and_resize(frame, crop_px, settings.size) for frame in frames),
        settings.fps,
        crf=settings.crf,
        preset="fast",
        threads=1,
    )


# --------------------------------------------------------------------------------------------- records


def blank_record(source: Source, settings: PrepareSettings) -> ClipRecord:
    """Make the record of a source of which nothing is known yet."""
    return ClipRecord(
        id=source.id,
        source=source.name,
        sha256="",
        start_s=_round_values(source.start_s),
        end_s=_round_values(source.end_s or source.start_s),
        fps=settings.fps,
        frames=0,
        size=settings.size,
        has_audio=settings.audio,
        settings_hash=settings.hash,
        licence=settings.licence,
    )


def _segment_record(video: _Video, segment: Segment) -> ClipRecord:
    fps, first = video.footage.fps, video.footage.first
    return replace(
        video.whole,
        id=segment.id,
        start_s=_round_values((first + segment.start) / fps),
        end_s=_round_values((first + segment.stop) / fps),
        frames=segment.n_frames,
    )


def reject(record: ClipRecord, reason: str, detail: str, marks: list[str] | None = None) -> ClipRecord:
    """Copy a record as that of a rejected clip.

    Args:
        record: of the clip.
        reason: a key of REASONS.
        detail: the values, for the report.
        marks: all reasons if there are more.
    """
    return replace(record, reason=reason, detail=detail, marks=marks or [reason], has_audio=False)


def _round_values(seconds: float) -> float:
    return round(seconds, 6)
