"""A made-up talking clip: the test portrait swaying before the camera, and the test recording."""

import numpy as np
import pytest

from emote_cli.data import layout
from emote_cli.data.prepare.settings import PrepareSettings
from emote_cli.data.prepare.video import Work
from emote_cli.media.image import crop_and_resize, read_image
from emote_cli.media.video import write_video
from emote_cli.types import Box
from emote_cli.zoo.locate import locate_bundled

N_FRAMES = 27
LOOSE = PrepareSettings(size=64, min_s=0.7, max_s=3, min_face_px=30, max_frozen=1, crf=20)
"""Settings that fit clips of one second."""


def swaying(portrait, count, side=160):
    """Frames with a face of about 70 pixels that moves to and fro."""
    for i in range(count):
        x, y = 90 + round(9 * np.sin(i / 4)), 20 + round(4 * np.cos(i / 3))
        yield crop_and_resize(portrait, Box(x, y, x + 270, y + 270), side)


@pytest.fixture(scope="session")
def portrait(portrait_path):
    return read_image(portrait_path)


@pytest.fixture(scope="session")
def talking(tmp_path_factory, portrait, speech_path):
    """A clip of 27 frames at 25 fps, 160 x 160, with longer sound that is cut to 1.08 s."""
    from emote_cli.media.audio import cut_or_pad, read_audio
    from tests.conftest import write_wav

    folder = tmp_path_factory.mktemp("talking")
    write_wav(
        folder / "speech.wav", cut_or_pad(read_audio(speech_path), round(N_FRAMES / 25 * 16_000)).samples
    )
    write_video(folder / "talk.mp4", swaying(portrait, N_FRAMES), 25, audio=folder / "speech.wav", crf=12)
    return folder / "talk.mp4"


@pytest.fixture
def work(tmp_path):
    """A new data set with loose settings."""
    folder = tmp_path / "dataset"
    layout.make_folders(folder)
    return Work(folder, LOOSE, locate_bundled("face_landmarker.task"))
