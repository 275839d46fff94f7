"""Steps that are recorded and replayed. The recorder here stands for CUDA graphs: it knows operations and addresses.

It runs nothing but the operations that it saw, on the tensors that it saw: numbers that came from the host would stay
what they were, and inputs that are not copied would be missed.
"""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_cuda import FakeRecorder, Tape, id_of, log_cuda
from small_models import FAMILIES, build, tiny_settings

from emote_cli.animation.animator import Animator
from emote_cli.animation.bench import invent_scene
from emote_cli.animation.device import Precision
from emote_cli.animation.finishing import show_frames
from emote_cli.animation.graphs import MOST_RECORDINGS, CudaRecorder, RecordedStep, leaves, record_steps
from emote_cli.animation.options import AnimateOptions, Tuning
from emote_cli.animation.runtime import Runtime
from emote_cli.errors import DeviceError
from emote_cli.model.checkpoint import random_model
from emote_cli.model.conditioning import Conditioning
from emote_cli.settings import load_preset

CPU, FRAMES = torch.device("cpu"), 5


def told(model, rows: int = 1, in_turn: bool = False) -> Conditioning:
    settings = model.settings
    channels, n = settings.autoencoder.latent_channels, settings.temporal.motion_frames
    reference = model.reference_net(torch.randn(rows, channels, 8, 8))
    return Conditioning(
        reference=model.backbone.project_reference(reference),
        reference_in_turn=in_turn,
        motion=model.encode_motion(torch.randn(1, n, channels, 8, 8)),
        audio=torch.randn(1, FRAMES, settings.audio.tokens, settings.audio.token_width),
        speed=torch.randn(1, FRAMES, settings.speed.width),
        face_region=torch.randn(1, settings.unet.block_channels[0], 8, 8),
    )


def latents(model) -> torch.Tensor:
    return torch.randn(1, FRAMES, model.settings.autoencoder.latent_channels, 8, 8)


def recorded(step, recorder=None, said=None) -> RecordedStep:
    said = [] if said is None else said
    return RecordedStep(step, recorder or FakeRecorder(), threading.Lock(), said.append)


@FAMILIES
@torch.inference_mode()
def test_a_replay_is_the_step_on_other_inputs(family, rows, in_turn):
    """Other noise, timestep, sound, reference and motion; both halves of guidance; nothing of the host takes part."""
    model = build(tiny_settings(**family))
    asked: list[int] = []

    def step(noisy, timestep, conditioning):
        asked.append(1)
        return model.backbone(noisy, timestep, conditioning)

    said: list[str] = []
    replayed = recorded(step, said=said)
    for chunk in range(3):
        conditional = model.backbone.hear_once(told(model, rows, in_turn))
        for conditioning in (conditional, conditional.null(1)):
            for timestep in (901, 501):
                noisy, time = latents(model), torch.full((1,), timestep)
                out = replayed(noisy, time, conditioning)
                expected = model.backbone(noisy, time, conditioning)
                torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
        if chunk == 0:
            first = len(asked)
    assert said == []
    assert len(replayed.recordings) == 2
    assert len(asked) == first, "later chunks and steps only replay"


@torch.inference_mode()
def test_a_step_reads_and_writes_the_same_places_and_copies_only_what_changed():
    model = build()
    recorder = FakeRecorder()
    replayed = recorded(model.backbone.forward, recorder)
    one, other = told(model), told(model)
    other = replace(other, reference=one.reference)
    replayed(latents(model), torch.full((1,), 901), one)
    recording = next(iter(replayed.recordings.values()))
    places = [id_of(kept) for kept in recording.kept]
    theirs = {id_of(leaf) for leaf in leaves(one) if isinstance(leaf, torch.Tensor)}
    assert not theirs & set(places), "a conditioning that others hold would be written over"

    def copies(conditioning) -> int:
        with Tape() as tape:
            recording.replay, replay = (lambda: None), recording.replay
            replayed(latents(model), torch.full((1,), 501), conditioning)
            recording.replay = replay
        return sum(function.overloadpacket.__name__ == "copy_" for function, *_ in tape.operations)

    n_tensors = sum(isinstance(leaf, torch.Tensor) for leaf in leaves(one))
    n_reference = 2 * len(one.reference)
    assert copies(one) == 2
    assert copies(other) == 2 + n_tensors - n_reference
    assert copies(other) == 2
    assert [id_of(kept) for kept in recording.kept] == places


