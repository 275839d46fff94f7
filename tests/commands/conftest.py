"""Files and a made-up network for tests of the command line."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from command_line import FakeAnimator

from emote_cli.animation.batch import load_once


@pytest.fixture
def fake(monkeypatch) -> type[FakeAnimator]:
    module = types.ModuleType("emote_cli.animation.animator")
    module.Animator = FakeAnimator
    monkeypatch.setitem(sys.modules, "emote_cli.animation.animator", module)
    monkeypatch.setattr(FakeAnimator, "calls", [])
    load_once.cache_clear()
    return FakeAnimator


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def two_people(here, portrait_path) -> Path:
    """A picture of a larger and a smaller face."""
    from PIL import Image

    one = Image.open(portrait_path).convert("RGB")
    both = Image.new("RGB", (896, 512))
    both.paste(one, (0, 0))
    both.paste(one.resize((384, 384)), (512, 64))
    both.save(here / "two.png")
    return here / "two.png"


@pytest.fixture
def bad(here, rng, make_wav) -> Path:
    """A folder of things that are not what they seem."""
    (here / "text.png").write_text("not a picture")
    (here / "text.wav").write_text("not a sound")
    (here / "empty.wav").write_bytes(b"")
    (here / "sub").mkdir()
    from PIL import Image

    Image.fromarray(rng.integers(0, 255, (97, 89, 3), np.uint8)).save(here / "noise.png")
    make_wav(here / "short.wav", np.zeros(300))
    make_wav(here / "none.wav", np.zeros(0))
    return here
