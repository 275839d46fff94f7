"""Batches for one process: examples by number, read by workers; damaged clips are replaced and reported."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from emote_cli.errors import DataError, TrainingError
from emote_cli.training.settings import TrainSettings

ATTEMPTS = 20
"""Clips in a row that may be damaged before the data set counts as damaged."""


@runtime_checkable
class Examples(Protocol):
    """An endless stream of examples that are named tuples of tensors."""

    def example(self, key: int, attempt: int = 0) -> Any:
        """Make example number `key`; another `attempt` gives another one in its place."""
        ...


class Shares(NamedTuple):
    """How the samples of a step are divided.

    Attributes:
        process: number of this process.
        processes: how many there are.
        passes: forward passes per step in each process.
        rows: samples per forward pass.
    """

    process: int
    processes: int
    passes: int
    rows: int

    def first(self, part: int) -> int:
        """Number, within the step, of the first sample of this process's pass number `part`."""
        return (part * self.processes + self.process) * self.rows


def divide(settings: TrainSettings, process: int, processes: int) -> Shares:
    """Divide a batch evenly.

    Args:
        settings: batch and accumulation count.
        process: number of this process, from 0 on.
        processes: how many there are.

    Raises:
        TrainingError: batch is no multiple of processes x accumulation.
    """
    parts = processes * settings.accumulation
    if settings.batch % parts:
        raise TrainingError(
            f"a batch of {settings.batch} cannot be divided by {processes} processes "
            f"x {settings.accumulation} passes",
            f"batch counts the samples of all processes: --set batch={-(-settings.batch // parts) * parts}",
        )
    return Shares(process, processes, settings.accumulation, settings.batch // parts)


class StepKeys(Sampler[list[int]]):
    """The example numbers of this process, pass after pass, from one step on.

    Args:
        shares: of this process.
        batch: samples in a step, of all processes.
        start: number of the first step.
    """

    def __init__(self, shares: Shares, batch: int, start: int) -> None:
        self.shares, self.batch, self.start = shares, batch, start

    def __iter__(self) -> Iterator[list[int]]:
        step = self.start
        while True:
            for part in range(self.shares.passes):
                first = step * self.batch + self.shares.first(part)
                yield list(range(first, first + self.shares.rows))
            step += 1


class Fed(NamedTuple):
    """A batch, and what was wrong with the clips that others were taken for."""

    batch: Any
    complaints: list[str]


class _Careful(Dataset[tuple[Any, list[str]]]):
    """Replaces damaged examples by others. Errors are passed on as text: exceptions cross processes badly."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def __getitem__(self, key: int) -> tuple[Any, list[str]]:
        complaints: list[str] = []
        for attempt in range(ATTEMPTS):
            try:
                return self.examples.example(key, attempt), complaints
            except DataError as error:
                complaints.append(error.message)
        return None, complaints


def _collate(items: Sequence[tuple[Any, list[str]]]) -> Fed:
    complaints = [text for _, texts in items for text in texts]
    examples = [example for example, _ in items]
    if any(example is None for example in examples):
        return Fed(None, complaints)
    kind = type(examples[0])
    return Fed(kind(*(torch.stack(parts) for parts in zip(*examples, strict=True))), complaints)


def _in_worker(number: int) -> None:
    """Ctrl-C is the parent's business; SIGTERM ends a worker at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)


def feed(examples: Examples, settings: TrainSettings, shares: Shares, start: int) -> Iterator[Fed]:
    """Make endless batches from a step on.

    Args:
        examples: number -> example.
        settings: batch, workers.
        shares: of this process.
        start: number of the first step.

    Raises:
        DataError: too many damaged clips in a row.
    """
    loader: DataLoader[Any] = DataLoader(
        _Careful(examples),
        batch_sampler=StepKeys(shares, settings.batch, start),
        num_workers=settings.workers,
        collate_fn=_collate,
        worker_init_fn=_in_worker if settings.workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    for fed in loader:
        if fed.batch is None:
            raise DataError(
                f"{ATTEMPTS} damaged clips in a row; the last: {fed.complaints[-1]}", "check the data set"
            )
        yield fed


def to_device(batch: Any, device: torch.device) -> Any:
    """Move a named tuple of tensors to a device."""
    move = (value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for value in batch)
    return type(batch)(*move)
