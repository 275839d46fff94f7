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
from emote_cli.data.motion_clips import make_motion_clips
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
    model: Emo,
    settings: TrainSettings,
    dataset_dir: Path,
    chosen: Selection,
    observer: Observer,
    fresh: bool = True,
) -> Examples:
    """Make the stage's stream of examples; a fresh autoencoder, and fresh ears, also get their start from them.

    Args:
        model: of the stage.
        settings: of the stage.
        dataset_dir: the prepared data set.
        chosen: its clips.
        observer: hears how many clips are read, and which ones cannot be.
        fresh: whether the stage begins, and does not go on.

    Raises:
        DataError: the data set does not fit the model, or all its clips are damaged.
    """
    motion = model.settings.autoencoder.kind == "motion"
    if settings.stage == "vae":
        if motion:
            return read_pairs_for(settings, dataset_dir, chosen, observer)
        return crops_for(model, settings, dataset_dir, chosen, observer, fresh)
    still = settings.stage == "image"
    records = check_fits(drop_stills(chosen.train), model.settings.fps, needs_sound=motion or not still)
    total = len(records) * (settings.data.variants + 1) * (settings.data.portraits if motion else 1)
    read, clips = read_motion_clips if motion else read_encoded_clips, []
    for done, clip in enumerate(read(model, settings, dataset_dir, records, chosen, observer), start=1):
        clips.append(clip)
        observer.on_clip(done, total)
    if not clips:
        raise DataError(f"all {len(records)} clips are damaged", "prepare the data set again")
    if fresh and still and settings.audio_warm_up:
        give_ears(model, settings, clips, observer)
    return ClipDataset(clips, model.settings, settings.sampling, seed=settings.seed, temporal=not still)


def drop_stills(records: list[ClipRecord]) -> list[ClipRecord]:
    """Keep the clips that are no stills: those have nothing to tell of motion and sound.

    Raises:
        DataError: there are none.
    """
    clips = [record for record in records if record.frames > 1]
    if not clips:
        raise DataError(f"all {len(records)} clips are stills", "this stage needs videos: prepare some, too")
    return clips


def read_encoded_clips(
    model: Emo,
    settings: TrainSettings,
    dataset_dir: Path,
    records: list[ClipRecord],
    chosen: Selection,
    observer: Observer,
) -> Iterator[ClipArrays | LazyClip]:
    """Read clips in latents of pictures, from the cache, which is filled where it is not; see `examples_for`.

    `records` are those of the chosen clips that are of use.
    """
    gpu = torch.cuda.is_available() and settings.device != "cpu"
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if gpu else "cpu")
    autoencoder, wish = model.autoencoder.to(device).eval(), settings.data

    def report_bad(record: ClipRecord, text: str) -> None:
        observer.on_warning(f"left out: clip {record.id}: {text}")

    store = Store(dataset_dir, autoencoder, model.settings, wish.cache, wish.variants, report_bad)
    share_encoding(store, records, on_cpu=settings.device == "cpu")
    return store.clips(records, chosen.weights_of(records))


def read_motion_clips(
    model: Emo,
    settings: TrainSettings,
    dataset_dir: Path,
    records: list[ClipRecord],
    chosen: Selection,
    observer: Observer,
) -> Iterator[ClipArrays]:
    """Read clips in motion latents, from their tracks; see `examples_for`.

    `records` are those of the chosen clips that are of use.
    """
    return make_motion_clips(
        dataset_dir, records, chosen.weights_of(records), model.settings,
        lambda sound: hear(sound, model.settings.audio, model.settings.fps),
        variants=settings.data.variants, portraits=settings.data.portraits, hold_heads=settings.data.hold_heads,
        on_bad=lambda record, text: observer.on_warning(f"left out: clip {record.id}: {text}"),
    )  # fmt: skip


def read_pairs_for(
    settings: TrainSettings, dataset_dir: Path, chosen: Selection, observer: Observer
) -> Pairs:
    """Make pairs of a portrait and a frame, for the Painter; see `examples_for`."""
    return read_pairs(
        dataset_dir,
        chosen.train,
        chosen.weights,
        settings.autoencoder.per_clip,
        settings.seed,
        on_clip=lambda done: observer.on_clip(done, len(chosen.train)),
        on_bad=lambda record, text: observer.on_warning(f"left out: clip {record.id}: {text}"),
    )


def share_encoding(store: Store, records: list[ClipRecord], on_cpu: bool) -> None:
    """With several processes, let each encode its share of the clips; then all can read them.

    Args:
        store: that fills the cache.
        records: of all clips.
        on_cpu: whether the processes have no GPU.
    """
    process, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if processes == 1:
        return
    from accelerate import PartialState

    together, mine = PartialState(cpu=on_cpu), records[process::processes]
    for _ in store.clips(mine, [1.0] * len(mine)):
        pass  # what is encoded now is in the cache
    together.wait_for_everyone()
