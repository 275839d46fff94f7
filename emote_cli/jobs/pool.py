"""Worker processes that may die: one function over many jobs, each job's fate known."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Generic, TypeVar

from emote_cli import stopping

J = TypeVar("J")
R = TypeVar("R")

_TRIES = 2
"""A job whose worker dies is tried once more, in a fresh process."""

_PATIENCE_S = 0.7
"""How long workers that are told to stop may take."""


class WorkerDied(Exception):
    """The process that worked on a job was killed or crashed, twice."""


@dataclass(slots=True)
class _Worker(Generic[J]):
    process: SpawnProcess
    pipe: Connection
    job: J | None = None
    tries: int = 0


def map_jobs(
    function: Callable[[J], R], jobs: Iterable[J], workers: int
) -> Generator[tuple[J, R | BaseException], None, None]:
    """Run `function` on every job in `workers` processes; results come in the order in which they are done.

    When the iteration ends, by Ctrl-C too, the processes are told to stop and waited for.

    Args:
        function: picklable; called with one job.
        jobs: picklable.
        workers: how many processes.

    Yields:
        The job with its result, or with the exception that it raised, or with `WorkerDied`.
    """
    context = multiprocessing.get_context("spawn")
    queue = iter(jobs)
    pool: list[_Worker[J]] = []

    def start(job: J, tries: int) -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(function, theirs), daemon=True)
        with _interrupts_held():
            process.start()
        stopping.watch_process(process)
        theirs.close()
        ours.send(job)
        pool.append(_Worker(process, ours, job, tries))

    try:
        for first in _take(queue, workers):
            start(first, 1)
        while pool:
            for pipe in wait([worker.pipe for worker in pool]):
                worker = next(w for w in pool if w.pipe is pipe)
                job, tries = worker.job, worker.tries
                assert job is not None
                try:
                    answer = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    _stop([worker])
                    pool.remove(worker)
                    if tries < _TRIES:
                        start(job, tries + 1)
                        continue
                    answer = WorkerDied(f"exit code {worker.process.exitcode}")
                    for fresh in _take(queue, 1):
                        start(fresh, 1)
                else:
                    _next_job(worker, queue, pool)
                yield job, answer
    finally:
        _stop(pool)


def _take(queue: Iterator[J], count: int) -> Iterator[J]:
    for _ in range(count):
        try:
            yield next(queue)
        except StopIteration:
            return


def _next_job(worker: _Worker[J], queue: Iterator[J], pool: list[_Worker[J]]) -> None:
    for job in _take(queue, 1):
        worker.job, worker.tries = job, 1
        worker.pipe.send(job)
        return
    pool.remove(worker)
    worker.pipe.close()
    worker.process.join(_PATIENCE_S)
    stopping.forget_process(worker.process)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes started here never see Ctrl-C, which is this process's business; held back here for that long."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(workers: list[_Worker[J]]) -> None:
    for worker in workers:
        worker.pipe.close()
        worker.process.terminate()
    for worker in workers:
        worker.process.join(_PATIENCE_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        stopping.forget_process(worker.process)


def _work(function: Callable[[J], R], pipe: Connection) -> None:
    """The life of a worker: jobs in, results out, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Terminated workers unwind, so that their half-written files and their ffmpeg go with them.
    signal.signal(signal.SIGTERM, _unwind)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        answer: R | BaseException
        try:
            answer = function(job)
        except Exception as error:
            answer = error
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return


def _unwind(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
