import pytest
from hypothesis import given
from hypothesis import strategies as st

from emote_cli.animation.chunks import plan_chunks
from emote_cli.errors import SettingsError

lengths = st.integers(0, 2_000)
sizes = st.integers(1, 257)


@given(n_frames=lengths, chunk_frames=sizes)
def test_every_frame_is_shown_exactly_once_and_in_order(n_frames, chunk_frames):
    chunks = plan_chunks(n_frames, chunk_frames)
    shown = [frame for chunk in chunks for frame in range(chunk.start, chunk.start + chunk.keep)]
    assert shown == list(range(n_frames))


@given(n_frames=lengths, chunk_frames=sizes)
def test_chunks_are_full_and_only_the_last_is_cut(n_frames, chunk_frames):
    chunks = plan_chunks(n_frames, chunk_frames)
    assert [chunk.start for chunk in chunks] == list(range(0, n_frames, chunk_frames))
    assert all(chunk.stop - chunk.start == chunk_frames for chunk in chunks)
    assert all(chunk.keep == chunk_frames for chunk in chunks[:-1])
    assert all(1 <= chunk.keep <= chunk_frames for chunk in chunks)


def test_a_small_plan_by_hand():
    first, last = plan_chunks(n_frames=17, chunk_frames=12)
    assert (first.start, first.stop, first.keep) == (0, 12, 12)
    assert (last.start, last.stop, last.keep) == (12, 24, 5)


@pytest.mark.parametrize(("n_frames", "chunk_frames"), [(-1, 12), (5, 0), (5, -3)])
def test_senseless_numbers_are_refused(n_frames, chunk_frames):
    with pytest.raises(SettingsError, match=f"{n_frames} frames into chunks of {chunk_frames}"):
        plan_chunks(n_frames, chunk_frames)
