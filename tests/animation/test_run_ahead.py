"""The next chunk is made while the caller works on the one before: in order, one ahead, errors included."""

import threading

import pytest

from emote_cli.animation.background import run_ahead


def test_one_is_made_while_the_caller_works():
    made = [threading.Event() for _ in range(4)]
    makers = set()

    def make():
        for number, event in enumerate(made):
            makers.add(threading.get_ident())
            event.set()
            yield number

    taken = []
    for number in run_ahead(make()):
        if number + 1 < len(made):
            assert made[number + 1].wait(10)
        if number + 2 < len(made):
            assert not made[number + 2].is_set()
        taken.append(number)
    assert taken == [0, 1, 2, 3]
    assert threading.get_ident() not in makers


def test_an_error_comes_at_its_place_and_no_thread_stays():
    def make():
        yield 1
        raise ValueError("of the second")

    items = run_ahead(make())
    assert next(items) == 1
    with pytest.raises(ValueError, match="of the second"):
        next(items)
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())


def test_who_stops_early_leaves_no_thread():
    items = run_ahead(iter(range(9)))
    assert next(items) == 0
    items.close()
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())
