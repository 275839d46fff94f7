"""Measures a model on the held-out clips of the shared folder, and writes the table of its card.

    python -m tests.measure_mini --out FOLDER [--model mini] [--only GROUP ...] [--limit N] [--card README.md]

Each clip is made again by the plain `emote animate` from its first frame and its sound, then measured beside the
true one. Renders are kept in FOLDER/renders and made once; metrics.json and card.md are written anew each time.
With --card weights/mini/README.md the table between the card's two marks is replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
GROUPS = ("address", "grid", "grid-hq", "synth", "silence")
SILENCE_S = 5.0
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


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
    "lips keep to the sound": "sync.correlation",
    "lips late against the sound, ms": "sync.lag_ms",
    "unrest in silence": "lips.silence.std",
}


def measure(clips: Sequence[Clip], out: Path, sface: Path | None) -> None:
    """Measure every render, and write metrics.json and the card's table."""
    from emote_cli.evaluation import report
    from emote_cli.evaluation.evaluate import evaluate

    shared = shared_folder() / "models/face_recognition_sface_2021dec.onnx"
    network = sface or (shared if shared.is_file() else None)
    found = [
        evaluate(clip.render, clip.truth, clip.portrait, chunk_frames=12, sface=network, keep=out / "cache")
        for clip in clips
    ]
    measured = report.as_dict(found, out)
    table = card_table(measured)
    (out / "metrics.json").write_text(json.dumps(measured, indent=1) + "\n")
    (out / "card.md").write_text(table)
    print(table)  # noqa: T201


def card_table(measured: Mapping[str, Any]) -> str:
    """A row for each number of `CARD`, a column for each group (the renders' folder): mean (lowest to highest)."""
    groups: dict[str, list[Mapping[str, float]]] = {}
    for row in measured["videos"]:
        groups.setdefault(Path(row["video"]).parent.name, []).append(row["numbers"])
    head = [f"{name} ({len(rows)})" for name, rows in groups.items()]
    lines = [f"| | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for title, name in CARD.items():
        cells = [told([row[name] for row in rows if name in row]) for rows in groups.values()]
        lines.append(f"| {title} (`{name}`) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def told(values: Sequence[float]) -> str:
    """Mean and range, for a cell; a dash without any value."""
    if not values:
        return "-"
    mean = f"{sum(values) / len(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


def fill_card(card: Path, table: str) -> None:
    """Put the table between the two marks of the card; every other line stays as somebody wrote it."""
    text = card.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"{card} needs one line '{BEGIN}' and, below it, one line '{END}'")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    card.write_text(f"{before}\n{table}{after}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for renders, metrics.json and card.md"
    )
    parser.add_argument("--model", default="mini", help="name or folder of the model")
    parser.add_argument("--only", nargs="*", choices=GROUPS, default=GROUPS, help="groups of clips")
    parser.add_argument("--limit", type=int, help="at most so many clips of each group")
    parser.add_argument("--sface", type=Path, help="SFace's ONNX file; the shared folder's by default")
    parser.add_argument("--card", type=Path, help="README.md of a model, whose marked table is replaced")
    parser.add_argument("--render-only", action="store_true", help="make the videos and stop")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    clips = held_out(shared_folder(), args.out, args.only, args.limit)
    prepare_inputs(clips)
    render(clips, args.model, args.out)
    if args.render_only:
        return
    measure(clips, args.out, args.sface)
    if args.card:
        fill_card(args.card, (args.out / "card.md").read_text())


if __name__ == "__main__":
    main()
