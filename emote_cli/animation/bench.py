"""How fast a model makes frames on this machine, and what of the machine's arithmetic that takes.

A made-up face speaks made-up sound, so that nothing is needed but the model, or not even that: with random weights a
model takes the same time and memory as with trained ones.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from emote_cli import __version__
from emote_cli.animation.animator import Animator
from emote_cli.animation.device import LARGE_MODEL, choose_device, choose_precision, runs_in_half
from emote_cli.animation.finishing import show_frames
from emote_cli.animation.memory import forget_unused
from emote_cli.animation.options import AnimateOptions, DeviceName, DTypeName, Quality, Tuning
from emote_cli.animation.quality import choose_recipe
from emote_cli.animation.runtime import Runtime
from emote_cli.animation.scene import Scene
from emote_cli.model.emo import Emo
from emote_cli.perception.features import SAMPLE_RATE_HZ
from emote_cli.perception.motion_latents import mean_face
from emote_cli.settings import ModelSettings, load_preset
from emote_cli.types import Box, Face, Portrait, Waveform

CHUNKS = 3
"""Chunks of the video that is timed; a video of one chunk comes before, to warm up."""

MATRIX_SIDE = {"cpu": 1024}
"""Side of the matrices that tell the device's rate; 8192 on GPUs."""


@dataclass(frozen=True, slots=True)
class Row:
    """One quality, measured.

    Attributes:
        quality: its name.
        steps: denoising steps.
        guidance: scale; 1 is off.
        seconds_per_frame: the fastest of the repeated videos; hearing, encoding and decoding included.
        all_seconds_per_frame: of every video.
        start_s: from nothing, or from the last quality, to the first frame.
        tflop_per_frame: multiplications and additions of the thread that samples, in 10^12.
        tflops: 10^12 of them a second.
        share: of the device's own rate.
        peak_gb: memory at its peak: of the GPU, or else of this process so far.
    """

    quality: str
    steps: int
    guidance: float
    seconds_per_frame: float
    all_seconds_per_frame: list[float]
    start_s: float
    tflop_per_frame: float
    tflops: float
    share: float
    peak_gb: float


@dataclass(frozen=True, slots=True)
class Report:
    """What `bench` found.

    Attributes:
        model: its name or path.
        random_weights: whether it had random ones.
        device: kind and name.
        dtype: number format.
        compiled: whether the network was compiled.
        low_memory: whether one large part at a time was on the device.
        cuda_graphs: whether steps were recorded and replayed.
        device_tflops: how fast the device multiplies large matrices in that format.
        versions: of what took part.
        rows: one per quality.
    """

    model: str
    random_weights: bool
    device: dict[str, str]
    dtype: str
    compiled: bool
    low_memory: bool
    cuda_graphs: bool
    device_tflops: float
    versions: dict[str, str]
    rows: list[Row]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def bench(
    model: str = "mini",
    qualities: Sequence[Quality] = ("paper", "balanced", "fast"),
    *,
    repeat: int = 3,
    random_weights: bool = False,
    device: DeviceName = "auto",
    dtype: DTypeName = "auto",
    tuning: Tuning = Tuning(),
    on_video: Callable[[], object] = lambda: None,
) -> Report:
    """Time a model.

    Args:
        model: a known name, or the path of a model folder; with random weights the name of a preset.
        qualities: to measure, in this order.
        repeat: videos per quality.
        random_weights: whether the model is made up instead of loaded.
        device: where it runs.
        dtype: number format.
        tuning: how it is run.
        on_video: called after every video.

    Raises:
        SettingsError: there is no such preset.
        WeightsError: the model is unknown, not installed or damaged.
        DeviceError: the device is not there, or the model does not fit.
    """
    began = time.monotonic()
    where = choose_device(device)
    animator = (
        random_animator(load_preset(model), where, dtype, tuning)
        if random_weights
        else Animator.load(model, device, dtype, tuning)
    )
    rate = device_rate(where, animator.runtime.precision.dtype)
    forget_unused(where)
    rows = []
    for quality in qualities:
        rows.append(_measure(animator, quality, repeat, rate, began, on_video))
        began = time.monotonic()
    return Report(
        model=model,
        random_weights=random_weights,
        device={"kind": where.type, "name": device_name(where)},
        dtype=str(animator.runtime.precision.dtype).removeprefix("torch."),
        compiled=tuning.compile,
        low_memory=tuning.low_memory,
        cuda_graphs=tuning.cuda_graphs,
        device_tflops=rate / 1e12,
        versions=versions(),
        rows=rows,
    )


def _measure(
    animator: Animator,
    quality: Quality,
    repeat: int,
    rate: float,
    began: float,
    on_video: Callable[[], object],
) -> Row:
    options, settings = AnimateOptions(quality=quality), animator.model.settings
    _forget_peak(animator.runtime.device)
    frames = show_frames(animator, invent_scene(settings, 1), options)
    next(frames)
    start_s = time.monotonic() - began
    n_warm = 1 + sum(1 for _ in frames)
    seconds = []
    for _ in range(repeat):
        begin = time.monotonic()
        made = sum(1 for _ in show_frames(animator, invent_scene(settings, CHUNKS), options))
        seconds.append((time.monotonic() - begin) / made)
        on_video()
    peak = peak_bytes(animator.runtime.device)
    work = _count_work(animator, options) / n_warm
    how, fastest = choose_recipe(settings.diffusion, options), min(seconds)
    return Row(
        quality=quality,
        steps=how.steps,
        guidance=how.guidance,
        seconds_per_frame=fastest,
        all_seconds_per_frame=seconds,
        start_s=start_s,
        tflop_per_frame=work / 1e12,
        tflops=work / fastest / 1e12,
        share=work / fastest / rate,
        peak_gb=peak / 1e9,
    )


