"""One still portrait in, a clip of one frame out: without sound and motion, but with real skin, lips and teeth."""

from __future__ import annotations

from dataclasses import replace

from emote_cli.data import layout
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.prepare import filters
from emote_cli.data.prepare.filters import judge
from emote_cli.data.prepare.measure import FrameStatistics, track_values
from emote_cli.data.prepare.sources import Source
from emote_cli.data.prepare.thumbnails import ThumbStrip
from emote_cli.data.prepare.video import MAX_FACES, Work, blank_record, reject
from emote_cli.data.tracks import write_track
from emote_cli.errors import InputError
from emote_cli.files import sha256_once
from emote_cli.media.image import crop_and_resize, read_image
from emote_cli.media.video import write_video
from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.perception.geometry import crop_square, union_box
from emote_cli.perception.tracking import follow, track_to_crop
from emote_cli.types import Pixels

OF_VIDEOS = ("frozen", "jump")
"""Measured values that say nothing of one picture."""


def prepare_still(source: Source, work: Work) -> list[ClipRecord]:
    """Turn one portrait into a clip of one frame, and its track, below `work.dataset_dir`.

    The filters of faces judge it as they judge videos; those of length and sound do not apply.

    Returns:
        One record, accepted or rejected.

    Raises:
        OutputError: the data set cannot be written.
    """
    blank = replace(blank_record(source, work.settings), has_audio=False)
    if not source.path.is_file():
        return [reject(blank, filters.MISSING_FILE, f"{source.name} is not there")]
    blank = replace(blank, sha256=sha256_once(source.path), frames=1, end_s=round(1 / work.settings.fps, 6))
    try:
        return [_prepare(read_image(source.path), blank, work)]
    except InputError as error:
        return [reject(blank, filters.UNREADABLE, error.message.replace(str(source.path), source.name))]


def _prepare(picture: Pixels, record: ClipRecord, work: Work) -> ClipRecord:
    settings, folder = work.settings, work.dataset_dir
    height, width = picture.shape[:2]
    with FaceAnalyzer(work.face_model, max_faces=MAX_FACES) as analyzer:
        faces = analyzer.analyze(picture)
    statistics, thumb = FrameStatistics(), ThumbStrip(1)
    statistics.add(picture, faces)
    thumb.add(0, picture)
    track = follow([faces], settings.fps)
    crop = None
    if track.found.any():
        crop = crop_square(union_box(track.boxes_px), width, height, settings.crop_expand)
    measured = {**statistics.values(), **track_values(track, crop, width, height)}
    measured = {name: round(value, 4) for name, value in sorted(measured.items()) if name not in OF_VIDEOS}
    record = replace(record, measured=measured)
    thumb.write(layout.thumb_path(folder, record.id), crop)
    if crop is None:
        return reject(record, filters.NO_FACE, "no face in it")
    verdicts = judge(measured, settings)
    if verdicts and not settings.keep_all:
        return reject(record, verdicts[0].reason, verdicts[0].detail, [v.reason for v in verdicts])
    write_track(layout.track_path(folder, record.id), track_to_crop(track, crop, settings.size))
    frame = crop_and_resize(picture, crop, settings.size)
    write_video(
        layout.clip_path(folder, record.id), [frame], settings.fps, crf=settings.crf, preset="fast", threads=1
    )
    return replace(record, crop_px=[crop.x0, crop.y0, crop.x1, crop.y1], marks=[v.reason for v in verdicts])
