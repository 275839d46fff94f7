"""report.html: well-formed, names every video, says what stands out, and tells nothing of the machine."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up_footage import FPS, FRAMES, evaluation, footage, waves

from emote_cli.evaluation import summary
from emote_cli.evaluation.curves import panels_of, thin_out, ticks
from emote_cli.evaluation.evaluate import MEASURES, Evaluation
from emote_cli.evaluation.markup import tag
from emote_cli.evaluation.page import MOST_CLIPS, as_html, tell
from emote_cli.evaluation.strips import Moment, Strip

EMPTY = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Follows which elements are open; texts and elements in their order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    def within(self, tag: str) -> list[str | None]:
        return [attributes.get("class") for name, attributes in self.seen if name == tag]


def test_the_page_is_well_formed_and_names_all_videos(evaluations: list[Evaluation], tmp_path: Path) -> None:
    strip = Strip([Moment(0.4, "lips differ most")], b"jpeg")
    html = as_html(
        evaluations, {evaluations[1].video: strip, evaluations[0].video: Strip([], None, "gone")}, tmp_path
    )
    page = Reader(html)
    assert not page.open
    assert {name for name, _ in page.seen}.isdisjoint({"script", "link", "iframe"})
    assert str(tmp_path) not in html
    assert [t for t in page.texts if t.endswith(".mp4")] == ["<b>&.mp4", "a.mp4", "1. <b>&.mp4", "2. a.mp4"]
    sources = [attributes["src"] for name, attributes in page.seen if name == "img"]
    assert sources == ["data:image/jpeg;base64,anBlZw=="]
    assert "No frames: gone." in page.texts
    assert page.texts.count("Lip gap") == 2
    assert {measure.recipe for name, measure in MEASURES.items() if name in evaluations[0].numbers} <= set(
        page.texts
    )


def test_what_stands_out_comes_first_and_in_words(evaluations: list[Evaluation]) -> None:
    text = "\n".join(Reader(as_html([evaluations[1]])).texts)
    first = text[: text.index("All measures")]
    assert any(line.startswith("lips.") for line in first.splitlines())
    assert "too low" in first
    assert "Flicker" in first
    good = "\n".join(Reader(as_html([evaluations[0]])).texts)
    assert "Nothing was found wrong in what could be judged: " in good


def test_of_many_clips_the_worst_are_shown_and_all_are_named(evaluations: list[Evaluation]) -> None:
    one = evaluations[0]
    many = [
        Evaluation(
            Path(f"v/{k}.mp4"),
            {"lips.correlation": 1 - k / 100},
            {},
            one.footage,
            one.cosines,
            chunk_frames=12,
        )
        for k in range(MOST_CLIPS + 3)
    ]
    page = Reader(as_html(many))
    assert sum(name == "article" for name, _ in page.seen) == MOST_CLIPS
    assert all(f"{k}.mp4" in page.texts for k in range(MOST_CLIPS + 3))
    assert f"1. {MOST_CLIPS + 2}.mp4" in page.texts


def test_clips_that_are_as_bad_stay_in_their_order(evaluations: list[Evaluation]) -> None:
    one = evaluations[0]
    numbers = [{"lips.correlation": 0.5}, {"lips.correlation": 0.2}, {"lips.correlation": 0.5}, {}]
    clips = [Evaluation(Path(f"{k}.mp4"), n, {}, one.footage, one.cosines) for k, n in enumerate(numbers)]
    by, order = summary.rank(clips)
    assert by == "lips.correlation"
    assert [each.video.stem for each in order] == ["3", "1", "0", "2"]
    assert summary.rank([evaluation(Path("a.mp4"), footage())])[0] == "sync.correlation"


@pytest.mark.parametrize(
    ("name", "value", "truth", "word"),
    [
        ("lips.correlation", 0.95, None, "good"),
        ("lips.correlation", 0.6, None, "too low"),
        ("lips.lag_ms", -90, None, "too low"),
        ("sync.lag_ms", 60, 45, "good"),
        ("sync.correlation", 0.7, 0.75, "good"),
        ("sync.correlation", 0.9, 0.75, "good"),
        ("sync.correlation", 0.5, 0.75, "too low"),
        ("sync.correlation", 0.5, None, None),
        ("lips.silence.std", 0.08, 0.03, "too high"),
        ("head.speed_deg_s", 4, 16, "too low"),
        ("head.speed_deg_s", 4, None, None),
        ("sharpness.mouth", 100, 400, None),
    ],
)
def test_a_number_is_judged_beside_the_true_one(
    name: str, value: float, truth: float | None, word: str | None
) -> None:
    verdict = summary.judge(MEASURES[name], value, truth)
    assert (verdict and verdict.word) == word


def test_lags_of_both_signs_are_not_told_as_good(evaluations: list[Evaluation]) -> None:
    lags = [
        replace(e, numbers={"sync.lag_ms": lag}, truth=None)
        for e, lag in zip(evaluations, (300.0, -300.0), strict=True)
    ]
    assert summary.medians(lags)["sync.lag_ms"] == 0
    verdict = summary.judge_all(lags)["sync.lag_ms"]
    assert verdict == summary.Verdict("both", 300 / 40)
    assert "too low in some, too high in others" in as_html(lags)
    assert summary.judge_all(lags[1:])["sync.lag_ms"].word == "too low"


def test_of_each_group_the_worst_stands_out() -> None:
    verdicts = {
        "lips.correlation": summary.Verdict("too low", 2),
        "lips.lag_ms": summary.Verdict("too high", 3),
        "seams": summary.Verdict("too high", 5),
        "sync.lag_ms": summary.Verdict("good", 1),
    }
    assert summary.stand_out(verdicts) == ["seams", "lips.lag_ms"]
    assert summary.good_groups(verdicts) == ["Sync of lips and sound"]


def test_curves_have_their_truth_and_their_seams(evaluations: list[Evaluation]) -> None:
    panels = {panel.title: panel for panel in panels_of(evaluations[1])}
    assert [line.kind for line in panels["Lip gap"].lines] == ["ours", "true"]
    assert [line.label for line in panels["Opening of the lips"].lines] == ["seen", "heard"]
    assert np.allclose(panels["Change from frame to frame"].marks_s, np.arange(12, FRAMES, 12) / FPS)
    silent = evaluation(Path("a.mp4"), footage(heard=np.full(FRAMES, np.nan), energy=np.zeros(0)))
    assert [line.label for line in {p.title: p for p in panels_of(silent)}["Opening of the lips"].lines] == [
        "seen"
    ]


def test_long_curves_keep_their_peaks() -> None:
    curve = np.zeros(15_000)
    curve[7777], curve[9000:9500] = 5, np.nan
    times, values = thin_out(np.arange(15_000) / 25, curve)
    assert len(values) <= 600
    assert times[int(np.nanargmax(values))] == pytest.approx(7777 / 25)
    assert np.isnan(values).any()
    assert times == sorted(times)
    assert thin_out(np.arange(9.0), waves(1)[:9])[1] == waves(1)[:9].tolist()


def test_axes_have_round_steps() -> None:
    assert ticks(0, 8, 6) == [0, 2, 4, 6, 8]
    assert ticks(0.03, 0.27, 4) == [0.1, 0.2]
    assert ticks(-4.2, 3.9, 5) == [-4, -2, 0, 2]
    assert ticks(47, 61, 5) == [50, 55, 60]


def test_numbers_are_told_as_people_say_them() -> None:
    told = [tell(0.12345), tell(1.2345), tell(-12.345, "ms"), tell(1234.5), tell(None)]
    assert told == ["0.123", "1.23", "\N{MINUS SIGN}12.3 ms", "1234", "-"]


def test_zero_and_nothing_are_attributes_and_none_is_not() -> None:
    assert tag("text", x=0, alt="", class_=None).attrib == {"x": "0", "alt": ""}


def test_every_measure_stands_under_a_heading() -> None:
    assert {name.split(".")[0] for name in MEASURES} <= set(summary.GROUPS)
