"""What all tests share: no network, few threads, fixed seeds, made-up inputs, the shared folder."""

# ruff: noqa: E402

import os

# Before anything imports numpy or torch: tests are small, and threads only get in each other's way.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import atexit
import random
import shutil
import socket
import tempfile
import wave
from pathlib import Path

# What was measured on this machine stays out of the user's cache, and of other test runs.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="emote-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

import hypothesis
import numpy as np
import pytest

# A busy machine is no failure.
hypothesis.settings.register_profile("emote", deadline=None, max_examples=50)
hypothesis.settings.load_profile("emote")

ROOT = Path(__file__).parent.parent
ASSETS = Path(__file__).parent / "assets"
_LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


def pytest_xdist_auto_num_workers() -> int:
    """How many processes `pytest -n auto` starts; each loads all libraries for itself."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)


@pytest.fixture(autouse=True, scope="session")
def _network_is_off():
    """Refuse every connection but those to this machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(sock: socket.socket, address: object) -> None:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOCAL_HOSTS:
            raise RuntimeError(f"a test tried to reach {address[0]}: tests use no network")

    def guarded_connect(sock, address):
        check(sock, address)
        return connect(sock, address)

    def guarded_connect_ex(sock, address):
        check(sock, address)
        return connect_ex(sock, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        yield


@pytest.fixture(autouse=True)
def _seeds():
    random.seed(2402)
    np.random.seed(17485)
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(2402_17485)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings, golden numbers and models that is not part of the project."""
    folder = Path(os.environ.get("EMOTE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared folder at {folder} (set EMOTE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def portrait_path() -> Path:
    return ASSETS / "portrait.png"


@pytest.fixture(scope="session")
def speech_path() -> Path:
    return ASSETS / "speech.wav"


def synthetic_speech(seconds: float, sample_rate_hz: int = 16_000, seed: int = 7) -> np.ndarray:
    """A buzzing voice: harmonics of 120 Hz, opened and closed four times a second, with a little breath."""
    time_s = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    buzz = sum(np.sin(2 * np.pi * 120 * k * time_s) / k for k in range(1, 13))
    loudness = np.clip(np.sin(2 * np.pi * 4 * time_s), 0, 1)
    breath = np.random.default_rng(seed).normal(size=len(time_s))
    return (0.2 * loudness * buzz + 0.003 * breath).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray, sample_rate_hz: int = 16_000) -> Path:
    """Write mono 16-bit samples with the standard library alone."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def make_portrait(path: Path, size: int, analyzer, choice="largest"):
    """Read a photo, find its face and cut out the square around it."""
    from emote_cli.animation.portrait import cut_portrait
    from emote_cli.media.image import read_image
    from emote_cli.perception.faces import find_faces

    pixels = read_image(path)
    return cut_portrait(pixels, path, size, find_faces(pixels, analyzer), choice)


@pytest.fixture
def make_wav(tmp_path: Path):
    """Call with a file name and samples (and a rate) to get a wav file in this test's folder."""
    return lambda name, samples, rate_hz=16_000: write_wav(tmp_path / name, samples, rate_hz)


@pytest.fixture(scope="session")
def tiny_speech_bytes(tmp_path_factory) -> bytes:
    """0.7 s of synthetic speech: a wav file's content."""
    return write_wav(tmp_path_factory.mktemp("speech") / "tiny.wav", synthetic_speech(0.7)).read_bytes()


@pytest.fixture
def tiny_speech(tmp_path: Path, tiny_speech_bytes: bytes) -> Path:
    """0.7 s of synthetic speech as a wav file in this test's folder."""
    path = tmp_path / "tiny-speech.wav"
    path.write_bytes(tiny_speech_bytes)
    return path
