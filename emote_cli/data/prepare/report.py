"""The page that people look at before they train: what was kept, what was dropped and why."""

from __future__ import annotations

import base64
from collections import Counter
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from emote_cli.data.layout import REPORT, thumb_path
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.prepare.filters import REASONS, RULES
from emote_cli.data.prepare.measure import STORAGE
from emote_cli.data.prepare.settings import PrepareSettings
from emote_cli.files import write_text

_ACCEPTED_SHOWN = 24
_REJECTED_SHOWN = 6
"""Samples per reason."""

_BINS = 24
_WIDTH, _HEIGHT = 300, 90

_CHARTS = (
    ("seconds", "duration, s"),
    ("face_px", "face in the video, pixels"),
    ("face_share", "face / crop"),
    ("yaw_deg", "yaw, degrees (95 % of the frames)"),
    ("pitch_deg", "pitch, degrees (95 % of the frames)"),
    ("speed_deg_s", "mean head speed, degrees/s"),
    ("speech", "share of speech"),
    ("sharpness", "sharpness of the face"),
    ("brightness", "brightness of the face"),
)
"""Measured values that get a histogram, with their titles."""

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>$title</title><style>
:root{--bg:#fff;--fg:#1c2430;--dim:#647084;--line:#dfe4ea;--good:#2a9d8f;--bad:#e07a3f;--card:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--bg:#14181d;--fg:#e4e8ee;--dim:#93a0b2;--line:#2d353f;--card:#1c2229}}
body{margin:2rem auto;max-width:1080px;padding:0 1rem;background:var(--bg);color:var(--fg);
font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .6rem}p,td,th,small{color:var(--dim)}
.cards{display:flex;gap:.8rem;flex-wrap:wrap;margin-top:1rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.6rem 1rem;min-width:7rem}
.card b{display:block;font-size:1.4rem;color:var(--fg)}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;font-weight:400}
tr+tr{border-top:1px solid var(--line)}td:first-child{color:var(--fg);white-space:nowrap}
.number{text-align:right}.wide{width:30%}.bar{height:.6rem;background:var(--bad);border-radius:3px;min-width:2px}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:1rem}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.6rem}
figure img{width:100%;display:block;border-radius:4px}figcaption{font-size:.85rem;overflow-wrap:anywhere}
figcaption small{display:block}svg{width:100%;height:auto;display:block}.good{fill:var(--good)}
.bad{fill:var(--bad)}svg text{fill:var(--dim);font-size:10px}.limit{stroke:var(--fg);stroke-dasharray:3 2}
.key{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin:0 .3rem 0 1rem}
details pre{background:var(--card);padding:.8rem;overflow:auto;border-radius:8px}
</style></head><body><h1>$title</h1>$body</body></html>
""")


def write_report(dataset_dir: Path, records: list[ClipRecord], settings: PrepareSettings) -> Path:
    """Write report.html, with all pictures inside it.

    Args:
        dataset_dir: the data set; thumbnails are read from it.
        records: accepted and rejected clips, sorted by id.
        settings: those of the run.

    Raises:
        OutputError: the folder is full or not writable.
    """
    path = dataset_dir / REPORT
    write_text(path, render(dataset_dir, records, settings))
    return path


def render(dataset_dir: Path, records: list[ClipRecord], settings: PrepareSettings) -> str:
    """Make the page as HTML text.

    Args:
        dataset_dir: the data set.
        records: of all clips, rejected ones included.
        settings: of the run.
    """
    kept = [record for record in records if record.reason is None]
    dropped = [record for record in records if record.reason is not None]
    body = [
        _cards(kept, dropped),
        _reasons(kept, dropped),
        _histograms(kept, dropped, settings),
        _storage(kept, dropped),
        _section("Accepted, a sample", _strips(dataset_dir, _spread(kept, _ACCEPTED_SHOWN))),
        *_rejected_samples(dataset_dir, dropped),
        "<h2>Settings</h2><details><summary>all of them</summary>"
        f"<pre>{escape(settings.model_dump_json(indent=1))}</pre></details>",
    ]
    return _PAGE.substitute(title=escape(f"Data set {dataset_dir.name}"), body="\n".join(body))


def _cards(kept: list[ClipRecord], dropped: list[ClipRecord]) -> str:
    seconds = sum(record.seconds for record in kept)
    lost = sum(record.seconds for record in dropped)
    marked = sum(bool(record.marks) for record in kept)
    facts = [
        (len(kept), "clips accepted"),
        (_duration(seconds), "accepted"),
        (len(dropped), "rejected"),
        (_duration(lost), "rejected"),
        (len({record.source for record in kept + dropped}), "files"),
    ]
    if marked:
        facts.append((marked, "kept, but marked"))
    cards = "".join(f'<div class="card"><b>{value}</b>{name}</div>' for value, name in facts)
    return f'<div class="cards">{cards}</div>'


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _reasons(kept: list[ClipRecord], dropped: list[ClipRecord]) -> str:
    counts = Counter(record.reason for record in dropped)
    marks = Counter(mark for record in kept + dropped for mark in record.marks)
    if not marks:
        return _section("Why clips were rejected", "<p>No filter caught anything.</p>")
    most = max(marks.values())
    rows = "".join(
        f"<tr><td>{reason}</td><td>{escape(REASONS[reason])}</td><td class=number>{counts[reason]}</td>"
        f"<td class=number>{marks[reason]}</td>"
        f'<td class=wide><div class=bar style="width:{100 * marks[reason] / most:.0f}%"></div></td></tr>'
        for reason in sorted(REASONS, key=lambda reason: -marks[reason])
        if marks[reason]
    )
    head = "<tr><th>code<th>meaning<th class=number>rejected for it<th class=number>caught by it<th></tr>"
    return _section("Why clips were rejected", f"<table>{head}{rows}</table>")


def _histograms(kept: list[ClipRecord], dropped: list[ClipRecord], settings: PrepareSettings) -> str:
    charts = [_chart(kept, dropped, name, title, settings) for name, title in _CHARTS]
    key = (
        '<p><span class="key" style="background:var(--good)"></span>accepted'
        '<span class="key" style="background:var(--bad)"></span>rejected; dashed: the limit</p>'
    )
    return _section("What was measured", key + f'<div class="grid">{"".join(charts)}</div>')


def _storage(kept: list[ClipRecord], dropped: list[ClipRecord]) -> str:
    """How many clips come from footage that had to be converted, a column for each kind of it."""
    head = "".join(f"<th class=number>{escape(words)}</th>" for words in STORAGE.values())
    rows = [
        f"<tr><td>{title}</td>"
        + "".join(f"<td class=number>{sum(name in r.measured for r in records)}</td>" for name in STORAGE)
        + "</tr>"
        for title, records in (("accepted clips", kept), ("rejected clips", dropped))
    ]
    return _section("Footage that was converted", f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>")


def _chart(
    kept: list[ClipRecord], dropped: list[ClipRecord], name: str, title: str, settings: PrepareSettings
) -> str:
    good, bad = ([r.measured[name] for r in records if name in r.measured] for records in (kept, dropped))
    if not good + bad:
        return ""
    low, high = min(0.0, *good, *bad), max(*good, *bad, 1e-9)
    (below, _), (above, _) = (np.histogram(values, _BINS, (low, high)) for values in (good, bad))
    tallest, step = max(int((below + above).max()), 1), _WIDTH / _BINS
    bars = []
    for i, (a, b) in enumerate(zip(below.tolist(), above.tolist(), strict=True)):
        base = float(_HEIGHT)
        for count, kind in ((a, "good"), (b, "bad")):
            if count:
                tall = count / tallest * _HEIGHT
                base -= tall
                box = f'x="{i * step:.1f}" y="{base:.1f}" width="{step - 1:.1f}" height="{tall:.1f}"'
                bars.append(f'<rect class="{kind}" {box}><title>{count}</title></rect>')
    axis = (
        f'<text x="0" y="{_HEIGHT + 12}">{low:.3g}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 12}" text-anchor="end">{high:.3g}</text>'
    )
    limits = "".join(_limit_line(name, low, high, settings))
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 16}" role="img">{"".join(bars)}{limits}{axis}</svg>'
    return f"<figure>{svg}<figcaption>{escape(title)} (n = {len(good) + len(bad)})</figcaption></figure>"


def _limit_line(name: str, low: float, high: float, settings: PrepareSettings) -> list[str]:
    limits = [float(getattr(settings, rule.limit)) for rule in RULES if rule.value == name]
    places = [(limit - low) / (high - low) * _WIDTH for limit in limits if low < limit < high]
    return [f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{_HEIGHT}"/>' for x in places]


def _rejected_samples(dataset_dir: Path, dropped: list[ClipRecord]) -> list[str]:
    sections = []
    for reason in REASONS:
        rows = [record for record in dropped if record.reason == reason]
        if rows:
            title = f"Rejected: {reason} ({len(rows)})"
            sections.append(_section(title, _strips(dataset_dir, _spread(rows, _REJECTED_SHOWN))))
    return sections


def _strips(dataset_dir: Path, records: list[ClipRecord]) -> str:
    if not records:
        return "<p>None.</p>"
    return f'<div class="grid">{"".join(_strip(dataset_dir, record) for record in records)}</div>'


def _strip(dataset_dir: Path, record: ClipRecord) -> str:
    path = thumb_path(dataset_dir, record.id)
    image = ""
    if path.is_file():
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        image = f'<img alt="frames of {escape(record.id)}" src="data:image/jpeg;base64,{data}">'
    words = record.detail or ", ".join(record.marks) or f"{record.frames} frames, {record.seconds:.2f} s"
    place = f"{record.source}, {record.start_s:.2f}-{record.end_s:.2f} s"
    return (
        f"<figure>{image}<figcaption>{escape(record.id)}<small>{escape(words)}</small>"
        f"<small>{escape(place)}</small></figcaption></figure>"
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content}"


def _spread(records: list[ClipRecord], count: int) -> list[ClipRecord]:
    """At most `count` records, evenly spread over the list."""
    if len(records) <= count:
        return records
    return [records[i * len(records) // count] for i in range(count)]
