"""Two chunks in work at a time: one thread samples, another finishes.

`finish_in_background` finishes in the second thread, as long as both have memory. `run_ahead` samples there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import torch

from emote_cli.animation.memory import Guard, is_out_of_memory

Item = TypeVar("Item")

_END = object()
"""In place of an item: there are no more."""
_LEFT = object()
"""In place of a result: the chunk is left to the first thread."""


def run_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Pass items on; each is made in a second thread while the caller works on the one before."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting: Future[Any] = pool.submit(next, items, _END)
        while (item := waiting.result()) is not _END:
            waiting = pool.submit(next, items, _END)
            yield item


def finish_in_background(
    chunks: Iterator[Any], finish: Callable[[Any], Any], device: torch.device, guard: Guard
) -> Iterator[Any]:
    """Finish every chunk, in order, each while the next chunk is made.

    Once the guard has lowered the need for memory, parts of the model move in and out while a chunk is sampled: from
    then on every chunk is finished in this thread, those that wait for the second one too.

    Args:
        chunks: sampled in this thread, one by one.
        finish: decodes one; its result must not be on the device any more.
        device: where it happens; a GPU gets a stream of its own for it.
        guard: repeats what failed for lack of memory, in this thread.
    """
    stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def work(chunk: Any, ready: Any) -> Any:
        with guard.busy:
            if guard.lowered:
                return _LEFT
            if stream is None:
                return finish(chunk)
            with torch.cuda.stream(stream):
                ready.wait(stream)
                return finish(chunk)

    def result(chunk: Any, waiting: Future[Any]) -> Any:
        error = waiting.exception()
        if error is not None and not is_out_of_memory(error):
            raise error
        if error is not None or waiting.result() is _LEFT:
            return guard(lambda: finish(chunk))
        return waiting.result()

    with ThreadPoolExecutor(1) as pool:
        before: tuple[Any, Future[Any]] | None = None
        for chunk in chunks:
            ready = None if stream is None else torch.cuda.current_stream(device).record_event()
            if before is not None:
                yield result(*before)
                before = None
            if guard.lowered:
                yield guard(partial(finish, chunk))
            else:
                before = (chunk, pool.submit(work, chunk, ready))
        if before is not None:
            yield result(*before)
