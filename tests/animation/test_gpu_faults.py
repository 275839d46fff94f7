"""What went wrong on GPUs only, shown with fakes on a CPU."""

import threading
from types import SimpleNamespace

import pytest
import torch

from emote_cli.animation import runtime
from emote_cli.animation.animator import Animator
from emote_cli.animation.background import finish_in_background
from emote_cli.animation.device import Precision, choose_precision
from emote_cli.animation.memory import LARGE, Guard, is_out_of_memory
from emote_cli.animation.options import Tuning
from emote_cli.animation.runtime import Runtime
from emote_cli.animation.schemes.hallo import HalloScheme
from emote_cli.model.checkpoint import random_model
from emote_cli.perception.wav2vec import Wav2VecFeatureExtractor
from emote_cli.settings import load_preset
from emote_cli.settings_tree import save_settings

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def out_of_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def in_front() -> bool:
    return threading.current_thread() is threading.main_thread()


def test_once_the_need_is_lowered_every_chunk_is_finished_by_the_thread_that_samples():
    """The chunk that is being finished is waited for; then nobody but the sampler may ask for a part of the model."""
    begun, events = threading.Event(), []
    guard = Guard(lambda: events.append("lowered"))

    def sampled(number):
        if number == 1 and "lowered" not in events:
            assert begun.wait(5)
            raise out_of_memory()
        events.append(f"sampled {number}")
        return number

    def finish(number):
        begun.set()
        if number == 0:
            guard_is_held.wait(0.2)
        events.append(f"finished {number} {'in front' if in_front() else 'behind'}")
        return number

    guard_is_held = threading.Event()  # never set: gives the sampler time to fail meanwhile
    chunks = (guard(lambda number=number: sampled(number)) for number in range(4))
    assert list(finish_in_background(chunks, finish, CPU, guard)) == [0, 1, 2, 3]
    assert events == [
        "sampled 0", "finished 0 behind", "lowered", "sampled 1", "finished 1 in front",
        "sampled 2", "finished 2 in front", "sampled 3", "finished 3 in front",
    ]  # fmt: skip


def test_a_chunk_that_waits_for_the_second_thread_is_taken_back():
    threads = []
    guard = Guard(lambda: None)

    def chunks():
        guard.busy.acquire()  # the second thread comes too late ...
        yield 0
        guard.lowered = True  # ... memory runs out meanwhile
        guard.busy.release()
        yield 1

    assert list(finish_in_background(chunks(), lambda n: threads.append(in_front()) or n, CPU, guard)) == [
        0,
        1,
    ]
    assert threads == [True, True]


@pytest.mark.parametrize(
    ("native", "half", "expected"),
    [(False, False, torch.float16), (True, False, torch.bfloat16), (True, True, torch.float16)],
)
def test_emulated_bf16_is_not_taken(monkeypatch, native: bool, half: bool, expected: torch.dtype):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation
    )
    assert choose_precision("auto", CUDA, stored=True, half=half).dtype == expected
    assert choose_precision("bf16", CUDA, half=half).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "half"), [("hallo", True), ("hallo2", True), ("echomimic", True), ("other", False)]
)
def test_public_weights_run_in_fp16_as_their_authors_run_them(tmp_path, monkeypatch, name: str, half: bool):
    save_settings(load_preset("tiny").model_copy(update={"name": name}), tmp_path / "settings.yaml")
    (tmp_path / "model.safetensors").touch()

    class Asked(Exception):
        pass

    def ask(dtype, device, **how):
        raise Asked(how["half"])

    monkeypatch.setattr(runtime, "choose_precision", ask)
    with pytest.raises(Asked) as asked:
        Animator.load(tmp_path, "cpu")
    assert asked.value.args == (half,)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ],
)
def test_libraries_that_get_no_memory_count(text: str):
    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"))


def test_a_model_that_does_not_fit_goes_on_with_one_part_at_a_time(monkeypatch):
    """Moving the model onto the device is guarded, too. The meta device stands in for a GPU."""
    model, told = random_model(load_preset("tiny")), []
    to, failed = model.to, []

    def moved(*args, **how):
        if args and isinstance(args[0], torch.device) and not failed:
            failed.append(True)
            raise out_of_memory()
        return to(*args, **how)

    monkeypatch.setattr(model, "to", moved)
    animator = Animator(
        Runtime(model, torch.device("meta"), Precision(torch.float32), tuning=Tuning(tell=told.append))
    )
    assert failed
    assert told == ["memory ran out; going on with --low-memory"]
    assert animator.runtime.residence is not None
    for name, part in model.named_children():
        for parameter in part.parameters():
            assert parameter.is_meta == (name not in LARGE)


def test_wav2vec_hears_on_the_cpu(tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        Wav2VecFeatureExtractor, "__init__", lambda self, model, device="cpu": loaded.append(device)
    )
    monkeypatch.setattr(
        Wav2VecFeatureExtractor, "load", classmethod(lambda cls, folder, device="cpu": cls(None, device))
    )
    scheme = object.__new__(HalloScheme)
    scheme.runtime = SimpleNamespace(folder=tmp_path, device=CUDA, ears=None)
    scheme._extractor()
    assert loaded == ["cpu"]


def test_transformers_reports_nothing_on_stderr(tmp_path, capfd):
    from safetensors.torch import load_file, save_file
    from transformers import Wav2Vec2Config, Wav2Vec2Model
    from transformers.utils import logging

    config = Wav2Vec2Config(
        hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=14, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = torch.zeros(3, 12)  # as the published file has it
    del tensors["masked_spec_embed"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    before = logging.get_verbosity()
    capfd.readouterr()
    Wav2VecFeatureExtractor.load(tmp_path)
    assert capfd.readouterr() == ("", "")
    assert logging.get_verbosity() == before
    assert logging.is_progress_bar_enabled()
