"""The command as tests run it: its words checked, a made-up network in place of the real one."""

import itertools
from fractions import Fraction
from typing import ClassVar

import numpy as np
from typer.testing import CliRunner

from emote_cli.animation.chunks import Carry, MadeChunk
from emote_cli.animation.finishing import make_finisher
from emote_cli.animation.retime import count_frames
from emote_cli.cli import app
from emote_cli.errors import DeviceError


class FakeAnimator:
    """Frames that count in their brightness, as the real animator's interface promises."""

    size, fps = 32, Fraction(25)
    calls: ClassVar[list[dict]] = []

    @classmethod
    def load(cls, model, device="auto", dtype="auto", tuning=None):
        if device == "cuda":
            raise DeviceError("no CUDA device here", hint="--device cpu")
        cls.calls.append({"model": str(model), "device": device, "dtype": dtype, "tuning": tuning})
        return cls()

    def frames(self, portrait, speech, options):
        self.calls[-1].update(portrait=portrait, speech=speech, options=options)
        for index in range(count_frames(speech.n_samples, speech.sample_rate_hz, self.fps)):
            yield np.full((self.size, self.size, 3), 40 + index, np.uint8)

    def make_finisher(self, scene, options):
        return make_finisher(scene, options)

    def raw_chunks(self, portrait, speech, options, after=None):
        """Chunks of five; what they carry over is the number of frames so far."""
        count = count_frames(speech.n_samples, speech.sample_rate_hz, self.fps)
        start = 0 if after is None else after.frame
        assert after is None or after.motion == start
        source = itertools.islice(self.frames(portrait, speech, options), start, None)
        while frames := list(itertools.islice(source, 5)):
            stop = start + 5
            yield MadeChunk(start, np.stack(frames), Carry(stop, np.array([float(stop)])), stop >= count)
            start = stop


def emote(*args: object):
    return CliRunner().invoke(app, [str(a) for a in args])


def fails(result, message: str, hint: str) -> None:
    """One line, one hint, exit 1, nothing on stdout."""
    lines = result.stderr.strip().splitlines()
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert len(lines) == 2, result.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert lines[1].startswith("hint: ")
    assert hint in lines[1]
