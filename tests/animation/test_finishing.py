"""From the model's frames to those of the video."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from emote_cli.animation import render as render_module
from emote_cli.animation import scene as scene_module
from emote_cli.animation.aids.idle import Idle
from emote_cli.animation.aids.paste import leave_as_is
from emote_cli.animation.chunks import Carry, MadeChunk
from emote_cli.animation.finishing import make_finisher, make_livener, show_chunks, show_frames
from emote_cli.animation.options import AnimateOptions
from emote_cli.animation.render import import_ahead
from emote_cli.animation.scene import Scene, read_scene, shown_size
from emote_cli.errors import InputError, SettingsError
from emote_cli.perception import faces as faces_module
from emote_cli.settings import load_preset
from emote_cli.settings_tree import override


class Counts:
    """Chunks of five frames whose brightness is their number."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size

    def make_finisher(self, scene, options):
        return make_finisher(scene, options)

    def raw_chunks(self, portrait, speech, options, after=None):
        for start in range(0 if after is None else after.frame, self.count, 5):
            frames = [np.full((self.size, self.size, 3), 40 + i, np.uint8) for i in range(start, start + 5)]
            stop = min(start + 5, self.count)
            made = np.stack(frames[: stop - start])
            yield MadeChunk(start, made, Carry(stop, np.zeros(1, np.float32)), stop == self.count)


@pytest.fixture(scope="module")
def scene(portrait_path, speech_path) -> Scene:
    options = AnimateOptions(duration=0.72)
    return read_scene(portrait_path, speech_path, options, load_preset("tiny"), None)


def resized(scene: Scene, options: AnimateOptions) -> Scene:
    size = shown_size(scene.photo, options.frame, options.size, scene.settings.image_size)
    return replace(scene, size=size, fps=options.fps or scene.fps)


@pytest.mark.parametrize(
    ("shape", "kind", "size", "expected"),
    [
        ((301, 403), "crop", 94, (94, 94)),
        ((301, 403), "crop", None, (64, 64)),
        ((301, 403), "full", None, (402, 300)),
        ((301, 403), "full", 806, (806, 602)),
        ((9000, 3000), "full", None, (1364, 4096)),
    ],
)
def test_sizes_are_even(shape, kind, size, expected):
    photo = np.zeros((*shape, 3), np.uint8)
    assert shown_size(photo, kind, size, 64) == expected
    assert expected[0] % 2 == expected[1] % 2 == 0


@pytest.mark.parametrize("kind", ["crop", "full"])
@pytest.mark.parametrize("size", [None, 130, 32])
def test_finished_frames_have_the_size_that_is_told(scene, kind, size):
    options = AnimateOptions(frame=kind, size=size, detail=True)
    told = resized(scene, options)
    made = make_finisher(told, options)(scene.portrait.pixels, 0.0)
    assert (made.shape, made.dtype) == ((told.size[1], told.size[0], 3), np.uint8)


def test_detail_is_the_models_unless_it_is_named(scene):
    def finished(detail: bool | None, of_the_model: bool) -> np.ndarray:
        options = AnimateOptions(size=128, detail=detail)
        settings = override(scene.settings, [f"detail_transfer={str(of_the_model).lower()}"])
        told = replace(resized(scene, options), settings=settings)
        return make_finisher(told, options)(scene.portrait.pixels, 0.0)

    with_it, without = finished(True, False), finished(False, True)
    assert not np.array_equal(with_it, without)
    assert np.array_equal(finished(None, True), with_it)
    assert np.array_equal(finished(None, False), without)


