"""Record a step of the network on a GPU once, and replay it: the host then starts one thing instead of thousands.

A recording is a list of kernels with the addresses that they read and write. So inputs are copied to where the
recording reads them, and only those that changed. Nothing in a step may depend on the host, which is tested on a CPU
(tests/animation/test_graphs.py). What cannot be recorded, or replays to something else, runs as before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from emote_cli.animation.memory import forget_unused, is_out_of_memory
from emote_cli.model.emo import Emo

MOST_RECORDINGS = 6
"""Each keeps the memory that a step works in; further forms of inputs run as before."""
WARM_UPS = 2
"""Steps before a recording: libraries choose their kernels, and what is tried once is tried. They are run where the
recording will be, in the memory that it will use, so that they take none of their own."""
NEAR = 0.02
"""How far a replay may lie from the step itself, over the largest number in it; kernels may differ, to rounding."""

Replay = Callable[[], object]


@runtime_checkable
class Recorder(Protocol):
    """Runs work, and can then run it again without the host's part in it."""

    def record(self, work: Callable[[], Tensor]) -> Recorded:
        """Run it, and keep how."""

    def forget(self) -> None:
        """Give back what all recordings took, once nobody holds them."""


class Recorded(NamedTuple):
    """Work that was recorded.

    Attributes:
        replay: runs it again.
        out: holds the result then.
        expected: the result of running it as it is written.
    """

    replay: Replay
    out: Tensor
    expected: Tensor


