"""The examples of a stage, from a prepared data set: cached clips, or crops for the autoencoder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from emote_cli.data.cache import CacheMode, OnBad, cached_clips
from emote_cli.data.dataset import ClipArrays, ClipDataset, LazyClip
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.selection import Selection, check_fits
from emote_cli.errors import DataError
from emote_cli.model.autoencoder import Autoencoder
from emote_cli.model.emo import Emo
from emote_cli.perception.speech import hear
from emote_cli.settings import ModelSettings
from emote_cli.training.crops import Crops, FramePool
from emote_cli.training.feed import Examples
from emote_cli.training.loop import StepReport
from emote_cli.training.request import StageRun
from emote_cli.training.settings import TrainSettings
from emote_cli.training.teacher import HeardLips, Teacher, fit_teacher, warm_up
from emote_cli.types import AudioFeatures, Waveform

COMPONENT_CROPS = 192
"""Crops whose principal components start the autoencoder's linear path."""


@dataclass(frozen=True, slots=True)
class Observer:
    """Who hears of a request's progress.

    Attributes:
        on_stage: a stage begins: its run.
        on_clip: clips read so far, and how many there are.
        on_warm_up: steps of the audio projector's head start so far, and how many there are.
        on_step: a step is done.
        on_note: anything worth a line.
        on_figures: figures of a validation, with the step.
    """

    on_stage: Callable[[StageRun], None] = lambda stage: None
    on_clip: Callable[[int, int], None] = lambda done, total: None
    on_warm_up: Callable[[int, int], None] = lambda done, total: None
    on_step: Callable[[StepReport], None] = lambda report: None
    on_note: Callable[[str], None] = lambda text: None
    on_figures: Callable[[int, dict[str, float]], None] = lambda step, figures: None


@dataclass(frozen=True, slots=True)
class Store:
    """The cache of a data set, for one model.

    Attributes:
        data: the prepared data set.
        autoencoder: makes the latents, where it is.
        model: sizes and speech features.
        mode: where latents are kept.
        steady: whether heads are held still.
        variants: altered copies of each clip.
        on_bad: told of damaged clips.
    """

    data: Path
    autoencoder: Autoencoder
    model: ModelSettings
    mode: CacheMode
    steady: bool
    variants: int
    on_bad: OnBad

    def clips(
        self, records: Sequence[ClipRecord], weights: Sequence[float]
    ) -> Iterator[ClipArrays | LazyClip]:
        """Yield every clip that is not damaged, encoding what is new."""
        return cached_clips(
            self.data, records, self.autoencoder, self.model, self._listen,
            mode=self.mode, weights=weights, on_bad=self.on_bad, steady=self.steady, variants=self.variants,
        )  # fmt: skip

    def _listen(self, speech: Waveform) -> AudioFeatures:
        return hear(speech, self.model.audio, self.model.fps)


def examples_for(
    model: Emo, settings: TrainSettings, data: Path, chosen: Selection, observer: Observer, fresh: bool = True
) -> Examples:
    """The stage's stream of examples; a new autoencoder also gets its start from them.

    Raises:
        DataError: the data set does not fit the model, or all its clips are damaged.
    """
    if settings.stage == "vae":
        return crops_for(model, settings, data, chosen, observer, fresh)
    weights = {record.id: weight for record, weight in zip(chosen.train, chosen.weights, strict=True)}
    records = check_fits(chosen.train, model.settings.fps, needs_sound=settings.stage != "image")
    gpu = torch.cuda.is_available() and settings.device == "auto"
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if gpu else "cpu")
    autoencoder = model.autoencoder.to(device).eval()

    def bad(record: ClipRecord, text: str) -> None:
        observer.on_note(f"left out: clip {record.id}: {text}")

    wish = settings.data
    store = Store(data, autoencoder, model.settings, wish.cache, wish.steady, wish.variants, bad)
    share_encoding(store, records, on_cpu=settings.device == "cpu")
    clips = []
    for done, clip in enumerate(store.clips(records, [weights[record.id] for record in records]), start=1):
        clips.append(clip)
        observer.on_clip(done, len(records) * (wish.variants + 1))
    if not clips:
        raise DataError(f"all {len(records)} clips are damaged", "prepare the data set again")
    if fresh and settings.stage == "image" and settings.audio_warm_up:
        give_ears(model, settings, clips, observer)
    temporal = settings.stage != "image"
    return ClipDataset(clips, model.settings, settings.sampling, seed=settings.seed, temporal=temporal)


