"""Little memory: what is said before, who is on the device, and what happens when it runs out. Fakes; no GPU."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import build, paper_settings

from emote_cli.animation import memory, runtime
from emote_cli.animation.animator import AnimateOptions, Animator, Tuning
from emote_cli.animation.background import finish_in_background
from emote_cli.animation.device import COMPILED, Precision, choose_precision, compile_blocks
from emote_cli.animation.memory import (
    LARGE,
    Guard,
    Need,
    Residence,
    check_fits,
    estimate_need,
    is_out_of_memory,
)
from emote_cli.animation.runtime import Runtime
from emote_cli.errors import DeviceError, SettingsError
from emote_cli.model.checkpoint import random_model
from emote_cli.model.emo import Emo
from emote_cli.settings import load_preset
from emote_cli.types import Box, Face, Portrait, Waveform

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GPU_NEED = Need(whole=6.3e9, low=4.3e9, recorded=13.3e9)


def out_of_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_the_need_is_said_before():
    told = check_fits("hallo", GPU_NEED, CUDA, False, 24e9)
    assert told == "hallo needs about 7.0 GB on cuda at its peak, 24.0 GB are free"
    assert "about 5.0 GB" in check_fits("hallo", GPU_NEED, CUDA, True, 6e9)
    assert check_fits("hallo", GPU_NEED, CPU, False, None) == "hallo needs about 6.3 GB on cpu at its peak"


@pytest.mark.parametrize(
    ("low", "free", "hint"),
    [
        (False, 6e9, "--low-memory needs about 5.0 GB"),
        (False, 4e9, "--dtype bf16"),
        (True, 4e9, "--dtype bf16"),
    ],
)
def test_what_cannot_fit_is_refused(low: bool, free: float, hint: str):
    with pytest.raises(DeviceError, match="at its peak") as refused:
        check_fits("hallo", GPU_NEED, CUDA, low, free)
    assert hint in refused.value.hint


def test_recordings_that_do_not_fit_are_left_out(monkeypatch):
    """`mini` stands in on a device that calls itself a GPU; the network itself stays on the CPU."""
    assert memory.find_no_room(GPU_NEED, 15e9) is None
    assert memory.find_no_room(GPU_NEED, None) is None
    line = "--cuda-graphs would need about 14.0 GB, 12.0 GB are free: going on without"
    assert memory.find_no_room(GPU_NEED, 12e9) == line
    assert "about 14.0 GB" in check_fits("hallo", GPU_NEED, CUDA, False, 24e9, recorded=True)
    monkeypatch.setattr(runtime, "LARGE_MODEL", 0)
    monkeypatch.setattr(runtime, "check_tuning", lambda *_: None)
    monkeypatch.setattr(runtime, "estimate_need", lambda *_: GPU_NEED)
    for free, recorded in ((12e9, False), (24e9, True)):
        told: list[str] = []
        monkeypatch.setattr(runtime, "free_bytes", lambda _, free=free: free)
        loaded = Runtime.load("mini", "cpu", "fp32", Tuning(cuda_graphs=True, tell=told.append))
        assert (loaded.recorded is not None) == recorded
        assert (told[0] == line) != recorded
        assert told[-1].startswith(f"mini needs about {13.3 if recorded else 6.3} GB on cpu")


def test_need_counts_weights_and_work():
    model = build()
    needed = estimate_need(model, 4)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    largest = 4 * max(sum(p.numel() for p in getattr(model, name).parameters()) for name in LARGE)
    assert needed.whole > weights
    assert largest < needed.low < needed.whole < needed.recorded
    assert estimate_need(model, 2).whole == needed.whole / 2


@pytest.mark.parametrize(("name", "measured"), [("sd15", 17.96e9), ("hallo", 15.37e9)])
def test_recordings_need_what_was_measured_at_most(name: str, measured: float):
    """On an H200; sd15 decodes two frames at a time since then, not twelve: 4.0 GB less."""
    with torch.device("meta"):
        needed = estimate_need(Emo(load_preset(name)), 2)
    spared = 4.02e9 if name == "sd15" else 0.0
    assert needed.recorded == pytest.approx(measured - spared, rel=0.02)


def test_free_memory_of_this_machine():
    free = memory.free_bytes(CPU)
    assert free is None or 1e6 < free < 1e15


def test_one_large_part_at_a_time_is_on_the_device():
    model = build()
    plain = build()
    moves: list[tuple[str, str]] = []

    class Watched(Residence):
        def move(self, name, to):
            moves.append((name, "home" if to is self.home else "device"))

    residence = Watched(model, CPU, torch.device("cpu"))
    pixels = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for one in (model, plain):
            latents = one.autoencoder.encode(pixels)
            reference = one.encode_reference(latents)
            decoded = one.decode(latents[None])
            if one is model:
                made = (reference, decoded)
    assert torch.equal(made[1], decoded)
    for site, (keys, _) in made[0].projected.items():
        assert torch.equal(keys, reference.projected[site].keys)
    assert moves == [
        ("autoencoder", "device"),
        ("autoencoder", "home"), ("reference_net", "device"),
        ("reference_net", "home"), ("backbone", "device"),
        ("backbone", "home"), ("autoencoder", "device"),
    ]  # fmt: skip
    assert residence.resident == "autoencoder"


def test_running_out_of_memory_once_lowers_the_need_and_repeats():
    events = []

    def work():
        events.append("work")
        if events.count("work") == 1:
            raise out_of_memory()
        return 7

    guard = Guard(lambda: events.append("lower"), events.append)
    assert guard(work) == 7
    assert events[:3] == ["work", "lower", "memory ran out; going on with --low-memory"]
    assert events[3] == "work"
    events.clear()
    with pytest.raises(DeviceError, match="memory ran out: CUDA out of memory"):
        guard(work)  # not a second time
    assert events == ["work"]


def test_other_errors_pass_the_guard():
    def broken():
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        Guard(lambda: pytest.fail("lowered"))(broken)
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_chunks_are_finished_while_the_next_is_made():
    begun, events = threading.Event(), []

    def chunks():
        yield 0
        assert begun.wait(5), "the first chunk was not being finished meanwhile"
        events.append("made 1")
        yield 1
        yield 2

    def finish(chunk):
        begun.set()
        return chunk * 10

    assert list(finish_in_background(chunks(), finish, CPU, Guard(None))) == [0, 10, 20]
    assert events == ["made 1"]


def test_a_chunk_that_runs_out_of_memory_behind_is_finished_in_front():
    threads, lowered = [], []

    def finish(chunk):
        threads.append(threading.current_thread() is threading.main_thread())
        if threads == [False]:
            raise out_of_memory()
        return chunk

    def ill(chunk):
        raise ValueError("bad")

    guard = Guard(lambda: lowered.append(True))
    assert list(finish_in_background(iter([5, 6]), finish, CPU, guard)) == [5, 6]
    assert threads.count(True) == 1
    with pytest.raises(ValueError, match="bad"):
        list(finish_in_background(iter([5]), ill, CPU, guard))


@pytest.fixture
def portrait_of():
    def make(size: int) -> Portrait:
        pixels = np.random.default_rng(5).integers(0, 256, (size, size, 3), dtype=np.uint8)
        face = Face(Box(7, 5, 23, 29), np.zeros((478, 3), np.float32), np.eye(4, dtype=np.float32), {})
        return Portrait(pixels, face, Box(0, 0, size, size), Path("made-up.png"))

    return make


@pytest.fixture
def speech() -> Waveform:
    return Waveform(np.random.default_rng(3).normal(0, 0.1, 6000).astype(np.float32), 16_000)


@pytest.mark.parametrize(
    ("part", "method", "call"),
    [
        ("backbone", "forward", 4),
        ("backbone", "hear_once", 2),
        ("reference_net", "forward", 1),
        ("reference_net", "forward", 2),
        ("autoencoder", "encode", 1),
        ("autoencoder", "decode", 1),
        ("autoencoder", "decode", 2),
    ],
)
def test_a_video_survives_running_out_of_memory(part: str, method: str, call: int, speech, portrait_of):
    model = random_model(load_preset("tiny"))
    whole = Animator(Runtime(model, CPU, Precision(torch.float32)))
    portrait = portrait_of(whole.size)
    expected = np.stack(list(whole.raw_frames(portrait, speech, AnimateOptions(guidance=2.0))))
    told: list[str] = []
    short = Animator(Runtime(random_model(load_preset("tiny")), CPU, Precision(torch.float32)))
    short.runtime.guard = Guard(short.runtime._lower, told.append)
    owner = getattr(short.model, part)
    work, calls = getattr(owner, method), []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise out_of_memory()
        return work(*args, **kwargs)

    setattr(owner, method, failing)
    assert np.array_equal(
        np.stack(list(short.raw_frames(portrait, speech, AnimateOptions(guidance=2.0)))), expected
    )
    assert told == ["memory ran out; going on with --low-memory"]
    assert short.runtime.residence is not None


def test_low_memory_makes_the_same_video(speech, portrait_of):
    videos = []
    for low in (False, True):
        animator = Animator(
            Runtime(
                random_model(load_preset("tiny")),
                CPU,
                Precision(torch.float32),
                tuning=Tuning(low_memory=low),
            )
        )
        videos.append(
            np.stack(list(animator.raw_frames(portrait_of(animator.size), speech, AnimateOptions())))
        )
    assert np.array_equal(*videos)


def test_contradictions_are_refused():
    with pytest.raises(SettingsError, match="cannot be used together"):
        Animator.load("tiny", tuning=Tuning(compile=True, low_memory=True))


@pytest.mark.parametrize(
    ("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)]
)
def test_short_names_of_number_formats(name: str, dtype: torch.dtype):
    assert choose_precision(name, CPU, stored=True).weights == dtype
    assert choose_precision(name, CPU).weights == torch.float32


def test_weights_in_half_precision_give_nearly_the_same_prediction():
    """Everything in bf16, inputs in fp32: each boundary converts for itself."""
    from small_models import condition, make_batch, timesteps

    settings = paper_settings()
    batch = make_batch(settings)
    outs = []
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            model = build(settings).to(dtype)
            told = model.backbone.hear_once(condition(model, batch))
            out = model(batch.target, timesteps(), told)
            assert out.dtype == dtype
            outs.append(out.float())
    assert (outs[1] - outs[0]).abs().max() < 0.06 * outs[0].abs().max()


def test_compiling_is_asked_for_and_its_failure_is_named(monkeypatch, speech, portrait_of):
    from torch._dynamo.exc import TorchDynamoException

    asked = []

    def compile(block, **how):
        asked.append((type(block), how))
        if len(asked) > n_blocks:
            block.forward = failing

    def failing(*args, **kwargs):
        raise TorchDynamoException("no Triton here\nand more")

    network = random_model(load_preset("tiny")).backbone
    n_blocks = sum(isinstance(block, COMPILED) for block in network.modules())
    assert n_blocks > 4
    monkeypatch.setattr(torch.nn.Module, "compile", compile)
    frames = []
    for _ in range(2):
        animator = Animator(
            Runtime(
                random_model(load_preset("tiny")), CPU, Precision(torch.float32), tuning=Tuning(compile=True)
            )
        )
        frames.append(animator.raw_frames(portrait_of(animator.size), speech, AnimateOptions()))
    assert next(frames[0]).shape == (32, 32, 3)
    with pytest.raises(DeviceError, match="cannot be compiled here: no Triton here"):
        next(frames[1])
    assert len(asked) == 2 * n_blocks
    assert {kind for kind, _ in asked} <= set(COMPILED)
    assert all(how == {"dynamic": False} for _, how in asked)


def test_coarse_levels_are_not_compiled(monkeypatch):
    """Their blocks are many forms, and take little of the time."""
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda block, **_: asked.append(block))
    with torch.device("meta"):
        model = Emo(load_preset("hallo"))
    compile_blocks(model)
    levels = {level.depth: list(level.modules()) for level in model.backbone.down_blocks}
    compiled = [any(block is layer for block in asked for layer in levels[depth]) for depth in range(4)]
    assert compiled == [True, True, False, False]


def test_parts_can_be_moved_in_inference_mode():
    layer = torch.nn.Linear(3, 5)
    with torch.inference_mode():
        memory.place(layer, torch.device("meta"))
    assert layer.weight.is_meta
    assert not layer.weight.is_inference()


def test_a_large_model_is_weighed_first_and_kept_in_its_format(monkeypatch, speech, portrait_of):
    """`mini` stands in, called large."""
    monkeypatch.setattr(runtime, "LARGE_MODEL", 0)
    told: list[str] = []
    short = Waveform(speech.samples[:2000], 16_000)
    frames = []
    for dtype in ("fp32", "bf16"):
        animator = Animator.load("mini", "cpu", dtype, Tuning(tell=told.append))
        assert {parameter.dtype for parameter in animator.model.parameters()} == {
            animator.runtime.precision.dtype
        }
        frames.append(
            np.stack(list(animator.raw_frames(portrait_of(animator.size), short, AnimateOptions())))
        )
    assert all("mini needs about" in line and "on cpu at its peak" in line for line in told)
    assert len(told) == 2
    assert np.abs(frames[0].astype(float) - frames[1]).mean() < 3
    monkeypatch.setattr(runtime, "free_bytes", lambda device: 1e6)
    with pytest.raises(DeviceError, match=r"0\.0 GB are free"):
        Animator.load("mini", "cpu", "bf16")
