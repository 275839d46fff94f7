"""report.html: what stands out in plain words, then the measures with their recipes, then the clips, worst first.

One file without scripts: it reads on a phone, on paper and in the dark, and says in words what it says in colors.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from xml.etree.ElementTree import Element

from emote_cli.evaluation.curves import draw_curves
from emote_cli.evaluation.evaluate import MEASURES, PROTOCOL, Evaluation
from emote_cli.evaluation.making import tell_makers
from emote_cli.evaluation.markup import page, tag
from emote_cli.evaluation.sets import SET_MEASURES, OfSet
from emote_cli.evaluation.strips import Strip
from emote_cli.evaluation.summary import (
    Verdict,
    good_groups,
    group_of,
    judge_all,
    medians,
    rank,
    seen_from,
    stand_out,
    truths_of,
)

MOST_CLIPS = 30
"""So many clips, the worst ones, are shown with frames and curves; the others by their numbers in a table."""

_SIGNS = {"good": "\N{CHECK MARK} good", "too low": "\N{BLACK DOWN-POINTING TRIANGLE} too low",
          "too high": "\N{BLACK UP-POINTING TRIANGLE} too high",
          "both": "\N{UP DOWN ARROW} too low in some, too high in others"}  # fmt: skip


def as_html(
    evaluations: Sequence[Evaluation],
    strips: Mapping[Path, Strip] | None = None,
    folder: Path | None = None,
    of_set: OfSet | None = None,
    n_failed: int = 0,
) -> str:
    """The page.

    Args:
        evaluations: of all videos.
        strips: frames side by side, by video, of those that have them.
        folder: where the page lies; paths are told as seen from there.
        of_set: what was measured of all videos together.
        n_failed: how many more there were that could not be measured.
    """
    by, order = rank(evaluations)
    ours, true = medians(evaluations), medians(truths_of(evaluations))
    names = _names_of(order, folder)
    clips = [
        _clip(place, each, names[place], by, (strips or {}).get(each.video))
        for place, each in enumerate(order[:MOST_CLIPS])
    ]
    style = resources.files("emote_cli.evaluation").joinpath("page.css").read_text(encoding="utf-8")
    return page(
        "emote evaluate",
        style,
        tag("h1", "emote evaluate"),
        _summary(evaluations, ours, true, n_failed),
        tag("h2", "All measures"),
        _explanation(len(evaluations)),
        _measures(evaluations, ours, true),
        _of_set(of_set) if of_set is not None and (of_set.numbers or len(truths_of(order)) > 1) else "",
        tag("h2", "Clips, worst first" if len(order) > 1 else "The clip"),
        _overview(order, names, by) if len(order) > 1 else "",
        clips,
    )


def _names_of(order: Sequence[Evaluation], folder: Path | None) -> list[str]:
    """File names, and paths where two are alike."""
    short = [each.video.name for each in order]
    return [
        n if short.count(n) == 1 else seen_from(e.video, folder) for n, e in zip(short, order, strict=True)
    ]


def tell(value: float | None, unit: str = "") -> str:
    """A number as people say it: about three digits, and its unit."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f} {unit}".strip().replace("-", "\N{MINUS SIGN}")


# ------------------------------------------------------------------------------------------------ summary


def _summary(
    evaluations: Sequence[Evaluation],
    ours: Mapping[str, float],
    true: Mapping[str, float],
    n_failed: int,
) -> list[Element | str]:
    verdicts, n_truths = judge_all(evaluations), len(truths_of(evaluations))
    seconds = sum(each.footage.seconds for each in evaluations)
    against = f"against {_count(n_truths, 'true video')}" if n_truths else "without a true video"
    lines = [_finding(name, ours[name], true.get(name), verdicts[name]) for name in stand_out(verdicts)]
    n_bad, good = sum(verdict.far > 1 for verdict in verdicts.values()), ", ".join(good_groups(verdicts))
    parts = [
        tag(
            "p",
            f"{_count(len(evaluations), 'video')} of {seconds:.0f} s, measured {against} (protocol {PROTOCOL}).",
        ),
        tag("p", f"Made by {makers}.") if (makers := tell_makers(e.video for e in evaluations)) else "",
        tag(
            "p",
            tag("b", f"{_count(n_failed, 'more video')} could not be measured:"),
            " the command said why.",
        )
        if n_failed
        else "",
        tag("h2", "What stands out"),
        tag(
            "p",
            f"{n_bad} of {len(verdicts)} measures are not what they should be; here the worst of each kind:",
        )
        if lines
        else "",
        tag("ul", lines)
        if lines
        else tag(
            "p", f"Nothing was found wrong in what could be judged: {_count(len(verdicts), 'measure')}."
        ),
    ]
    if good:
        parts.append(tag("p", tag("b", "As good as can be asked: "), good, "."))
    return parts


