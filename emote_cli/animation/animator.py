"""From a portrait and speech to frames, in Python: the same path that `emote animate` takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from emote_cli.animation.chunks import Carry, MadeChunk
from emote_cli.animation.finishing import show_frames
from emote_cli.animation.options import AnimateOptions, Tuning
from emote_cli.animation.runtime import PLAIN, Runtime
from emote_cli.animation.scene import Scene, read_scene
from emote_cli.animation.schemes.find import find_scheme
from emote_cli.model.emo import Emo
from emote_cli.types import Pixels, Portrait, Sound


class Animator:
    """A loaded model that turns portraits and speech into frames.

    Args:
        runtime: the model, ready to compute.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.scheme = find_scheme(runtime.settings)(runtime)

    @classmethod
    def load(
        cls, model: str | Path, device: str = "auto", dtype: str = "auto", tuning: Tuning = PLAIN
    ) -> Animator:
        """Load a model by name or path.

        Args:
            model: tiny, mini, a downloaded model, or the path of a model or run folder.
            device: auto, cpu, cuda or mps.
            dtype: auto, float32 (fp32), bfloat16 (bf16) or float16 (fp16).
            tuning: how to load and run it.

        Raises:
            WeightsError: unknown, missing or damaged.
            DeviceError: the device is not there, or the model does not fit.
        """
        return cls(Runtime.load(model, device, dtype, tuning))

    @property
    def model(self) -> Emo:
        """The network."""
        return self.runtime.model

    @property
    def size(self) -> int:
        """Side of the square frames in pixels."""
        return self.runtime.size

    @property
    def fps(self) -> Fraction:
        """Frame rate that the model was trained for."""
        return self.runtime.fps

    def stream(
        self, portrait: Path | str, audio: Path | str, options: AnimateOptions | None = None
    ) -> Iterator[Pixels]:
        """Make the frames of the video that `emote animate` makes of the same files with the same options, one by one.

        Args:
            portrait: a picture with a face.
            audio: a recording, or a video with sound.
            options: how to animate them.

        Yields:
            RGB frames, round(seconds x fps) of them.

        Raises:
            InputError: a file cannot be read, or the speech is shorter than one frame.
            FaceError: there is no such face in the picture.
            SettingsError: the model does not have what an option sets.
        """
        chosen = options or AnimateOptions()
        scene = read_scene(Path(portrait), Path(audio), chosen, self.model.settings, self.runtime.folder)
        for line in scene.notes:
            warnings.warn(line, stacklevel=2)
        return show_frames(self, scene, chosen)

    def make_finisher(self, scene: Scene, options: AnimateOptions) -> Callable[[Any, float], Pixels]:
        """Make the function from one of the raw frames, and its time in seconds, to a frame of the output."""
        return self.scheme.make_finisher(scene, options)

    def raw_frames(self, portrait: Portrait, speech: Sound, options: AnimateOptions) -> Iterator[Pixels]:
        """Make frames as the network makes them, at its own size and rate: neither enlarged nor pasted, no idling.

        Args:
            portrait: cropped at `size`.
            speech: mono, 16 kHz.
            options: how to sample.

        Raises:
            InputError: the speech is shorter than one frame.
        """
        return self.scheme.raw_frames(portrait, speech, options)

    def raw_chunks(
        self, portrait: Portrait, speech: Sound, options: AnimateOptions, after: Carry | None = None
    ) -> Iterator[MadeChunk]:
        """Make frames as the network makes them, chunk by chunk; each says what is needed to go on behind it.

        Args:
            portrait: cropped at `size`.
            speech: mono, 16 kHz.
            options: how to sample.
            after: of the last chunk that is made already.

        Raises:
            InputError: the speech is shorter than one frame.
        """
        return self.scheme.raw_chunks(portrait, speech, options, after)