def test_the_head_sways_where_the_options_or_the_model_say_so(scene):
    def liven(of_the_model: bool, **options: object):
        settings = override(scene.settings, [f"idle_motion={str(of_the_model).lower()}"])
        chosen = AnimateOptions(size=128, **options)
        return make_livener(replace(resized(scene, chosen), settings=settings), chosen)

    assert liven(False) is leave_as_is
    assert liven(True, idle=False) is leave_as_is
    assert isinstance(liven(True), Idle)
    idle = liven(False, idle=True, head_speed=0.7, seed=4)
    assert isinstance(idle, Idle)
    assert (idle.head_speed, idle.seed, idle.x.shape) == (0.7, 4, (128, 128))


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(7), Fraction(60)])
def test_frames_are_retimed_in_one_place(scene, fps):
    told = replace(scene, fps=fps, n_frames=round(Fraction(18, 25) * fps))
    made = [round(float(f.mean())) - 40 for f in show_frames(Counts(18, 32), told, AnimateOptions())]
    wanted = [min(int((i + 0.5) / float(fps) * 25), 17) for i in range(told.n_frames)]
    assert made == wanted


def test_going_on_shows_what_would_have_followed(scene):
    options = AnimateOptions(idle=True)
    told = replace(scene, n_frames=18)
    chunks, whole = [], []
    for chunk in show_chunks(Counts(18, 32), told, options):
        whole.append(list(chunk.frames))
        chunks.append(chunk)
    rest = show_chunks(Counts(18, 32), told, options, after=chunks[1].carry)
    assert np.array_equal([f for c in rest for f in c.frames], [f for part in whole[2:] for f in part])
    assert [chunk.n_made for chunk in chunks] == [5, 5, 5, 3]


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"articulation": 2.0}, "family.reference_latents=false", "no articulation"),
        ({"smoothing": 1}, "family.audio=text_slot", "cannot smooth"),
    ],
)
def test_a_model_must_have_what_is_set(portrait_path, speech_path, options, change, message):
    settings = override(load_preset("tiny"), [change])
    with pytest.raises(SettingsError, match=message):
        read_scene(portrait_path, Path(speech_path), AnimateOptions(**options), settings, None)


def test_time_before_the_search_for_faces_can_be_used(portrait_path, speech_path, monkeypatch):
    """All other checks have passed by then; a job that fails them starts nothing."""
    done = []
    search = scene_module.find_all_faces
    monkeypatch.setattr(
        scene_module, "find_all_faces", lambda *given: done.append("search") or search(*given)
    )
    settings, options = load_preset("tiny"), AnimateOptions(duration=0.4)
    with pytest.raises(InputError):
        read_scene(portrait_path, Path("missing.wav"), options, settings, None, lambda: done.append("start"))
    assert done == []
    read_scene(portrait_path, speech_path, options, settings, None, lambda: done.append("start"))
    assert done == ["start", "search"]


def test_a_second_scene_makes_no_second_face_detector(portrait_path, speech_path, monkeypatch):
    faces_module._photo_analyzer.cache_clear()
    made = []
    make = faces_module.FaceAnalyzer.__init__
    monkeypatch.setattr(
        faces_module.FaceAnalyzer, "__init__", lambda self, *a, **k: made.append(self) or make(self, *a, **k)
    )
    settings, options = load_preset("tiny"), AnimateOptions(duration=0.4)
    scenes = [read_scene(portrait_path, speech_path, options, settings, None) for _ in range(2)]
    assert len(made) == 1
    first, second = (scene.faces[0].landmarks_px for scene in scenes)
    assert np.array_equal(first, second)


def test_the_face_detector_leaves_quietly(portrait_path):
    code = """
import sys
from pathlib import Path
from emote_cli.media.image import read_image
from emote_cli.perception.faces import find_all_faces
from emote_cli.zoo.locate import locate_bundled
print(len(find_all_faces(read_image(Path(sys.argv[1])), locate_bundled("face_landmarker.task"))))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, str(portrait_path)], capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1\n", "")


def test_what_fails_ahead_fails_again_where_it_is_needed(monkeypatch):
    def fails(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(render_module, "import_module", fails)
    thread = import_ahead()
    thread.join(10)
    assert not thread.is_alive()