def _count_work(animator: Animator, options: AnimateOptions) -> float:
    """Multiplications and additions of a video of one chunk; compiled or recorded steps are counted as written."""
    network: Any = animator.model.backbone
    forward, network.forward = network.forward, type(network).forward.__get__(network)
    ahead = animator.scheme.runs_ahead
    animator.scheme.runs_ahead = False  # only this thread's work is counted
    try:
        with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
            for _ in show_frames(animator, invent_scene(animator.model.settings, 1), options):
                pass
    finally:
        network.forward, animator.scheme.runs_ahead = forward, ahead
    return float(counter.get_total_flops())


def random_animator(
    settings: ModelSettings, device: torch.device, dtype: DTypeName = "auto", tuning: Tuning = Tuning()
) -> Animator:
    """Make an animator with random weights on the device; speech models that are not bundled are random, too.

    Args:
        settings: of the model; they say how large it is.
        device: where it runs; with `tuning.low_memory` the weights are made on the CPU.
        dtype: number format of the network; "auto" chooses by the device.
        tuning: memory and speed.
    """
    with torch.device("meta"):
        model = Emo(settings).eval()
    large = sum(parameter.numel() for parameter in model.parameters()) >= LARGE_MODEL
    precision = choose_precision(dtype, device, stored=large, half=runs_in_half(settings.name))
    home = torch.device("cpu") if tuning.low_memory else device
    weights = {
        name: torch.empty(
            value.shape,
            dtype=precision.weights,
            device=home,
            memory_format=torch.channels_last if value.dim() == 4 else torch.contiguous_format,
        ).normal_(std=0.02)
        for name, value in model.named_parameters()
    }
    model.load_state_dict(weights, strict=False, assign=True)
    model.requires_grad_(False)
    animator = Animator(Runtime(model, device, precision, None, tuning))
    animator.runtime.ears = _random_ears(settings)
    return animator


def _random_ears(settings: ModelSettings) -> Any:
    """A speech model of the published size; None where it is bundled, or none is needed."""
    if settings.audio.encoder == "whisper":
        from emote_cli.perception.whisper_encoder import WhisperEncoder

        return WhisperEncoder(settings.audio.embed, 4, settings.audio.embed // 64).eval()
    if settings.audio.encoder == "wav2vec2":
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        from emote_cli.perception.wav2vec import Wav2VecFeatureExtractor, fix_places

        return Wav2VecFeatureExtractor(fix_places(Wav2Vec2Model(Wav2Vec2Config())))
    return None


def invent_scene(settings: ModelSettings, chunks: int) -> Scene:
    """Make up a scene: a portrait that speaks for a number of chunks."""
    portrait, fps = invent_portrait(settings.image_size), Fraction(settings.fps)
    speech = invent_speech(settings, chunks)
    return Scene(
        settings=settings,
        photo=portrait.pixels,
        portrait=portrait,
        speech=speech,
        fps=fps,
        n_frames=round(speech.duration_s * fps),
        size=(settings.image_size, settings.image_size),
    )


def invent_portrait(size: int) -> Portrait:
    """Make up a portrait: a grey gradient with the mean of many faces in its middle."""
    ramp = np.linspace(40, 215, size).astype(np.uint8)
    pixels = np.ascontiguousarray(np.broadcast_to(ramp[:, None, None], (size, size, 3)))
    mean = mean_face()
    low, high = mean.min(0), mean.max(0)
    flat = (mean - low) / (high - low) * (0.5 * size) + 0.25 * size
    points = np.concatenate([flat, np.zeros((len(flat), 1))], 1).astype(np.float32)
    box = Box(0.25 * size, 0.25 * size, 0.75 * size, 0.75 * size)
    face = Face(box, points, np.eye(4, dtype=np.float32), {})
    return Portrait(pixels, face, Box(0, 0, size, size), Path("made-up"))


def invent_speech(settings: ModelSettings, chunks: int) -> Waveform:
    """Make up speech: noise that lasts a number of chunks."""
    n_samples = round(chunks * settings.temporal.chunk_frames / settings.fps * SAMPLE_RATE_HZ)
    samples = np.random.default_rng(0).normal(0, 0.1, n_samples).astype(np.float32)
    return Waveform(samples, SAMPLE_RATE_HZ)


def device_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure how many multiplications and additions a second a device reaches on large matrices, best of five."""
    side = MATRIX_SIDE.get(device.type, 8192)
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        _wait(device)
        begin = time.perf_counter()
        for _ in range(4):
            one @ other
        _wait(device)
        best = min(best, (time.perf_counter() - begin) / 4)
    return 2 * side**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device) -> str:
    """What the device is sold as, as far as it says so."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> float:
    """Memory at its peak: of the GPU since it was last forgotten, or else of this process; 0 where nobody says."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_reserved(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def versions() -> dict[str, str]:
    """List the versions of what takes part in the timing."""
    return {
        "emote": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": str(torch.version.cuda or ""),
        "system": platform.platform(),
    }


HEAD = (
    "quality",
    "steps",
    "s per frame",
    "TFLOP per frame",
    "TFLOP/s",
    "of the device",
    "peak GB",
    "start s",
)


def table(report: Report) -> Iterator[tuple[str, ...]]:
    """Make the report's rows in words, under `HEAD`."""
    for row in report.rows:
        yield (
            row.quality,
            str(row.steps),
            f"{row.seconds_per_frame:.4f}",
            f"{row.tflop_per_frame:.3g}",
            f"{row.tflops:.3g}",
            f"{row.share:.0%}",
            f"{row.peak_gb:.2f}",
            f"{row.start_s:.1f}",
        )
