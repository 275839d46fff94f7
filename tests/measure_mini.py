"""Measures a model on the held-out clips of the shared folder, and writes the table of its card.

    python -m tests.measure_mini --out FOLDER [--model mini] [--only GROUP ...] [--limit N]

Each clip is made again by the plain `emote animate` from its first frame and its sound, then measured beside the
true one. Renders are kept in FOLDER/renders and made once; metrics.json and card.md are written anew each time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
GROUPS = ("address", "grid", "grid-hq", "synth", "silence")
SILENCE_S = 5.0


@dataclass(frozen=True)
class Clip:
    """One held-out clip; `truth` is None where there is only a portrait (silence)."""

    group: str
    name: str
    portrait: Path
    audio: Path
    truth: Path | None
    render: Path
    curves: Path | None = None


def shared_folder() -> Path:
    return Path(os.environ.get("EMOTE_SHARED", ROOT.parent / "shared"))


def held_out(shared: Path, out: Path, groups: Sequence[str], limit: int | None) -> list[Clip]:
    """The clips of splits.json that nothing is trained on, and the portraits that are made to hear silence."""
    split = json.loads((shared / "splits.json").read_text())
    media = shared / "media"
    videos = {
        "address": [media / "clips" / name for name in split["clips"]["heldout"]],
        "grid": [media / "grid" / name for name in split["grid"]["heldout"]],
        "grid-hq": [media / "grid-hq" / name for name in split["grid-hq"]["heldout"]],
        "synth": [shared / "synth" / "clips" / f"{name}.mp4" for name in sorted(split["synth"]["heldout"])],
    }
    clips = []
    for group in groups:
        for video in videos.get(group, [])[:limit]:
            name = video.stem
            curves = shared / "synth" / "curves" / f"{name}.npz" if group == "synth" else None
            portrait, render = out / "inputs" / group / f"{name}.png", out / "renders" / group / f"{name}.mp4"
            clips.append(Clip(group, name, portrait, video, video, render, curves))
        for name in split["portraits"]["heldout"][:limit] if group == "silence" else []:
            portrait, render = media / "portraits" / name, out / "renders" / group / f"{Path(name).stem}.mp4"
            clips.append(Clip(group, Path(name).stem, portrait, out / "inputs" / "silence.wav", None, render))
    return clips


def prepare_inputs(clips: Sequence[Clip]) -> None:
    """Write the first frames, and the silence."""
    import numpy as np
    import soundfile
    from PIL import Image

    from emote_cli.media.video import read_frames

    for clip in clips:
        for path in (clip.portrait, clip.audio, clip.render):
            path.parent.mkdir(parents=True, exist_ok=True)
        if clip.truth is not None and not clip.portrait.exists():
            Image.fromarray(next(read_frames(clip.truth))).save(clip.portrait)
        if clip.truth is None and not clip.audio.exists():
            soundfile.write(clip.audio, np.zeros(round(SILENCE_S * 16_000)), 16_000)


def render(clips: Sequence[Clip], model: str, out: Path) -> None:
    """Run `emote animate --batch` once per group for what is not there yet, and note what it cost."""
    for group in dict.fromkeys(clip.group for clip in clips):
        missing = [clip for clip in clips if clip.group == group and not clip.render.exists()]
        if not missing:
            continue
        jobs = out / f"jobs-{group}.jsonl"
        rows = [
            {"portrait": str(c.portrait.resolve()), "audio": str(c.audio.resolve()), "output": c.render.name}
            for c in missing
        ]
        jobs.write_text("".join(json.dumps(row) + "\n" for row in rows))
        folder = missing[0].render.parent
        begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "emote_cli", "animate", "--batch", str(jobs), "--model", model]
        done = subprocess.run([*command, "--output", str(folder)], check=False, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cost = {
            "clips": sum(clip.render.exists() for clip in missing),
            "wall_s": time.monotonic() - begin,
            "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "video_s": sum(seconds_of(clip.render) for clip in missing if clip.render.exists()),
        }
        with (out / "cost.jsonl").open("a") as file:
            file.write(json.dumps({"group": group, "model": model, **cost}) + "\n")
        if done.returncode:
            raise SystemExit(f"emote animate failed on the group {group}")


def seconds_of(path: Path) -> float:
    from emote_cli.media.video import probe

    return probe(path).duration_s


CARD = {
    "jaw": "lips.jaw.correlation",
    "jaw amplitude": "lips.jaw.amplitude",
    "lip gap": "lips.gap.correlation",
    "gap amplitude": "lips.gap.amplitude",
    "mouth sharpness": "sharpness.mouth_ratio",
    "b* inside": "mouth.inside_b_difference",
    "SFace": "identity.median",
    "seams": "seams",
    "unrest in silence": "lips.silence.std",
}


def write_card(clips: Sequence[Clip], out: Path, sface: Path | None) -> None:
    """Measure every render, and write metrics.json and the card's table (means of each group)."""
    import numpy as np

    from emote_cli.evaluation import report
    from emote_cli.evaluation.evaluate import evaluate

    shared = shared_folder() / "models/face_recognition_sface_2021dec.onnx"
    network = sface or (shared if shared.is_file() else None)
    rows, found = [], []
    for group in dict.fromkeys(clip.group for clip in clips):
        measured = [
            evaluate(
                clip.render, clip.truth, clip.portrait, chunk_frames=12, sface=network, keep=out / "cache"
            )
            for clip in clips
            if clip.group == group
        ]
        found += measured
        cells = []
        for name in CARD.values():
            values = [e.numbers[name] for e in measured if name in e.numbers]
            cells.append(f"{np.mean(values):.3f}" if values else "")
        rows.append(f"| {group} ({len(measured)}) | " + " | ".join(cells) + " |")
    table = [f"| clips | {' | '.join(CARD)} |", "|---" * (len(CARD) + 1) + "|", *rows]
    (out / "card.md").write_text("\n".join(table) + "\n")
    (out / "metrics.json").write_text(json.dumps(report.as_dict(found), indent=1) + "\n")
    print("\n".join(table))  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for renders, metrics.json and card.md"
    )
    parser.add_argument("--model", default="mini", help="name or folder of the model")
    parser.add_argument("--only", nargs="*", choices=GROUPS, default=GROUPS, help="groups of clips")
    parser.add_argument("--limit", type=int, help="at most so many clips of each group")
    parser.add_argument("--sface", type=Path, help="SFace's ONNX file; the shared folder's by default")
    parser.add_argument("--render-only", action="store_true", help="make the videos and stop")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    clips = held_out(shared_folder(), args.out, args.only, args.limit)
    prepare_inputs(clips)
    render(clips, args.model, args.out)
    if args.render_only:
        return
    write_card(clips, args.out, args.sface)


if __name__ == "__main__":
    main()
