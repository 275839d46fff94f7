"""Damaged files are told in one line, never by a traceback."""

import contextlib
import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from emote_cli.animation.table import read_rows
from emote_cli.errors import EmoteError
from emote_cli.media.audio import open_audio
from emote_cli.media.image import read_image
from tests.conftest import synthetic_speech, write_wav

TABLES = {
    "csv": b"portrait,audio,seed\na.png,b.wav,3\n",
    "jsonl": b'{"portrait": "a.png", "audio": "b.wav", "start": 2.5}\n',
}
PICTURES = ("png", "jpeg", "webp", "gif", "tiff", "bmp", "avif")

damages = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "drop"]), st.floats(0, 1), st.binary(min_size=1, max_size=9)
    ),
    min_size=1,
    max_size=6,
)
keep_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def damaged(data: bytes, damage: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, given_bytes in damage:
        at = int(where * len(data))
        if kind == "cut":
            data = data[: max(at, 1)]
        elif kind == "insert":
            data = data[:at] + given_bytes + data[at:]
        else:
            behind = data[at + len(given_bytes) :]
            data = data[:at] + (given_bytes if kind == "flip" else b"") + behind
    return data


@cache
def picture(kind: str) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", PICTURES)
def test_undamaged_pictures_are_read(kind, tmp_path):
    path = tmp_path / f"x.{kind}"
    path.write_bytes(picture(kind))
    pixels = read_image(path)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (24, 32, 3))
    if kind in ("png", "tiff", "bmp"):
        np.testing.assert_array_equal(
            pixels, np.asarray(Image.open(io.BytesIO(picture(kind))).convert("RGB"))
        )


@given(kind=st.sampled_from(PICTURES), damage=damages)
@keep_folder
def test_damaged_pictures(kind, damage, tmp_path):
    path = tmp_path / f"x.{kind}"
    path.write_bytes(damaged(picture(kind), damage))
    try:
        pixels = read_image(path)
    except EmoteError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3


@pytest.mark.parametrize("name", ["x.wav", "x.mp3", "x"])
def test_an_undamaged_sound_is_read_whatever_its_name(name, tmp_path):
    samples = synthetic_speech(0.1)
    recording = open_audio(write_wav(tmp_path / name, samples))
    np.testing.assert_allclose(recording.read(0, recording.n_samples), samples, atol=2e-4)


@given(damage=damages, name=st.sampled_from(["x.wav", "x.mp3", "x"]))
@settings(keep_folder, max_examples=5)
def test_damaged_sounds(damage, name, tmp_path):
    good = write_wav(tmp_path / "good.wav", synthetic_speech(0.1))
    path = tmp_path / name
    path.write_bytes(damaged(good.read_bytes(), damage))
    try:
        recording = open_audio(path)
    except EmoteError:
        return
    assert np.isfinite(recording.read(0, recording.n_samples)).all()


@pytest.mark.parametrize(("ending", "key", "value"), [("csv", "seed", 3), ("jsonl", "start", 2.5)])
def test_an_undamaged_table_is_read(ending, key, value, tmp_path):
    path = tmp_path / f"x.{ending}"
    path.write_bytes(TABLES[ending])
    (row,) = read_rows(path)
    assert row.error is None
    assert row.values["portrait"] == tmp_path / "a.png"
    assert row.values[key] == value


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@given(data=st.binary(max_size=60), damage=damages)
@keep_folder
def test_damaged_tables(ending, data, damage, tmp_path):
    good = TABLES[ending]
    path: Path = tmp_path / f"x.{ending}"
    for content in (data, damaged(good, damage), good + data):
        path.write_bytes(content)
        with contextlib.suppress(EmoteError):
            assert read_rows(path)
