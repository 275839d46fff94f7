"""Fits the read-out by which `emote evaluate` tells lips from sound, and says how good it is on held-out clips.

    python -m tests.fit_lip_reading DATASET --split SPLITS.json --out FILE.safetensors

DATASET was made by `emote prepare` at 25 fps. Clips that the split holds out, or keeps for
experiments, are only measured.
After a new fit, write the file's new sha256 into weights/whisper/SHA256SUMS.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from emote_cli.media.audio import open_audio
from emote_cli.perception.landmarks import EYE_CORNERS, LOWER_LIP, UPPER_LIP
from emote_cli.perception.lip_reading import AROUND, hear_states

FPS = 25
RIDGE = 1e3
REAL_WEIGHT = 5.0
"""A frame of a real person counts as many computed ones."""


def standardize(curve: np.ndarray) -> np.ndarray:
    return (curve - curve.mean()) / curve.std()


def read_clip(dataset: Path, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """States around each frame [frames, around * embed], and the lips' opening; None for still or lost faces."""
    track = np.load(dataset / "tracks" / f"{name}.npz")
    points, jaw, n = track["landmarks_px"][..., :2], track["jaw_open"], len(track["jaw_open"])
    if not track["found"].all() or jaw.std() < 1e-3:
        return None

    def distance(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(points[:, a] - points[:, b], axis=1)

    gap = distance(UPPER_LIP, LOWER_LIP) / distance(*EYE_CORNERS)
    states = np.concatenate(list(hear_states(open_audio(dataset / "audio" / f"{name}.flac"), n / FPS)))
    edge = max(AROUND)
    padded = np.pad(states, ((edge, edge), (0, 0)), "edge")
    around = np.concatenate([padded[edge + shift :][: 2 * n] for shift in AROUND], 1)
    return (around[::2] + around[1::2]) / 2, (standardize(jaw) + standardize(gap)) / 2


def held_out(split: Path) -> set[str]:
    """Stems of the sources that are not trained on."""
    parts = [part for part in json.loads(split.read_text()).values() if isinstance(part, dict)]
    return {Path(name).stem for part in parts for key in ("heldout", "other") for name in part.get(key, ())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    apart = held_out(args.split)
    rows = [json.loads(line) for line in (args.dataset / "manifest.jsonl").read_text().splitlines()]
    unseen, used = [], 0
    products, targets = 0.0, 0.0
    for row in rows:
        if row.get("reason") or (clip := read_clip(args.dataset, row["id"])) is None:
            continue
        stem = Path(row["source"]).stem
        if stem in apart:
            unseen.append((row["id"], *clip))
            continue
        weight = 1.0 if stem[0] == "c" and stem[1:].isdigit() else REAL_WEIGHT
        x, y = np.concatenate([clip[0], np.ones((len(clip[0]), 1))], 1).astype(np.float64), clip[1]
        products, targets, used = products + weight * x.T @ x, targets + weight * x.T @ y, used + 1
    found = np.linalg.solve(products + RIDGE * np.eye(len(products)), targets)[:-1]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": found.reshape(len(AROUND), -1).astype(np.float32)}, args.out)
    for name, x, y in unseen:
        print(f"{name:24s} {np.corrcoef(x @ found, y)[0, 1]:.3f}")  # noqa: T201
    print(f"fitted on {used} clips, measured on {len(unseen)}")  # noqa: T201


if __name__ == "__main__":
    main()
