"""One function over many jobs: here, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from emote_cli.jobs.pool import map_jobs

J = TypeVar("J")
R = TypeVar("R")


def spread(
    function: Callable[[J], R],
    jobs: Iterable[J],
    workers: int | None = None,
    ray: str | None = None,
    *,
    gpu: bool = False,
) -> Generator[tuple[J, R | BaseException], None, None]:
    """Run `function` on every job; results come in the order in which they are done.

    Args:
        function: called with one job; picklable, unless it runs here.
        jobs: picklable, unless they run here.
        workers: how many processes; None: this one, one job after the other.
        ray: address of a Ray cluster, or `local`; `workers` is ignored with it.
        gpu: whether each job on the cluster takes an accelerator, if the cluster has any.

    Yields:
        The job with its result, or with the exception that it raised.

    Raises:
        EmoteError: Ray is not installed, or there is no cluster at the address.
    """
    if ray is not None:
        from emote_cli.jobs.ray import map_jobs_ray

        return map_jobs_ray(function, jobs, ray, gpu=gpu)
    return _map_here(function, jobs) if workers is None else map_jobs(function, jobs, workers)


def _map_here(
    function: Callable[[J], R], jobs: Iterable[J]
) -> Generator[tuple[J, R | BaseException], None, None]:
    for job in jobs:
        try:
            answer: R | BaseException = function(job)
        except Exception as error:
            answer = error
        yield job, answer
