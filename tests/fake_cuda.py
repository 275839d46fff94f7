"""What stands for a GPU in tests: a recorder of steps, and functions of `torch.cuda` that only tell who asked.

The recorder knows operations and addresses, as CUDA graphs do. It runs nothing but the operations that it saw, on the
tensors that it saw: numbers that came from the host would stay what they were, and inputs that are not copied would be
missed.
"""

from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from emote_cli.animation.graphs import Recorded


class Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        memory = {id_of(part) for part in tree_leaves((args, kwargs)) if isinstance(part, torch.Tensor)}
        made = [part for part in tree_leaves(out) if isinstance(part, torch.Tensor)]
        changes = function._schema.is_mutable
        if changes or any(id_of(part) not in memory for part in made):
            self.operations.append((function, args, kwargs, made, changes))
        return out

    def replay(self) -> None:
        for function, args, kwargs, made, changes in self.operations:
            again = [
                part for part in tree_leaves(function(*args, **kwargs)) if isinstance(part, torch.Tensor)
            ]
            for kept, new in zip(made, again, strict=True):
                if not changes:
                    kept.copy_(new)


def id_of(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class FakeRecorder:
    def __init__(self) -> None:
        self.tapes: list[Tape] = []

    def record(self, work) -> Recorded:
        expected = work()
        with Tape() as tape:
            out = work()
        self.tapes.append(tape)
        return Recorded(tape.replay, out, expected)

    def forget(self) -> None:
        self.tapes.clear()


def log_cuda(monkeypatch) -> list[str]:
    """Replace what `CudaRecorder` uses of `torch.cuda`; the list tells what it did."""
    events: list[str] = []
    made = {"stream": 0, "memory": 0}

    def number(kind: str) -> int:
        made[kind] += 1
        return made[kind]

    class Stream:
        def __init__(self, device: object) -> None:
            self.name = f"stream {number('stream')}"

        def wait_stream(self, other: object) -> None:
            events.append(f"{self.name} waits")

    @contextmanager
    def inside(begins: str, ends: str):
        events.append(begins)
        yield
        events.append(ends)

    fakes = {
        "Stream": Stream,
        "MemPool": lambda: SimpleNamespace(id=(0, number("memory"))),
        "CUDAGraph": lambda: SimpleNamespace(replay=lambda: None),
        "current_stream": lambda _: SimpleNamespace(wait_stream=lambda _: events.append("here waits")),
        "stream": lambda stream: inside(f"in {stream.name}", "stream ends"),
        "use_mem_pool": lambda memory, _: inside(f"memory {memory.id[1]}", "memory ends"),
        "graph": lambda _, pool, stream, capture_error_mode: inside(
            f"graph in memory {pool[1]}, {stream.name}", "graph ends"
        ),
        "empty_cache": lambda: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return events


MADE_UP_GB = 3.0
"""What the pretended card says of everything."""


def pretend(put: Callable[[object, str, object], None] = setattr) -> None:
    """What tests/gpu/measure.py asks of a GPU is answered on the CPU; `put` replaces a function by another one.

    Memory is made up. Steps are recorded by `FakeRecorder`, blocks are not compiled, and once memory is limited the
    network's third attention afterwards runs out of it, once.
    """
    from torch.nn import functional

    from emote_cli.animation import runtime

    attend, left = functional.scaled_dot_product_attention, [-1]

    def attend_or_fail(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return attend(*args, **kwargs)

    def limit(share: float) -> None:
        assert 0 < share <= 1
        left[0] = 3

    def some_bytes() -> int:
        return int(MADE_UP_GB * 1e9)

    segment = {"segment_pool_id": (0, 0), "stream": 0, "total_size": some_bytes()}
    answers = {
        **dict.fromkeys(("empty_cache", "reset_peak_memory_stats"), lambda: None),
        **dict.fromkeys(
            ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"), some_bytes
        ),
        "memory_snapshot": lambda: [segment],
        "get_device_properties": lambda _: SimpleNamespace(total_memory=4 * some_bytes()),
        "set_per_process_memory_fraction": limit,
    }
    for name, answer in answers.items():
        put(torch.cuda, name, answer)
    put(functional, "scaled_dot_product_attention", attend_or_fail)
    put(torch.nn.Module, "compile", lambda block, **how: None)
    put(runtime, "check_tuning", lambda *_: None)
    put(runtime, "CudaRecorder", lambda device: FakeRecorder())
