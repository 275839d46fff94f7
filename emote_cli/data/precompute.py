"""`emote prepare --cache`: what training would compute again every epoch, stored for one model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from emote_cli.data.cache import cached_clips
from emote_cli.data.layout import MANIFEST
from emote_cli.data.manifest import ClipRecord, read_records
from emote_cli.data.selection import check_fits
from emote_cli.model.checkpoint import random_model
from emote_cli.model.emo import Emo
from emote_cli.model.loading import load_folder
from emote_cli.perception.speech import hear
from emote_cli.settings import load_preset
from emote_cli.types import AudioFeatures, Waveform
from emote_cli.zoo.locate import locate


def store_cache(dataset_dir: Path, model: str) -> Iterator[tuple[int, int]]:
    """Encode every clip that the cache does not hold yet: VAE latents and speech features, fp16.

    Args:
        dataset_dir: a prepared data set.
        model: a known name, or the folder of a model or run.

    Yields:
        Clips done, and clips in all.

    Raises:
        WeightsError: the model is unknown, missing or damaged.
        DataError: the data set does not fit the model.
    """
    folder = locate(model)
    chosen = random_model(load_preset(model)) if folder is None else load_folder(folder)
    records = check_fits(read_records(dataset_dir / MANIFEST), chosen.settings.fps, needs_sound=False)
    yield 0, len(records)
    yield from _store(dataset_dir, records, chosen)


def _store(dataset_dir: Path, records: list[ClipRecord], model: Emo) -> Iterator[tuple[int, int]]:
    def listen(speech: Waveform) -> AudioFeatures:
        return hear(speech, model.settings.audio, model.settings.fps)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if model.settings.autoencoder.kind == "motion":
        return  # its latents come from the tracks
    autoencoder = model.autoencoder.to(device).eval()
    clips = cached_clips(dataset_dir, records, autoencoder, model.settings, listen, mode="disk")
    for done, _ in enumerate(clips, start=1):
        yield done, len(records)
