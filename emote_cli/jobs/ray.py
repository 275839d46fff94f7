"""The same function over the same jobs, on a Ray cluster (optional extra `emote-cli[ray]`)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from emote_cli.errors import EmoteError
from emote_cli.jobs.pool import WorkerDied

J = TypeVar("J")
R = TypeVar("R")

_AHEAD = 2
"""Jobs in flight per processor of the cluster."""

_RETRIES = 1


def map_jobs_ray(
    function: Callable[[J], R], jobs: Iterable[J], address: str, *, gpu: bool = False
) -> Generator[tuple[J, R | BaseException], None, None]:
    """Run `function` on every job on a Ray cluster; results come in the order in which they are done.

    The nodes must see input and output under the same paths, and have emote-cli installed.

    Args:
        function: picklable; called with one job.
        jobs: picklable.
        address: of a running cluster, or `local` to start one on this machine.
        gpu: whether each job takes an accelerator, if the cluster has any.

    Raises:
        EmoteError: Ray is not installed, or there is no cluster at the address.
    """
    ray = _connect(address)
    kind = "GPU" if gpu and ray.cluster_resources().get("GPU", 0) >= 1 else "CPU"
    needs = {"num_gpus": 1} if kind == "GPU" else {}
    remote = ray.remote(max_retries=_RETRIES, retry_exceptions=False, **needs)(_call)
    queue = iter(jobs)
    running: dict[Any, J] = {}
    window = max(1, int(ray.cluster_resources().get(kind, 1))) * _AHEAD
    try:
        while True:
            while len(running) < window and (job := next(queue, None)) is not None:
                running[remote.remote(function, job)] = job
            if not running:
                return
            done, _ = ray.wait(list(running), num_returns=1)
            job = running.pop(done[0])
            yield job, _result(ray, done[0])
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        ray.shutdown()


def _call(function: Callable[[J], R], job: J) -> R | BaseException:
    """Exceptions travel as values, so that they arrive as they were raised."""
    try:
        return function(job)
    except Exception as error:
        return error


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return WorkerDied(str(error).splitlines()[0])


def _connect(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise EmoteError(
            "Ray is not installed", hint='pip install "emote-cli[ray]", or use --workers'
        ) from error
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    try:
        if address == "local":
            ray.init(**options)
        else:
            del options["include_dashboard"]
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EmoteError(
            f"no Ray cluster at {address}: {str(error).splitlines()[0]}",
            hint="ray start --head on one machine, then --ray ITS-ADDRESS:6379; or --ray local",
        ) from error
    return ray
