"""The examples of a stage, from a prepared data set: cached clips, or crops for the autoencoder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from emote_cli.data.cache import CacheMode, OnBad, cached_clips
from emote_cli.data.dataset import ClipArrays, ClipDataset, LazyClip
from emote_cli.data.manifest import ClipRecord
from emote_cli.data.motion_clips import motion_clips
from emote_cli.data.selection import Selection, check_fits
from emote_cli.errors import DataError
from emote_cli.model.autoencoder import Autoencoder
from emote_cli.model.emo import Emo
from emote_cli.perception.speech import hear
from emote_cli.settings import ModelSettings
from emote_cli.training.crops import crops_for
from emote_cli.training.ears import give_ears
from emote_cli.training.feed import Examples
from emote_cli.training.observer import Observer
from emote_cli.training.pairs import Pairs, read_pairs
from emote_cli.training.settings import TrainSettings
from emote_cli.types import AudioFeatures, Waveform


@dataclass(frozen=True, slots=True)
class Store:
    """The cache of a data set, for one model.

    Attributes:
        data: the prepared data set.
        autoencoder: makes the latents, where it is.
        model: sizes and speech features.
        mode: where latents are kept.
        variants: altered copies of each clip.
        on_bad: told of damaged clips.
    """

    data: Path
    autoencoder: Autoencoder
    model: ModelSettings
    mode: CacheMode
    variants: int
    on_bad: OnBad

    def clips(
        self, records: Sequence[ClipRecord], weights: Sequence[float]
    ) -> Iterator[ClipArrays | LazyClip]:
        """Yield every clip that is not damaged, encoding what is new."""
        return cached_clips(
            self.data, records, self.autoencoder, self.model, self._listen,
            mode=self.mode, weights=weights, on_bad=self.on_bad, variants=self.variants,
        )  # fmt: skip

    def _listen(self, speech: Waveform) -> AudioFeatures:
        return hear(speech, self.model.audio, self.model.fps)


def examples_for(
    model: Emo, settings: TrainSettings, data: Path, chosen: Selection, observer: Observer, fresh: bool = True
) -> Examples:
    """The stage's stream of examples; a fresh autoencoder, and fresh ears, also get their start from them.

    Raises:
        DataError: the data set does not fit the model, or all its clips are damaged.
    """
    motion = model.settings.autoencoder.kind == "motion"
    if settings.stage == "vae":
        if motion:
            return pairs_for(settings, data, chosen, observer)
        return crops_for(model, settings, data, chosen, observer, fresh)
    if motion:
        return motion_for(model, settings, data, chosen, observer, fresh)
    return clips_for(model, settings, data, chosen, observer, fresh)


def clips_for(
    model: Emo, settings: TrainSettings, data: Path, chosen: Selection, observer: Observer, fresh: bool
) -> ClipDataset:
    """Single frames or windows of the clips, in latents."""
    weights = {record.id: weight for record, weight in zip(chosen.train, chosen.weights, strict=True)}
    records = check_fits(moving(chosen.train), model.settings.fps, needs_sound=settings.stage != "image")
    gpu = torch.cuda.is_available() and settings.device != "cpu"
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if gpu else "cpu")
    autoencoder = model.autoencoder.to(device).eval()

    def bad(record: ClipRecord, text: str) -> None:
        observer.on_warning(f"left out: clip {record.id}: {text}")

    wish = settings.data
    store = Store(data, autoencoder, model.settings, wish.cache, wish.variants, bad)
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


def moving(records: list[ClipRecord]) -> list[ClipRecord]:
    """The clips that are no stills: those have nothing to tell of motion and sound.

    Raises:
        DataError: there are none.
    """
    clips = [record for record in records if record.frames > 1]
    if not clips:
        raise DataError(f"all {len(records)} clips are stills", "this stage needs videos: prepare some, too")
    return clips


def motion_for(
    model: Emo, settings: TrainSettings, data: Path, chosen: Selection, observer: Observer, fresh: bool
) -> ClipDataset:
    """Single frames or windows of the clips, in motion latents.

    Raises:
        DataError: all clips are damaged, or too short.
    """
    weights = {record.id: weight for record, weight in zip(chosen.train, chosen.weights, strict=True)}
    records = check_fits(moving(chosen.train), model.settings.fps, needs_sound=True)
    made = motion_clips(
        data, records, [weights[record.id] for record in records], model.settings,
        lambda sound: hear(sound, model.settings.audio, model.settings.fps),
        variants=settings.data.variants, portraits=settings.data.portraits, hold_heads=settings.data.hold_heads,
        on_bad=lambda record, text: observer.on_warning(f"left out: clip {record.id}: {text}"),
    )  # fmt: skip
    clips, total = [], len(records) * (settings.data.variants + 1) * settings.data.portraits
    for done, clip in enumerate(made, start=1):
        clips.append(clip)
        observer.on_clip(done, total)
    if not clips:
        raise DataError(f"all {len(records)} clips are damaged", "prepare the data set again")
    if fresh and settings.stage == "image" and settings.audio_warm_up:
        give_ears(model, settings, clips, observer)
    temporal = settings.stage != "image"
    return ClipDataset(clips, model.settings, settings.sampling, seed=settings.seed, temporal=temporal)


def pairs_for(settings: TrainSettings, data: Path, chosen: Selection, observer: Observer) -> Pairs:
    """Pairs of a portrait and a frame, for the Painter."""
    return read_pairs(
        data,
        chosen.train,
        chosen.weights,
        settings.autoencoder.per_clip,
        settings.seed,
        on_clip=lambda done: observer.on_clip(done, len(chosen.train)),
        on_bad=lambda record, text: observer.on_warning(f"left out: clip {record.id}: {text}"),
    )


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
