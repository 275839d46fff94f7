"""An upper bound on what a frame of the bundled model costs: operations and bytes, which no busy machine changes."""

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from emote_cli.animation.animator import Animator
from emote_cli.animation.options import AnimateOptions

SECONDS = 2.4
MOST_GFLOP = 2.2
"""Per frame, the start of the video included; 1.97 and 67 are counted today."""
MOST_MB = 74.0
"""Written by torch per frame."""


class Written(TorchDispatchMode):
    """Counts the bytes of every result that has memory of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and not tensor._is_view():
                self.bytes += tensor.numel() * tensor.element_size()
        return out


@pytest.mark.slow
def test_a_frame_costs_no_more(portrait_path: Path, speech_path: Path):
    animator = Animator.load("mini", "cpu", "float32")
    animator.scheme.runs_ahead = False  # torch counts one thread's work
    with FlopCounterMode(display=False) as counter, Written() as written:
        frames = list(animator.stream(portrait_path, speech_path, AnimateOptions(duration=SECONDS)))
    assert len(frames) == round(SECONDS * animator.fps)
    gflop, megabytes = counter.get_total_flops() / 1e9 / len(frames), written.bytes / 1e6 / len(frames)
    print(f"{gflop:.2f} GFLOP and {megabytes:.1f} MB a frame")  # noqa: T201
    assert gflop < MOST_GFLOP
    assert megabytes < MOST_MB
