import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from emote_cli.jobs.pool import WorkerDied, map_jobs

pytestmark = pytest.mark.skipif(os.name == "nt", reason="kills processes by signal")


def double(job):
    return 2 * job


def divide(job):
    return 12 // job


@dataclass
class Dies:
    """Kills its own process on job 3: always, or only the first time."""

    notes: Path
    always: bool

    def __call__(self, job):
        tries = self.notes / str(job)
        tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
        if job == 3 and (self.always or tries.read_text() == "x"):
            os.kill(os.getpid(), signal.SIGKILL)
        return job


@dataclass
class Sleeps:
    notes: Path

    def __call__(self, job):
        try:
            (self.notes / f"began-{job}-{os.getpid()}").touch()
            time.sleep(600)
        finally:
            (self.notes / f"ended-{job}").touch()


@pytest.mark.parametrize("workers", [1, 3])
def test_every_job_is_answered_once(workers):
    assert sorted(map_jobs(double, range(7), workers)) == [(job, 2 * job) for job in range(7)]


def test_no_jobs_no_answers():
    assert list(map_jobs(double, [], 2)) == []


def test_an_exception_is_an_answer():
    answers = dict(map_jobs(divide, [2, 0, 3], 1))
    assert (answers[2], answers[3]) == (6, 4)
    assert isinstance(answers[0], ZeroDivisionError)


def test_a_killed_worker_costs_only_its_job(tmp_path):
    answers = dict(map_jobs(Dies(tmp_path, always=True), range(6), 2))
    assert isinstance(answers.pop(3), WorkerDied)
    assert answers == {job: job for job in (0, 1, 2, 4, 5)}
    assert (tmp_path / "3").read_text() == "xx"


def test_a_job_is_tried_again(tmp_path):
    assert sorted(map_jobs(Dies(tmp_path, always=False), range(5), 1)) == [(job, job) for job in range(5)]


def test_workers_end_with_the_loop(tmp_path):
    answers = map_jobs(_Mixed(tmp_path), [0, 1], 2)
    assert next(answers) == (0, "quick")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("began-1-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    answers.close()
    assert (tmp_path / "ended-1").exists()  # the worker unwound, so half-written files were removed
    pid = int(next(tmp_path.glob("began-1-*")).name.split("-")[2])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@dataclass
class _Mixed:
    notes: Path

    def __call__(self, job):
        return "quick" if job == 0 else Sleeps(self.notes)(job)