def _finding(name: str, value: float, truth: float | None, verdict: Verdict) -> Element:
    measure = MEASURES[name]
    beside = f"good is {measure.good}" if truth is None else f"the true video's: {tell(truth, measure.unit)}"
    told = f" {tell(value, measure.unit)} ({beside}) "
    return tag("li", tag("b", _title(name)), told, _word(verdict), " ", tag("code", name))


def _title(name: str) -> str:
    title = MEASURES[name].title
    return title[:1].upper() + title[1:]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _word(verdict: Verdict | None) -> Element:
    if verdict is None:
        return tag("span", "-", class_="none")
    return tag("span", _SIGNS[verdict.word], class_="good" if verdict.word == "good" else "bad")


# ------------------------------------------------------------------------------------------------ tables


def _explanation(n_videos: int) -> Element:
    many = "The median over the videos, below it the lowest and the highest. " if n_videos > 1 else ""
    return tag(
        "p",
        f"{many}The true videos are measured by the same recipes: what a real video reaches is all that can be asked."
        " Where they have no number, the measure compares with them. A difference that nobody would notice is good."
        " Whether lags and differences are near 0 is judged without their sign."
        " Open a measure to read how it is taken.",
    )


def _measures(
    evaluations: Sequence[Evaluation], ours: Mapping[str, float], true: Mapping[str, float]
) -> list[Element]:
    verdicts, groups = judge_all(evaluations), dict.fromkeys(group_of(name) for name in MEASURES)
    tables = []
    for group in groups:
        rows = []
        for name in (n for n in MEASURES if group_of(n) == group and n in ours):
            rows.append(_measure_row(name, evaluations, ours[name], true.get(name), verdicts.get(name)))
        if rows:
            head = ["median" if len(evaluations) > 1 else "video", "true", "good is", ""]
            tables += [tag("h3", group), _table(["", *head], rows, "measures")]
    return tables


def _measure_row(
    name: str,
    evaluations: Sequence[Evaluation],
    median: float,
    truth: float | None,
    verdict: Verdict | None,
) -> Element:
    measure = MEASURES[name]
    values = [each.numbers[name] for each in evaluations if name in each.numbers]
    low, high = tell(min(values)), tell(max(values))
    spread = tag("small", f"{low} to {high}") if low != high else ""
    recipe = tag("details", tag("summary", _title(name)), tag("p", measure.recipe), tag("code", name))
    return tag(
        "tr",
        tag("th", recipe, scope="row"),
        tag("td", tell(median, measure.unit), spread),
        tag("td", tell(truth)),
        tag("td", measure.good),
        tag("td", _word(verdict)),
    )


def _of_set(of_set: OfSet) -> list[Element]:
    """The numbers that no video has by itself, with what each was made of; or why there is none."""
    rows = []
    for name, measure in SET_MEASURES.items():
        title = measure.title[:1].upper() + measure.title[1:]
        recipe = tag("details", tag("summary", title), tag("p", measure.recipe), tag("code", name))
        made_of = of_set.samples.get(name) or of_set.not_measured.get(name, "")
        cells = (tell(of_set.numbers.get(name)), measure.good)
        label = tag("th", recipe, tag("small", made_of), scope="row")
        rows.append(tag("tr", label, [tag("td", cell) for cell in cells]))
    return [
        tag("h3", "The whole set against the true one"),
        _table(["", "all videos", "good is"], rows, "set"),
    ]


