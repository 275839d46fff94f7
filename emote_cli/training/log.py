"""What stays of a run to look at: `log.jsonl`, and `curves.png` drawn from it (no package is needed to see it)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from emote_cli.files import write_file
from emote_cli.training.observer import Observer, StepReport
from emote_cli.training.run_folder import CURVES, LOG

PANEL = (720, 220)
MARGIN = 48
INK, LINE, FAINT = (40, 40, 40), (31, 119, 180), (174, 199, 232)


class RunLog(Observer):
    """Appends lines to the log of a run folder; means over the steps between two lines.

    Args:
        run: the folder.
        every: steps between lines.
    """

    def __init__(self, run: Path, every: int) -> None:
        self.run, self.every = run, every
        self._since: list[StepReport] = []
        run.mkdir(parents=True, exist_ok=True)

    def on_step(self, report: StepReport) -> None:
        """Take note of a step."""
        self._since.append(report)
        if report.step % self.every == 0:
            count = len(self._since)
            line = asdict(report)
            for name in ("loss", "norm", "samples_per_s", "wait"):
                line[name] = sum(getattr(each, name) for each in self._since) / count
            self._since.clear()
            self._append(line)

    def on_figures(self, step: int, figures: dict[str, float]) -> None:
        """Take note of a validation."""
        self._append({"step": step, **figures})

    def on_warning(self, text: str) -> None:
        """Take note of what went wrong."""
        self._append({"note": text})

    def on_note(self, text: str) -> None:
        """Take note of an event."""
        self._append({"note": text})

    def on_saved(self, folder: Path) -> None:
        """Take note of a checkpoint, and draw the curves up to it."""
        self._append({"note": f"saved {folder}"})
        self.draw()

    def draw(self) -> None:
        """Draw all curves anew."""
        draw_curves(read_log(self.run), self.run / CURVES)

    def _append(self, line: dict[str, Any]) -> None:
        kept = {key: round_off(value) for key, value in line.items()}
        with (self.run / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")


def round_off(value: Any) -> Any:
    """Round a number to six digits; NaN becomes None, since JSON knows none."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


def read_log(run: Path) -> dict[str, dict[int, float]]:
    """Read a log: figure -> step -> value. Of a step that was trained twice (after a crash) the later line counts."""
    curves: dict[str, dict[int, float]] = {}
    path = run / LOG
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the last line of a run that was killed
        for name, value in line.items():
            if name != "step" and "step" in line and isinstance(value, int | float):
                curves.setdefault(name, {})[int(line["step"])] = float(value)
    return curves


def draw_curves(curves: dict[str, dict[int, float]], path: Path) -> None:
    """Draw one panel per figure, under each other; nothing to draw makes no file."""
    hidden = ("progress", "seconds_left", "memory_mb", "skipped")
    shown = {name: points for name, points in curves.items() if name not in hidden and len(points) > 1}
    if not shown:
        return
    width, height = PANEL
    picture = Image.new("RGB", (width, height * len(shown)), "white")
    for row, (name, points) in enumerate(shown.items()):
        panel = Image.new("RGB", PANEL, "white")
        draw_panel(ImageDraw.Draw(panel), name, sorted(points.items()))
        picture.paste(panel, (0, row * height))
    write_file(path, lambda file: picture.save(file, "PNG"))


def draw_panel(pen: ImageDraw.ImageDraw, name: str, points: Sequence[tuple[int, float]]) -> None:
    """Draw a curve, faint as it is and strong as its running mean, with the ends of both axes named.

    Args:
        pen: draws on the panel.
        name: of the figure.
        points: step and value, in the order of the steps; at least one.
    """
    width, height = PANEL
    (first, last), values = (points[0][0], points[-1][0]), [value for _, value in points]
    low, high = min(values), max(values)
    high = high if high > low else low + 1

    def place(step: int, value: float) -> tuple[float, float]:
        x = MARGIN + (step - first) / max(last - first, 1) * (width - 1.5 * MARGIN)
        return x, height - MARGIN / 2 - (value - low) / (high - low) * (height - MARGIN)

    pen.rectangle((MARGIN, MARGIN / 2, width - MARGIN / 2, height - MARGIN / 2), outline=(220, 220, 220))
    pen.line([place(*point) for point in points], FAINT, 1)
    mean, means = values[0], []
    for step, value in points:
        mean += 0.1 * (value - mean)
        means.append((step, mean))
    pen.line([place(*point) for point in means], LINE, 2)
    pen.text((MARGIN, 6), f"{name}: {values[-1]:.4g}", INK)
    pen.text((4, MARGIN / 2), f"{high:.3g}", INK)
    pen.text((4, height - MARGIN / 2 - 12), f"{low:.3g}", INK)
    pen.text((MARGIN, height - 18), f"{first}", INK)
    pen.text((width - 1.5 * MARGIN, height - 18), f"{last}", INK)
