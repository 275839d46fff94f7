"""A loaded model: where it runs, in which precision, and how it makes do with the memory that is there."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from emote_cli.animation.cpu import set_threads
from emote_cli.animation.device import (
    LARGE_MODEL,
    Precision,
    check_tuning,
    choose_device,
    choose_precision,
    compile_blocks,
    runs_in_half,
)
from emote_cli.animation.graphs import CudaRecorder, RecordedStep, record_steps
from emote_cli.animation.memory import (
    Guard,
    Residence,
    check_fits,
    estimate_need,
    find_no_room,
    forget_unused,
    free_bytes,
)
from emote_cli.animation.options import Tuning
from emote_cli.animation.variants import named_variant
from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.model.attention import lay_together
from emote_cli.model.checkpoint import random_model
from emote_cli.model.emo import Emo
from emote_cli.model.loading import load_folder
from emote_cli.settings import ModelSettings, load_preset, load_settings
from emote_cli.zoo.locate import SETTINGS_NAME, locate

PLAIN = Tuning()


class Runtime:
    """A model that is ready to compute; the schemes of its families work with it.

    Args:
        model: in evaluation mode.
        device: where it runs.
        precision: of the computation.
        folder: where the model's files lie; None for one without.
        tuning: how to run it.
    """

    def __init__(
        self,
        model: Emo,
        device: torch.device,
        precision: Precision,
        folder: Path | None = None,
        tuning: Tuning = PLAIN,
    ) -> None:
        check_tuning(tuning, device)
        set_threads()
        self.folder, self.device, self.precision = folder, device, precision
        self.ears: Any = None
        """A loaded speech model; None: the one that is bundled, installed, or in the model's folder."""
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        lay_together(model)
        self.schedule = NoiseSchedule(model.settings.diffusion)
        self.recorded: RecordedStep | None = None
        self.residence = Residence(model, device) if tuning.low_memory else None
        can_lower = device.type != "cpu" and not (tuning.low_memory or tuning.compile)
        self.guard = Guard(self._lower if can_lower else None, tuning.tell)
        self.guard(self._settle)
        if tuning.compile:
            compile_blocks(model)
        if tuning.cuda_graphs:
            self.recorded = record_steps(model, CudaRecorder(device), self.guard.busy, tuning.tell)

    def _settle(self) -> None:
        """Bring the whole model to the device, unless its large parts wait elsewhere."""
        if self.residence is None:
            self.model.to(self.device)

    def _lower(self) -> None:
        if self.recorded is not None:  # it knows weights by their addresses, which change now
            self.recorded.stop()
        forget_unused(self.device)
        self.residence = Residence(self.model, self.device)
        forget_unused(self.device)

    @classmethod
    def load(
        cls, model: str | Path, device: str = "auto", dtype: str = "auto", tuning: Tuning = PLAIN
    ) -> Runtime:
        """Load a model by name or path; see `Animator.load`.

        Raises:
            WeightsError: unknown, missing or damaged.
            DeviceError: the device is not there, or the model does not fit.
        """
        chosen = choose_device(device)
        check_tuning(tuning, chosen)
        folder = locate(str(model))
        tuning = replace(tuning, variant=tuning.variant or named_variant(str(model)))
        if folder is None:
            made = random_model(load_preset(str(model)))
            return cls(made, chosen, choose_precision(dtype, chosen), None, tuning)
        settings = load_preset(tuning.variant) if tuning.variant else load_settings(folder / SETTINGS_NAME)
        with torch.device("meta"):
            planned = Emo(settings)
        large = sum(parameter.numel() for parameter in planned.parameters()) >= LARGE_MODEL
        precision = choose_precision(dtype, chosen, stored=large, half=runs_in_half(settings.name))
        if large or tuning.low_memory:
            needed = estimate_need(planned, precision.dtype.itemsize)
            free = free_bytes(chosen)
            no_room = find_no_room(needed, free) if tuning.cuda_graphs else None
            if no_room is not None:
                tuning.tell(no_room)
                tuning = replace(tuning, cuda_graphs=False)
            asked = (settings.name, needed, chosen, tuning.low_memory, free)
            tuning.tell(check_fits(*asked, recorded=tuning.cuda_graphs))
        loaded = load_folder(folder, tuning.variant, precision.weights)
        if chosen.type == "cpu" and settings.autoencoder.kind == "motion":
            set_threads(workers=2)  # one samples, one draws
        return cls(loaded, chosen, precision, folder, tuning)

    @property
    def settings(self) -> ModelSettings:
        """The model's settings."""
        return self.model.settings

    @property
    def size(self) -> int:
        """Side of the square frames in pixels."""
        return self.model.settings.image_size

    @property
    def fps(self) -> Fraction:
        """Frame rate that the model was trained for."""
        return Fraction(self.model.settings.fps)