def _table(titles: Sequence[str], rows: Sequence[Element], kind: str = "") -> Element:
    head = tag("tr", [tag("th", title, scope="col") for title in titles])
    return tag("div", tag("table", tag("thead", head), tag("tbody", rows), class_=kind), class_="wide")


def _overview(order: Sequence[Evaluation], names: Sequence[str], by: str) -> Element:
    """A row for each clip; those shown below are links."""
    rows = []
    for place, (each, name) in enumerate(zip(order, names, strict=True)):
        shown = tag("a", name, href=f"#clip-{place + 1}") if place < MOST_CLIPS else name
        worst = [f"{MEASURES[n].title} {verdict.word}" for n, verdict in _worst(each)]
        cells = (f"{place + 1}.", shown, tell(each.numbers.get(by)), "; ".join(worst) or "nothing")
        rows.append(tag("tr", [tag("td", cell) for cell in cells]))
    more = f" Frames and curves below are of the worst {MOST_CLIPS}." if len(order) > MOST_CLIPS else ""
    table = _table(["", "clip", _title(by), "what stands out"], rows, "clips")
    ordered = tag("p", f"Ordered by: {MEASURES[by].title} (", tag("code", by), ").")
    return tag("div", ordered, table, tag("p", more) if more else "")


def _worst(evaluation: Evaluation, most: int = 3) -> list[tuple[str, Verdict]]:
    verdicts = judge_all([evaluation])
    return [(name, verdicts[name]) for name in stand_out(verdicts)[:most]]


# ------------------------------------------------------------------------------------------------ clips


def _clip(place: int, evaluation: Evaluation, name: str, by: str, strip: Strip | None) -> Element:
    true = evaluation.truth.numbers if evaluation.truth else {}
    findings = [_finding(n, evaluation.numbers[n], true.get(n), verdict) for n, verdict in _worst(evaluation)]
    reason = evaluation.not_measured.get(by, "nothing to compare with")
    told = tell(evaluation.numbers[by]) if by in evaluation.numbers else f"not known ({reason})"
    return tag(
        "article",
        tag("h3", f"{place + 1}. {name}"),
        tag("p", f"{_title(by)}: ", tag("b", told)),
        tag("ul", findings) if findings else tag("p", "Nothing stands out."),
        _strip(strip, evaluation.truth is not None) if strip is not None else "",
        tag("div", draw_curves(evaluation), class_="curves"),
        _all_numbers(evaluation),
        id=f"clip-{place + 1}",
    )


def _strip(strip: Strip, has_truth: bool) -> Element:
    if strip.jpeg is None:
        return tag("p", f"No frames: {strip.missing}.")
    rows = ["true", "ours"] if has_truth else ["video"]
    columns = len(strip.moments)
    moments = [tag("li", tag("b", f"{moment.time_s:.2f} s"), f" {moment.why}") for moment in strip.moments]
    told = f"Frames at {columns} moments: {', '.join(rows)}; below each the mouth enlarged"
    source = "data:image/jpeg;base64," + base64.b64encode(strip.jpeg).decode()
    return tag(
        "div",
        tag("ul", [tag("li", row) for row in rows], class_="rows"),
        tag("ol", moments, style=f"grid-template-columns:repeat({columns},1fr)"),
        tag("img", src=source, alt=told),
        class_="strip wide",
    )


def _all_numbers(evaluation: Evaluation) -> Element:
    true = evaluation.truth.numbers if evaluation.truth else {}
    verdicts, rows = judge_all([evaluation]), []
    for name, measure in MEASURES.items():
        if name in evaluation.numbers:
            told = [tell(evaluation.numbers[name], measure.unit), tell(true.get(name))]
            cells = [tag("td", text) for text in told]
        elif name in evaluation.not_measured:
            cells = [tag("td", evaluation.not_measured[name], colspan="2", class_="why")]
        else:
            continue
        label = tag("th", _title(name), tag("br"), tag("code", name), scope="row")
        rows.append(tag("tr", label, cells, tag("td", _word(verdicts.get(name)))))
    table = _table(["", "this", "true", ""], rows, "clip")
    return tag("details", tag("summary", "All numbers of this clip"), table)
