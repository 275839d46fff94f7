"""Short made-up videos of a face, with sound."""

from pathlib import Path

import numpy as np
import pytest
from made_up_footage import evaluation, footage, waves
from PIL import Image

from emote_cli.evaluation.evaluate import Evaluation
from emote_cli.media.video import VideoWriter

FRAMES, FPS, SIDE = 6, 25, 256


def write_face(path: Path, portrait: Path, speech: Path, seed: int = 0, frames: int = FRAMES) -> Path:
    """A face that drifts to the right, with the beginning of a recording."""
    face = np.asarray(Image.open(portrait).convert("RGB").resize((SIDE, SIDE)))
    with VideoWriter(path, FPS, audio=speech, audio_duration_s=frames / FPS, preset="ultrafast") as writer:
        for number in range(frames):
            writer.write(np.roll(face, number + seed, axis=1))
    return path


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory, portrait_path: Path, speech_path: Path) -> Path:
    """A folder with two such videos, one.mp4 and two.mp4."""
    folder = tmp_path_factory.mktemp("faces")
    for seed, name in enumerate(("one", "two")):
        write_face(folder / f"{name}.mp4", portrait_path, speech_path, seed)
    return folder


@pytest.fixture
def evaluations(tmp_path: Path) -> list[Evaluation]:
    """Two renders of the same true clip; the second's lips are another's."""
    truth = evaluation(tmp_path / "true/a.mp4", footage())
    other = footage(jaw=waves(5) * 0.4, gap=waves(5) * 0.3)
    return [
        evaluation(tmp_path / "renders/a.mp4", footage(), truth),
        evaluation(tmp_path / "renders/<b>&.mp4", other, truth),
    ]
