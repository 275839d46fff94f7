from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from emote_cli.animation.retime import count_frames, nearest_frame, retime

rates = st.sampled_from(
    [Fraction(24), Fraction(25), Fraction(30), Fraction(30000, 1001), Fraction(60), Fraction(7, 2)]
)


def shown(n_in: int, fps_in: Fraction, fps_out: Fraction, n_out: int, chunk: int = 3) -> list[int]:
    """Numbers of the source's frames in the output, when the source comes in chunks."""
    made: list[int] = []
    for start in range(0, n_in, chunk):
        frames = range(start, min(start + chunk, n_in))
        made += retime(frames, start, start + chunk >= n_in, fps_in, fps_out, n_out)
    return made


def test_the_same_rate_changes_nothing():
    assert shown(11, Fraction(25), Fraction(25), 11) == list(range(11))


def test_twice_the_rate_shows_every_frame_twice():
    assert shown(3, Fraction(25), Fraction(50), 6) == [0, 0, 1, 1, 2, 2]


def test_half_the_rate_shows_every_other_frame():
    assert shown(7, Fraction(50), Fraction(25), 3) == [1, 3, 5]


def test_the_last_frame_fills_up():
    assert shown(2, Fraction(25), Fraction(25), 5) == [0, 1, 1, 1, 1]


@given(fps_in=rates, fps_out=rates, n_in=st.integers(1, 60), chunk=st.integers(1, 7))
def test_chunks_make_no_difference(fps_in, fps_out, n_in, chunk):
    n_out = round(n_in * fps_out / fps_in)
    whole = [min(nearest_frame(index, fps_in, fps_out), n_in - 1) for index in range(n_out)]
    assert shown(n_in, fps_in, fps_out, n_out, chunk) == whole


@given(fps_in=rates, fps_out=rates, index=st.integers(0, 100_000))
def test_no_frame_is_off_by_more_than_half_a_source_frame(fps_in, fps_out, index):
    middle_s = Fraction(2 * index + 1, 2) / fps_out
    source = nearest_frame(index, fps_in, fps_out)
    assert abs(Fraction(2 * source + 1, 2) / fps_in - middle_s) <= Fraction(1, 2) / fps_in


@given(n_samples=st.integers(0, 10**8), rate=st.sampled_from([16_000, 44_100, 48_000]), fps=rates)
def test_counting_is_exact_for_any_length(n_samples, rate, fps):
    assert abs(count_frames(n_samples, rate, fps) / fps - Fraction(n_samples, rate)) <= Fraction(1, 2) / fps
