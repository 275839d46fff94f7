"""Measures a model on the held-out clips of the shared folder, and writes the table of its card.

    python -m tests.measure_mini --out FOLDER [--model mini] [--only GROUP ...] [--limit N] [--card README.md]

Each clip is made again from its first frame and its sound, then measured beside the true one, by the functions
of `emote evaluate --model --data`. Renders are kept in FOLDER/renders and made once; metrics.json and card.md are
written anew each time. With --card weights/mini/README.md the table between the card's two marks is replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from emote_cli.errors import EmoteError
from emote_cli.evaluation import report
from emote_cli.evaluation.batch import CACHE, evaluate_all
from emote_cli.evaluation.holdout import RENDERS, Clip
from emote_cli.evaluation.renders import Maker, make_renders, requests_for_clips
from emote_cli.media.video import probe

ROOT = Path(__file__).parent.parent
GROUPS = ("address", "grid", "grid-hq", "synth", "silence")
SILENCE_S = 5.0
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def shared_folder() -> Path:
    return Path(os.environ.get("EMOTE_SHARED", ROOT.parent / "shared"))


def held_out(shared: Path, out: Path, groups: Sequence[str], limit: int | None) -> dict[str, list[Clip]]:
    """By group: the clips of splits.json that nothing is trained on, and portraits that are made to hear silence."""
    split = json.loads((shared / "splits.json").read_text())
    media = shared / "media"
    videos = {
        "address": [media / "clips" / name for name in split["clips"]["heldout"]],
        "grid": [media / "grid" / name for name in split["grid"]["heldout"]],
        "grid-hq": [media / "grid-hq" / name for name in split["grid-hq"]["heldout"]],
        "synth": [shared / "synth" / "clips" / f"{name}.mp4" for name in sorted(split["synth"]["heldout"])],
    }
    clips = {
        group: [
            Clip.of_video(video, f"{group}/{video.stem}", out, probe(video).duration_s)
            for video in videos[group][:limit]
        ]
        for group in groups
        if group in videos
    }
    if "silence" in groups:
        portraits = [media / "portraits" / name for name in split["portraits"]["heldout"][:limit]]
        clips["silence"] = [silent(portrait, out) for portrait in portraits]
    return clips


def silent(portrait: Path, out: Path) -> Clip:
    """A portrait that hears nothing."""
    sound, render = out / "silence.wav", out / RENDERS / "silence" / f"{portrait.stem}.mp4"
    if not sound.exists():
        soundfile.write(sound, np.zeros(round(SILENCE_S * 16_000)), 16_000)
    return Clip(f"silence/{portrait.stem}", None, sound, portrait, None, render, SILENCE_S)


def render(group: str, clips: Sequence[Clip], maker: Maker, out: Path) -> None:
    """Make what is not there yet, and note what it cost."""
    missing = [clip for clip in clips if not maker.check_made(clip)]
    if not missing:
        return
    begin, before = time.monotonic(), cpu_s()
    for clip, answer in make_renders(missing, maker):
        if isinstance(answer, EmoteError):
            raise SystemExit(f"{clip.name}: {answer.message}")
    cost = {
        "clips": len(missing),
        "wall_s": time.monotonic() - begin,
        "cpu_s": cpu_s() - before,
        "video_s": sum(probe(clip.render).duration_s for clip in missing),
    }
    with (out / "cost.jsonl").open("a") as file:
        file.write(json.dumps({"group": group, "model": maker.model, **cost}) + "\n")


def cpu_s() -> float:
    """Processor time so far, of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


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


def measure(clips: Sequence[Clip], chunk_frames: int | None, out: Path, sface: Path | None) -> None:
    """Measure every render, and write metrics.json and the card's table."""
    shared = shared_folder() / "models/face_recognition_sface_2021dec.onnx"
    network = sface or (shared if shared.is_file() else None)
    requests = requests_for_clips(clips, chunk_frames=chunk_frames, sface=network, keep=out / CACHE)
    found = []
    for request, answer in evaluate_all(requests):
        if isinstance(answer, EmoteError):
            raise SystemExit(f"{request.video}: {answer.message}")
        found.append(answer)
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
    clips, maker = held_out(shared_folder(), args.out, args.only, args.limit), Maker.of(args.model)
    for group, members in clips.items():
        render(group, members, maker, args.out)
    if args.render_only:
        return
    measure(
        [clip for members in clips.values() for clip in members], maker.chunk_frames, args.out, args.sface
    )
    if args.card:
        fill_card(args.card, (args.out / "card.md").read_text())


if __name__ == "__main__":
    main()
