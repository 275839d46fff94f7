"""What happens over time in one clip, as small drawings with axes: lips, sync, identity, color, changes and seams."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

import numpy as np
from jaxtyping import Float

from emote_cli.evaluation.evaluate import Evaluation
from emote_cli.evaluation.footage import Footage
from emote_cli.evaluation.lips import lips_of, standardize
from emote_cli.evaluation.markup import tag
from emote_cli.evaluation.seams import find_period, relative_change

WIDTH, HEIGHT = 440, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 24
_MOST_POINTS = 600
"""Longer curves are drawn by the lowest and highest value of each stretch: peaks stay, the page stays small."""
_MOST_SEAMS = 60


@dataclass(frozen=True, slots=True)
class Line:
    """One curve.

    Attributes:
        label: what it is.
        times_s: of its values.
        values: NaN leaves a gap.
        kind: `ours` is a full line, `true` a broken one.
    """

    label: str
    times_s: Float[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]
    kind: str = "ours"


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing.

    Attributes:
        title: what is drawn.
        unit: of the values.
        lines: the curves; those without any value are left out.
        span: the least height in that unit, so that small changes look small.
        marks_s: moments to mark.
        note: what the marks are.
    """

    title: str
    unit: str
    lines: list[Line]
    span: float
    marks_s: Sequence[float] = ()
    note: str = ""


def draw_curves(evaluation: Evaluation) -> list[Element]:
    """All drawings of a clip that have anything to show."""
    return [_draw(panel) for panel in panels_of(evaluation)]


def panels_of(evaluation: Evaluation) -> list[Panel]:
    """What is drawn of a clip: its own curves, and the true video's where there is one."""
    ours = evaluation.footage
    pairs = [(evaluation, "this video", "ours")]
    if evaluation.truth is not None:
        pairs.append((evaluation.truth, "true video", "true"))

    def both(values: Callable[[Footage], Float[np.ndarray, " n"]]) -> list[Line]:
        return [Line(label, e.footage.times_s, values(e.footage), kind) for e, label, kind in pairs]

    seen = Line("seen", ours.times_s, standardize(lips_of(ours).opening))
    heard = Line("heard", ours.times_s, standardize(ours.heard), "true")
    same = [Line(label, e.footage.looked / e.footage.fps, e.cosines, kind) for e, label, kind in pairs]
    panels = [
        Panel("Lip gap", "distances of the eyes", both(lambda f: f.gap), 0.1),
        Panel("Jaw", "jawOpen, 0 to 1", both(lambda f: f.jaw), 0.1),
        Panel("Opening of the lips", "standard deviations", [seen, heard], 1),
        Panel("Same person", "cosine with the reference", same, 0.2),
        Panel("Brightness of the skin", "L*, 0 to 100", both(lambda f: f.skin_lab[:, 0]), 10),
        Panel(
            "Change from frame to frame", "gray values", both(lambda f: f.change), 1, *_seams_of(evaluation)
        ),
    ]
    shown = [(panel, [line for line in panel.lines if np.isfinite(line.values).any()]) for panel in panels]
    return [replace(panel, lines=lines) for panel, lines in shown if lines]


def _seams_of(evaluation: Evaluation) -> tuple[list[float], str]:
    """Moments of the seams, and a word on them."""
    footage, frames = evaluation.footage, evaluation.chunk_frames
    period, phase = (frames, 0) if frames is not None else find_period(relative_change(footage))
    if not period:
        return [], "no seams known"
    moments = (np.arange(phase or period, footage.n_frames, period) / footage.fps).tolist()
    note = f"seams every {period} frames"
    return ([], f"{note}, too many to mark") if len(moments) > _MOST_SEAMS else (moments, f"{note} (dotted)")


def _draw(panel: Panel) -> Element:
    end_s = max(float(line.times_s[-1]) for line in panel.lines)
    low = min(float(np.nanmin(line.values)) for line in panel.lines)
    high = max(float(np.nanmax(line.values)) for line in panel.lines)
    room = max(panel.span - (high - low), 0) / 2
    low, high = (low - room if low < 0 else max(low - room, 0)), high + room
    steps, seconds = ticks(low, high, 5), ticks(0, end_s, 6)
    end_s = max(end_s, 1e-3)

    def x(time_s: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * time_s / end_s

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - low) / max(high - low, 1e-9)

    parts: list[Element] = []
    for value in steps:
        parts.append(_straight("grid", _LEFT, y(value), WIDTH - _RIGHT, y(value)))
        parts.append(tag("text", f"{value:g}", x=_LEFT - 5, y=f"{y(value) + 4:.1f}", class_="left"))
    for second in seconds:
        last = " s" if second == seconds[-1] else ""
        parts.append(tag("text", f"{second:g}{last}", x=f"{x(second):.1f}", y=HEIGHT - 6, class_="below"))
        parts.append(_straight("axis", x(second), HEIGHT - _BOTTOM, x(second), HEIGHT - _BOTTOM + 4))
    parts += [_straight("seam", x(mark), _TOP, x(mark), HEIGHT - _BOTTOM) for mark in panel.marks_s]
    parts.append(_straight("axis", _LEFT, HEIGHT - _BOTTOM, WIDTH - _RIGHT, HEIGHT - _BOTTOM))
    for line in reversed(panel.lines):
        times, values = thin_out(line.times_s, line.values)
        points = [(x(t), y(v)) if math.isfinite(v) else None for t, v in zip(times, values, strict=True)]
        parts.append(tag("path", d=_path(points), class_=line.kind))
    labels = ", ".join(f"{line.label} ({_STROKES[line.kind]})" for line in panel.lines)
    note = f"; {panel.note}" if panel.note else ""
    caption = tag("figcaption", tag("b", panel.title), f" ({panel.unit}): {labels}{note}")
    told = f"{panel.title} over {end_s:.1f} s: {labels}"
    svg = tag("svg", parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=told)
    return tag("figure", caption, svg)


_STROKES = {"ours": "full line", "true": "broken line"}


def _straight(kind: str, x0: float, y0: float, x1: float, y1: float) -> Element:
    return tag("path", d=f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}", class_=kind)


def _path(points: list[tuple[float, float] | None]) -> str:
    """The way of an SVG path through all points, lifted at each None."""
    way, lifted = [], True
    for point in points:
        if point is not None:
            way.append(f"{'M' if lifted else 'L'}{point[0]:.1f} {point[1]:.1f}")
        lifted = point is None
    return "".join(way)


def thin_out(
    times_s: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]
) -> tuple[list[float], list[float]]:
    """At most some hundred points of a curve: the lowest and the highest of each stretch, in their order."""
    if len(values) <= _MOST_POINTS:
        return times_s.tolist(), values.tolist()
    kept: list[int] = []
    for part in np.array_split(np.arange(len(values)), _MOST_POINTS // 2):
        known = part[np.isfinite(values[part])]
        ends = {int(known[values[known].argmin()]), int(known[values[known].argmax()])} if len(known) else {}
        kept += sorted(ends) or [int(part[0])]
    return times_s[kept].tolist(), values[kept].tolist()


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers within a range, at equal steps (1, 2 or 5 times a power of ten); about so many."""
    rough = max(high - low, abs(high) * 1e-3, 1e-6) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 9) for k in range(first, last + 1)]
