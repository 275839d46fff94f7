"""What users run: the bundled weights, through the command and through Python.

The bounds hold for any edition of them that is worth shipping.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emote_cli import AnimateOptions, Animator
from emote_cli.cli import app
from emote_cli.media.audio import read_audio
from emote_cli.media.image import read_image
from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.perception.geometry import overlap
from emote_cli.perception.landmarks import CHIN, EYE_CORNERS, LOWER_LIP, NOSE, UPPER_LIP
from emote_cli.types import Face, Pixels
from emote_cli.zoo.locate import locate_bundled
from tests.conftest import write_wav

FPS = 25
SPEECH_S, SILENCE_S = 1.4, 0.8
"""First somebody speaks, then nobody does."""
SETTLED_S = 0.2
"""How long lips may take to come to rest."""


@pytest.fixture(scope="module")
def sound(speech_path: Path, tmp_path_factory) -> Path:
    speech = read_audio(speech_path, start_s=0.6, duration_s=SPEECH_S).samples
    samples = np.concatenate([speech, np.zeros(round(SILENCE_S * 16_000), np.float32)])
    return write_wav(tmp_path_factory.mktemp("sound") / "sound.wav", samples)


def run(portrait: Path, sound: Path, folder: Path, *options: str) -> list[Pixels]:
    """The frames that the command writes."""
    words = ["animate", str(portrait), str(sound), "-o", str(folder), "--device", "cpu", "--dtype", "fp32"]
    result = CliRunner().invoke(app, [*words, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [read_image(path) for path in sorted(folder.glob("*.png"))]


@pytest.fixture(scope="module")
def shown(portrait_path: Path, sound: Path, tmp_path_factory) -> list[Pixels]:
    """What the command makes without any option."""
    return run(portrait_path, sound, tmp_path_factory.mktemp("mini") / "frames")


@pytest.fixture(scope="module")
def still(portrait_path: Path, sound: Path, tmp_path_factory) -> list[Pixels]:
    """The same without sways and blinks: what moves is speech."""
    return run(portrait_path, sound, tmp_path_factory.mktemp("mini") / "frames", "--no-idle")


@pytest.fixture(scope="module")
def animator() -> Animator:
    return Animator.load("mini", device="cpu", dtype="fp32")


def faces_in(frames: list[Pixels]) -> list[Face]:
    """The face of every frame; there must be exactly one."""
    with FaceAnalyzer(locate_bundled("face_landmarker.task"), max_faces=2, video=True) as analyzer:
        found = [analyzer.analyze(frame) for frame in frames]
    assert all(len(faces) == 1 for faces in found)
    return [faces[0] for faces in found]


def lip_gaps(frames: list[Pixels]) -> np.ndarray:
    """How far apart the lips are, over the distance from nose to chin."""
    points = np.stack([face.landmarks_px[:, :2] for face in faces_in(frames)])
    gap, face = points[:, LOWER_LIP] - points[:, UPPER_LIP], points[:, CHIN] - points[:, NOSE]
    return np.linalg.norm(gap, axis=1) / np.linalg.norm(face, axis=1)


def test_as_many_frames_as_the_sound_is_long(shown):
    assert len(shown) == round((SPEECH_S + SILENCE_S) * FPS)
    assert {frame.shape for frame in shown} == {(256, 256, 3)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ""),
        ({"frame": "full", "fps": Fraction(30), "duration": 0.5}, "--frame full --fps 30 --duration 0.5"),
        ({"size": 320, "idle": False, "duration": 0.4}, "--size 320 --no-idle --duration 0.4"),
    ],
    ids=["default", "full-30fps", "size-no-idle"],
)  # fmt: skip
def test_python_gives_the_frames_of_the_command(
    animator, portrait_path, sound, shown, tmp_path, options, words
):
    written = run(portrait_path, sound, tmp_path / "frames", *words.split()) if words else shown
    made = list(animator.stream(portrait_path, sound, AnimateOptions(**options)))
    assert np.array_equal(np.stack(made), np.stack(written))


def test_lips_move_with_speech_and_rest_in_silence(still):
    gaps = lip_gaps(still)
    speech, silence = gaps[: round(SPEECH_S * FPS)], gaps[round((SPEECH_S + SETTLED_S) * FPS) :]
    assert np.ptp(speech) > 0.04, "speech opens the mouth"
    assert silence.std() < 0.35 * speech.std()
    assert np.abs(np.diff(silence)).mean() < 0.5 * np.abs(np.diff(speech)).mean()
    assert np.median(silence) < np.percentile(speech, 75)


def test_lips_follow_this_sound_and_no_other(animator, portrait_path, sound, still):
    """The same sound backwards moves the lips at other times."""
    backwards = write_wav(sound.parent / "backwards.wav", read_audio(sound).samples[::-1])
    other = lip_gaps(list(animator.stream(portrait_path, backwards, AnimateOptions(idle=False))))
    own, count = lip_gaps(still), round(SILENCE_S * FPS) - 4
    assert other[:count].std() < 0.5 * other[round(SILENCE_S * FPS) :].std(), "the silence comes first now"
    assert np.corrcoef(own, other)[0, 1] < 0.6


def test_the_face_stays_the_same(animator, portrait_path, shown, still):
    """Where nothing speaks the picture is the portrait's; the face's proportions are its own."""
    faces = faces_in(shown)
    first = faces[0]
    assert all(overlap(face.box_px, first.box_px) > 0.75 for face in faces)

    def proportion(face: Face) -> float:
        points = face.landmarks_px[:, :2]
        eyes = np.linalg.norm(points[EYE_CORNERS[0]] - points[EYE_CORNERS[1]])
        middle = (points[EYE_CORNERS[0]] + points[EYE_CORNERS[1]]) / 2
        return float(np.linalg.norm(points[NOSE] - middle) / eyes)

    ratios = np.array([proportion(face) for face in faces_in(still)])
    assert np.ptp(ratios) < 0.08
    upper = slice(int(first.box_px.y0), int(first.box_px.y0 + 0.35 * first.box_px.height))
    change = np.abs(np.stack(still)[:, upper].astype(int) - still[0][upper])
    assert change.mean() < 3, "forehead, hair and eyes keep still while the lips speak"


def test_the_whole_photo_stays_around_the_head(portrait_path, sound, tmp_path):
    photo = read_image(portrait_path)
    frames = run(portrait_path, sound, tmp_path / "frames", "--frame", "full", "--duration", "0.6")
    assert {frame.shape for frame in frames} == {photo.shape}
    assert all(np.array_equal(frame[-60:], photo[-60:]) for frame in frames)
    assert not np.array_equal(frames[-1], frames[0])