@torch.inference_mode()
def test_answers_are_not_written_over():
    model = build()
    replayed, conditioning = recorded(model.backbone.forward), told(model)
    first = replayed(latents(model), torch.full((1,), 901), conditioning)
    kept = first.clone()
    replayed(latents(model), torch.full((1,), 501), conditioning)
    assert torch.equal(first, kept)


@torch.inference_mode()
def test_other_forms_are_recorded_apart_and_not_without_end():
    calls = []
    replayed = recorded(lambda noisy, *_: calls.append(1) or noisy * 2)
    for frames in range(1, MOST_RECORDINGS + 3):
        for _ in range(2):
            noisy = torch.randn(1, frames)
            assert torch.equal(replayed(noisy, torch.zeros(1), Conditioning()), noisy * 2)
    assert len(replayed.recordings) == MOST_RECORDINGS
    assert len(calls) == 2 * MOST_RECORDINGS + 2 * 2  # twice for the recorder; the others each time


@pytest.mark.parametrize("fault", ["fails", "differs"])
@torch.inference_mode()
def test_what_cannot_be_recorded_runs_as_before(fault: str):
    class Faulty(FakeRecorder):
        def record(self, work):
            if fault == "fails":
                raise RuntimeError("operation not permitted when stream is capturing\nmore")
            recorded = super().record(work)
            return recorded._replace(replay=lambda: recorded.out.zero_())

    said: list[str] = []
    replayed = recorded(lambda noisy, *_: noisy + 1, Faulty(), said)
    for _ in range(3):
        noisy = torch.randn(1, 3)
        assert torch.equal(replayed(noisy, torch.zeros(1), Conditioning()), noisy + 1)
    assert len(said) == 1
    assert said[0].startswith("no CUDA graphs here, going on without: ")
    assert "\n" not in said[0]
    assert not replayed.recordings


@torch.inference_mode()
def test_where_recording_takes_too_much_memory_steps_run_as_before():
    class Small(FakeRecorder):
        def record(self, work):
            super().record(work)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    said: list[str] = []
    recorder = Small()
    replayed = recorded(lambda noisy, *_: noisy + 1, recorder, said)
    for _ in range(2):
        noisy = torch.randn(1, 3)
        assert torch.equal(replayed(noisy, torch.zeros(1), Conditioning()), noisy + 1)
    assert said == ["no CUDA graphs here, going on without: memory ran out"]
    assert recorder.tapes == [], "what was recorded is given back"


def test_recordings_and_warm_ups_share_a_stream_and_memory(monkeypatch):
    """Each in a stream or pool of its own would keep the memory of a step."""
    events = log_cuda(monkeypatch)
    recorder = CudaRecorder(torch.device("cuda"))
    for _ in range(2):
        made = recorder.record(lambda: events.append("step") or torch.ones(1))
        assert torch.equal(made.out, made.expected)
    once = [
        "stream 1 waits", "in stream 1", "memory 1", "step", "step", "memory ends", "stream ends", "here waits",
        "graph in memory 1, stream 1", "step", "graph ends",
    ]  # fmt: skip
    assert events == once * 2
    recorder.forget()
    recorder.record(lambda: torch.ones(1))
    assert "graph in memory 2, stream 2" in events


@torch.inference_mode()
def test_memory_that_runs_out_is_the_guards_business():
    def fails(noisy, *_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        recorded(fails)(torch.randn(1, 3), torch.zeros(1), Conditioning())


def test_gradients_go_the_usual_way():
    noisy = torch.randn(1, 3, requires_grad=True)
    replayed = recorded(lambda noisy, *_: noisy * 2)
    replayed(noisy, torch.zeros(1), Conditioning()).sum().backward()
    assert noisy.grad is not None
    assert not replayed.recordings


def video(animator: Animator, options: AnimateOptions) -> np.ndarray:
    return np.stack(list(show_frames(animator, invent_scene(animator.model.settings, 2), options)))


def test_a_video_is_the_same():
    frames = []
    for records in (False, True):
        animator = Animator(Runtime(random_model(load_preset("tiny")), CPU, Precision(torch.float32)))
        recorder = FakeRecorder()
        if records:
            record_steps(animator.model, recorder, animator.runtime.guard.busy, print)
        frames.append(video(animator, AnimateOptions(steps=3, guidance=2.0)))
    assert recorder.tapes
    assert np.array_equal(*frames)


def test_it_needs_a_gpu_by_nvidia():
    with pytest.raises(DeviceError, match="--cuda-graphs needs a CUDA device, this is cpu"):
        Animator.load("tiny", "cpu", tuning=Tuning(cuda_graphs=True))