def teacher_for(model: Emo, settings: TrainSettings, examples: Examples) -> Teacher | None:
    """The teacher of the lips, if the stage has one.

    Raises:
        DataError: no frame shows a face.
    """
    if (
        settings.stage in ("vae", "distill")
        or not settings.step.teach
        or not isinstance(examples, ClipDataset)
    ):
        return None
    return fit_teacher(model.audio_projector, heard_lips(examples.clips), model.settings.audio)


def heard_lips(clips: Sequence[ClipArrays | LazyClip]) -> list[HeardLips]:
    """Sound and lips of every clip."""
    opened = [clip.open() for clip in clips]
    return [HeardLips(clip.features, clip.lips, clip.weight / max(clip.n_frames, 1)) for clip in opened]


def give_ears(
    model: Emo, settings: TrainSettings, clips: Sequence[ClipArrays | LazyClip], observer: Observer
) -> None:
    """Warm the audio projector up, and open the audio layers: zeros would not let it through."""
    heard, audio = heard_lips(clips), model.settings.audio
    last: list[float] = []

    def on_step(step: int, loss: float) -> None:
        last[:] = [loss]
        observer.on_warm_up(step, settings.audio_warm_up)

    warm_up(
        model.audio_projector, heard, audio, steps=settings.audio_warm_up, seed=settings.seed, on_step=on_step
    )
    open_audio_layers(model, fit_teacher(model.audio_projector, heard, audio), settings.seed)
    observer.on_note(
        f"audio warmed up on {len(heard)} clips: loss {last[0]:.2f} (1 is no better than the mean)"
    )


@torch.no_grad()
def open_audio_layers(model: Emo, teacher: Teacher, seed: int) -> None:
    """Let speech be heard from the start: values carry what the teacher reads off the tokens, outputs are not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, value in model.named_parameters():
            if name.endswith("audio_attn.to_out.0.weight"):
                torch.nn.init.normal_(value, std=0.04)
            elif name.endswith(("audio_attn.to_q.weight", "audio_attn.to_k.weight")):
                torch.nn.init.normal_(value, std=0.02)
            elif name.endswith("audio_attn.to_v.weight"):
                rows = torch.arange(len(value)) % len(teacher.readout)
                sign = torch.where(torch.rand(len(value), 1) < 0.5, -1.5, 1.5)
                value.copy_(teacher.readout[rows] * sign + 0.01 * torch.randn(value.shape))


def share_encoding(store: Store, records: list[ClipRecord], on_cpu: bool) -> None:
    """With several processes, let each encode its share of the clips; then all can read them."""
    process, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if processes == 1:
        return
    from accelerate import PartialState

    together, mine = PartialState(cpu=on_cpu), records[process::processes]
    for _ in store.clips(mine, [1.0] * len(mine)):
        pass  # what is encoded now is in the cache
    together.wait_for_everyone()


def crops_for(
    model: Emo, settings: TrainSettings, data: Path, chosen: Selection, observer: Observer, fresh: bool
) -> Crops:
    """Random crops of the clips' frames; clips that are drawn more often give more frames."""
    stride, size = settings.autoencoder.stride, model.settings.image_size
    strides = [
        max(round(stride * record.frames / weight), 1)
        for record, weight in zip(chosen.train, chosen.weights, strict=True)
    ]
    pool = FramePool(
        data,
        chosen.train,
        strides,
        on_clip=lambda done: observer.on_clip(done, len(strides)),
        on_bad=lambda record, text: observer.on_note(f"left out: clip {record.id}: {text}"),
        size=size,
    )
    if fresh and settings.autoencoder.components and model.autoencoder.shortcut_in is not None:
        whole = Crops(pool, size, settings.seed + 1)
        pixels = torch.stack([whole.example(key).pixels for key in range(COMPONENT_CROPS)])
        model.autoencoder.start_from_components(pixels)
    return Crops(pool, min(settings.autoencoder.crop, size), settings.seed)