class CudaRecorder:
    """CUDA graphs, in one stream and one piece of memory: only one of them runs at a time.

    Memory that one recording, or a warm-up, has freed serves the next one. The allocator hands it on within a stream
    only, so there is one stream.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: Any = None
        self.memory: Any = None

    def record(self, work: Callable[[], Tensor]) -> Recorded:
        """See `Recorder`; other threads may use the device meanwhile."""
        if self.memory is None:
            self.stream, self.memory = torch.cuda.Stream(self.device), torch.cuda.MemPool()  # type: ignore[no-untyped-call]
        here, stream = torch.cuda.current_stream(self.device), self.stream
        stream.wait_stream(here)
        with torch.cuda.stream(stream), torch.cuda.use_mem_pool(self.memory, self.device):
            for _ in range(WARM_UPS):
                expected = work()
        here.wait_stream(stream)
        graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.memory.id, stream=stream, capture_error_mode="thread_local"):
            out = work()
        return Recorded(graph.replay, out, expected)

    def forget(self) -> None:
        """See `Recorder`."""
        self.memory = self.stream = None
        forget_unused(self.device)


class Recording:
    """A step with the places that it reads its inputs from.

    Args:
        kept: tensors that the recording reads; new inputs are copied into them.
        replay: runs what was recorded.
        out: the tensor that it writes.
    """

    def __init__(self, kept: list[Tensor], replay: Replay, out: Tensor) -> None:
        self.kept, self.replay, self.out = kept, replay, out
        self.given: list[Tensor | None] = [None] * len(kept)
        """What was copied last; held, so that no other tensor can pass for it."""

    def play(self, given: list[Tensor], fresh: int) -> Tensor:
        """The step on other inputs of the same form.

        Args:
            given: the inputs.
            fresh: how many of the first ones are copied in any case; the others, if they are not the last ones.
        """
        for index, (kept, tensor) in enumerate(zip(self.kept, given, strict=True)):
            if index < fresh or self.given[index] is not tensor:
                kept.copy_(tensor)
                self.given[index] = tensor
        self.replay()
        return self.out.clone()  # the next replay writes there


class RecordedStep:
    """A network's step that is recorded once for each form of its inputs.

    Args:
        step: noisy latents, timestep, conditioning -> prediction.
        recorder: how.
        busy: held while recording: nobody else uses the model then.
        tell: is told why it goes on without.
    """

    FRESH = 2
    """Latents and timestep: other ones in each step."""

    def __init__(
        self,
        step: Callable[..., Tensor],
        recorder: Recorder,
        busy: threading.Lock,
        tell: Callable[[str], object],
    ) -> None:
        self.step, self.recorder, self.busy, self.tell = step, recorder, busy, tell
        self.recordings: dict[Hashable, Recording] = {}
        self.stopped = False

    def __call__(self, *inputs: Any) -> Tensor:
        """One step."""
        if self.stopped or torch.is_grad_enabled():
            return self.step(*inputs)
        found = list(leaves(inputs))
        form = tuple(_form(leaf) for leaf in found)
        recording = self.recordings.get(form)
        if recording is None:
            if len(self.recordings) == MOST_RECORDINGS:
                return self.step(*inputs)
            return self._record(form, inputs)
        return recording.play(_tensors(found), self.FRESH)

    def stop(self) -> None:
        """Forget all recordings: from now on every step runs as it is written."""
        self.stopped = True
        self.recordings.clear()
        self.recorder.forget()

    def _record(self, form: Hashable, inputs: tuple[Any, ...]) -> Tensor:
        """The step, recorded on the way; where that fails, the step as it is written, from now on."""
        cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # its copies of weights would be gone at the replay
        try:
            self.recordings[form], out = self._try(inputs)
        except (RuntimeError, AttributeError, TypeError) as error:
            reason = "memory ran out" if is_out_of_memory(error) else str(error).splitlines()[0]
        else:
            return out
        finally:
            torch.set_autocast_cache_enabled(cached)
        self.stop()  # out here nothing of the attempt is held any more
        self.tell(f"no CUDA graphs here, going on without: {reason}")
        return self.step(*inputs)

    def _try(self, inputs: tuple[Any, ...]) -> tuple[Recording, Tensor]:
        """Record a step and replay it: the recording, and the result.

        Raises:
            RuntimeError: it cannot be recorded, or replays to something else.
        """
        with torch.inference_mode(False):
            kept = mapped(inputs, torch.clone)
        with self.busy:
            replay, out, expected = self.recorder.record(lambda: self.step(*kept))
        recording = Recording(_tensors(leaves(kept)), replay, out)
        replayed = recording.play(_tensors(leaves(inputs)), self.FRESH)
        apart = float((replayed.float() - expected.float()).abs().max())
        if not apart <= NEAR * float(expected.float().abs().max()):
            raise RuntimeError(f"the replay is {apart:.2g} away from the step itself")
        return recording, replayed


def record_steps(
    model: Emo, recorder: Recorder, busy: threading.Lock, tell: Callable[[str], object]
) -> RecordedStep:
    """Have the denoising steps of a model recorded once, and replayed from then on.

    Args:
        model: its backbone's `forward` is replaced.
        recorder: records work on its device.
        busy: held while a step is recorded: nobody else may use the model then.
        tell: is told in a line why steps run without recordings, where they must.

    Returns:
        What stands in for the backbone's `forward`; its `stop` goes back to plain steps.
    """
    recorded = RecordedStep(model.backbone.forward, recorder, busy, tell)
    model.backbone.forward = recorded  # type: ignore[method-assign, assignment]
    return recorded


def leaves(value: object) -> Iterator[object]:
    """The tensors of nested inputs, and whatever else is in them, in a fixed order."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield name
            yield from leaves(part)
    elif isinstance(value, tuple):
        yield len(value)
        for part in value:
            yield from leaves(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name))
    else:
        yield value


def mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same nested inputs with other tensors."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {name: mapped(part, function) for name, part in value.items()}
    if isinstance(value, tuple):
        parts = [mapped(part, function) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{field.name: mapped(getattr(value, field.name), function) for field in fields(value)}
        )
    return value


def _tensors(found: Any) -> list[Tensor]:
    return [leaf for leaf in found if isinstance(leaf, Tensor)]


def _form(leaf: object) -> Hashable:
    """What two inputs have in common that one recording serves."""
    if isinstance(leaf, Tensor):
        return tuple(leaf.shape), leaf.dtype, leaf.device
    assert isinstance(leaf, Hashable)
    return leaf
