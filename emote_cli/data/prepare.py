"""One video in, its clips out: the pure function that `emote prepare` maps over a folder."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emote_cli.data.manifest import ClipRecord
from emote_cli.data.prepare_settings import PrepareSettings
from emote_cli.errors import OutputError
from emote_cli.media.audio import SPEECH_RATE_HZ, cut_or_pad, read_audio, write_flac
from emote_cli.media.image import crop_and_resize
from emote_cli.media.video import part_name, probe, read_frames, write_video
from emote_cli.perception.faces import (
    FaceAnalyzer,
    crop_square,
    follow,
    head_speed_deg_s,
    mouth_box,
    track_to_crop,
    union_box,
)
from emote_cli.types import Box, Face, FaceTrack, Pixels


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of one video at the clips' frame rate: frames `start` to `stop` (not included)."""

    id: str
    start: int
    stop: int


def plan_segments(name: str, n_frames: int, cuts: list[int], fps: float, max_s: float) -> list[Segment]:
    """Cut a video at its scene cuts, and long scenes into equal pieces."""
    edges = [0, *cuts, n_frames]
    spans = []
    for start, stop in zip(edges, edges[1:], strict=False):
        pieces = max(1, int(np.ceil((stop - start) / (max_s * fps))))
        marks = np.linspace(start, stop, pieces + 1).round().astype(int).tolist()
        spans += list(zip(marks, marks[1:], strict=False))
    if len(spans) == 1:
        return [Segment(name, *spans[0])]
    return [Segment(f"{name}-{i:03d}", a, b) for i, (a, b) in enumerate(spans)]


def prepare_video(
    source: Path, dataset_dir: Path, settings: PrepareSettings, *, name: str, face_model: Path
) -> list[ClipRecord]:
    """Turn one video into clips, sound and tracks under `dataset_dir`."""
    info = probe(source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    n_frames = round(info.duration_s * settings.fps)
    records = []
    for segment in plan_segments(name, n_frames, [], settings.fps, settings.max_s):
        frames = list(
            read_frames(
                source,
                fps=settings.fps,
                start_s=segment.start / settings.fps,
                duration_s=(segment.stop - segment.start) / settings.fps,
            )
        )
        with FaceAnalyzer(face_model, max_faces=3, video=True) as analyzer:
            faces = [analyzer.analyze(f, round(i * 1000 / settings.fps)) for i, f in enumerate(frames)]
        track = follow(faces, settings.fps)
        records.append(_make_clip(source, dataset_dir, settings, segment, frames, track, digest, info.has_audio))
    return records


def _make_clip(source, dataset_dir, settings, segment, frames, track, digest, has_audio):
    missing = 1 - float(track.found.mean())
    n = len(frames)
    base = dict(
        id=segment.id, source=source.name, sha256=digest, start_s=segment.start / settings.fps,
        end_s=(segment.start + n) / settings.fps, fps=settings.fps, frames=n, size=settings.size,
        has_audio=has_audio, settings_hash=settings.hash, measured={"missing": missing},
    )
    if missing > settings.max_missing:
        return ClipRecord(**base, reason="no_face", detail=f"no face in {missing:.0%} of the frames")
    height, width = frames[0].shape[:2]
    crop = crop_square(union_box(track.boxes_px), width, height)
    if has_audio:
        samples = round(n * SPEECH_RATE_HZ / settings.fps)
        wave = read_audio(source, SPEECH_RATE_HZ, segment.start / settings.fps, n / settings.fps)
        write_flac(dataset_dir / "audio" / f"{segment.id}.flac", cut_or_pad(wave, samples))
    write_track(dataset_dir / "tracks" / f"{segment.id}.npz", track_to_crop(track, crop, settings.size))
    write_video(
        dataset_dir / "clips" / f"{segment.id}.mp4",
        (crop_and_resize(frame, crop, settings.size) for frame in frames),
        settings.fps, crf=settings.crf, preset="fast", threads=1,
    )
    return ClipRecord(**base, crop_px=[crop.x0, crop.y0, crop.x1, crop.y1])


def write_track(path: Path, track: FaceTrack) -> None:
    """Write a track as tracks/<id>.npz: everything in pixels of the clip.

    Raises:
        OutputError: the folder is missing, full or not writable.
    """
    mouths = np.full((track.n_frames, 4), np.nan, np.float32)
    for i in np.flatnonzero(track.found):
        box = mouth_box(track.landmarks_px[i])
        mouths[i] = box.x0, box.y0, box.x1, box.y1
    part = part_name(path)
    try:
        with part.open("wb") as file:
            np.savez(
                file,
                box_px=track.boxes_px,
                landmarks_px=track.landmarks_px,
                pose_4x4=track.pose_4x4,
                head_speed_deg_s=head_speed_deg_s(track),
                jaw_open=track.jaw_open,
                blink=track.blink,
                found=track.found,
                mouth_box_px=mouths,
                fps=np.float64(track.fps),
            )
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}", hint="check space and permissions") from error
    finally:
        part.unlink(missing_ok=True)
