"""What is asked for: from which files, with which model and options, into which file. No torch, no numpy."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from emote_cli.animation.declare import Options, list_options, option, option_of, split_values
from emote_cli.animation.options import AnimateOptions, DeviceName, DTypeName, Tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Options):
    """What to animate, with what, into what.

    Attributes:
        portrait: a picture with a face.
        audio: a recording, or a video with sound.
        output: the video to write.
        options: how the video is made.
        tuning: how the model is run.

    Raises:
        SettingsError: a value has the wrong type or is out of range.
    """

    portrait: Path
    audio: Path
    output: Path
    force: bool = option(False, "Overwrite the output.", "Output", flags=("--force",))
    resume: bool = option(
        False,
        "Continue a render that was stopped; if it is stopped again, keep what is finished.",
        "Output",
        flags=("--resume",),
    )
    keep_partial: bool = option(
        False,
        "After Ctrl-C, keep a video of what is made so far: NAME.partial.mp4.",
        "Output",
        flags=("--keep-partial",),
    )
    model: str = option(
        "mini", "A known model, or the folder of one.", "Model", metavar="NAME|PATH", repeatable=True
    )
    device: DeviceName = option("auto", "Where to run.", "Model")
    dtype: DTypeName = option("auto", "Number format of the network.", "Model", repeatable=True)
    options: AnimateOptions = AnimateOptions()
    tuning: Tuning = Tuning()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Job":
        """Make a job of values by name, those of its options and tuning among them; other names are ignored.

        Raises:
            SettingsError: a value has the wrong type or is out of range.
        """
        options, tuning = split_values(values, AnimateOptions, Tuning)
        own = {each.name: values[each.name] for each in fields(cls) if each.name in values}
        return cls(**{"options": AnimateOptions(**options), "tuning": Tuning(**tuning), **own})

    def repeatable(self) -> dict[str, Any]:
        """The settings that `--like` takes over, by name."""
        return {
            name: getattr(part, name)
            for part in (self, self.options, self.tuning)
            for name, declaration in list_options(type(part)).items()
            if option_of(declaration).repeatable
            and not (option_of(declaration).later and getattr(part, name) is None)
        }


OPTIONS = list_options(Job, AnimateOptions, Tuning)
"""Every option of a job by name, wherever it is declared."""

REPEATABLE = tuple(name for name, declaration in OPTIONS.items() if option_of(declaration).repeatable)
