"""Small runs of the tiny model on made-up clips, for tests. Also a program: FOLDER STEPS KEY=VALUE."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emote_cli.data.dataset import ClipArrays, ClipDataset
from emote_cli.model.checkpoint import random_model
from emote_cli.model.emo import Emo
from emote_cli.settings import ModelSettings, load_preset
from emote_cli.settings_tree import override
from emote_cli.training.loop import train
from emote_cli.training.objectives.autoencoder import Reconstruction
from emote_cli.training.objectives.denoising import Denoising
from emote_cli.training.observer import Observer, StepReport
from emote_cli.training.settings import TrainSettings, load_recipe
from emote_cli.types import AudioFeatures


def clip(settings: ModelSettings, number: int, frames: int = 17) -> ClipArrays:
    """Random numbers in the form of a clip."""
    rng = np.random.default_rng(number)
    side, audio = settings.latent_size, settings.audio
    boxes = np.tile(np.array([6.0, 6.0, 26.0, 26.0]), (frames, 1))
    return ClipArrays(
        id=f"clip{number}",
        latents=torch.from_numpy(
            rng.normal(size=(frames, settings.autoencoder.latent_channels, side, side))
        ).half(),
        features=AudioFeatures(rng.normal(size=(frames, audio.layers, audio.embed)).astype(np.float32), 25.0),
        boxes_px=boxes,
        mouths_px=boxes * 0.5 + 6,
        speed=rng.random(frames),
        pose=rng.normal(size=(frames, 5)),
        found=np.ones(frames, bool),
        lips=rng.normal(size=(frames, 3)).astype(np.float32),
    )


def recipe(stage: str = "video", **changes: Any) -> TrainSettings:
    """The tiny model's, on the CPU, saving only when asked to."""
    changes = {"device": "cpu", "batch": 4, "warmup_steps": 2, "decay": "constant", **changes}
    return load_recipe("tiny", stage).model_copy(update=changes)


def examples(settings: TrainSettings, clips: int = 3) -> ClipDataset:
    model = load_preset("tiny")
    made = [clip(model, number) for number in range(clips)]
    return ClipDataset(made, model, settings.sampling, seed=settings.seed, temporal=settings.stage != "image")


class Watcher(Observer):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.reports: list[StepReport] = []
        self.warnings: list[str] = []
        self.figures: list[tuple[int, dict[str, float]]] = []

    def on_step(self, report: StepReport) -> None:
        self.reports.append(report)

    def on_warning(self, text: str) -> None:
        self.warnings.append(text)

    def on_figures(self, step: int, figures: dict[str, float]) -> None:
        self.figures.append((step, figures))


def run(folder: Path, settings: TrainSettings, dataset: Any = None, model: Emo | None = None, **more: Any):
    """Train; returns the state and what a watcher heard."""
    watcher = Watcher()
    kind = Reconstruction if settings.stage == "vae" else Denoising
    objective = kind(model or random_model(load_preset("tiny"), 3), settings)
    state = train(objective, dataset or examples(settings), folder, watcher, **more)
    return state, watcher


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Everything that a checkpoint folder holds, flat."""
    from safetensors.torch import load_file

    saved = torch.load(folder / "state.pt", weights_only=True)
    moments = {f"{k}.{n}": v for k, each in saved["optimizer"]["state"].items() for n, v in each.items()}
    return {
        **load_file(folder / "ema" / "model.safetensors"),
        **{f"raw.{k}": v for k, v in saved["trained"].items()},
        **moments,
    }


def deepspeed_on_cpus() -> None:
    """Accelerate knows DeepSpeed on accelerators only; DeepSpeed itself also has CPUs."""
    from accelerate import DistributedType, PartialState

    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_CPU)


if __name__ == "__main__":
    if "ACCELERATE_USE_DEEPSPEED" in os.environ:
        deepspeed_on_cpus()
    place, steps = Path(sys.argv[1]), int(sys.argv[2])
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    options = override(recipe(max_steps=steps, save_steps=2), sys.argv[3:])
    for report in run(place, options)[1].reports:
        sys.stdout.write(f"loss {report.loss!r}\n")
