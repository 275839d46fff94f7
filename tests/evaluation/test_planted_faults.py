"""A table of faults: each moves its own numbers, and every other one less than people notice (`Measure.notable`).

On a drawn head in seconds; the `slow` ones on a real clip of EMOTE_SHARED, with another person's face among them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import planted
import pytest
from drawn_head import draw_head
from planted import Clip, read_clip, write_clip

from emote_cli.evaluation.evaluate import MEASURES, measure
from emote_cli.evaluation.footage import Footage, watch
from emote_cli.media.audio import SPEECH_RATE_HZ
from emote_cli.media.video import read_frames
from emote_cli.perception.lip_reading import read_lips_from_sound, voice_energy
from emote_cli.perception.sface import SFace
from emote_cli.types import Waveform

MEDIA = Path(os.environ.get("EMOTE_SHARED", "none")) / "media"
REAL, STRANGER = MEDIA / "clips/WDA_AlexandriaOcasioCortez_000.mp4", MEDIA / "clips/WDA_BobMenendez_000.mp4"
SFACE = MEDIA.parent / "models/face_recognition_sface_2021dec.onnx"
NTSC = Fraction(30_000, 1001)
CHUNK = 12

TOLERANCE = {name: each.notable for name, each in MEASURES.items() if each.notable is not None} | {
    "timing.fps": 0.001,
    "timing.seconds": 0.01,
}
"""How far each number may move without a fault of its own."""


@dataclass(frozen=True)
class Fault:
    """What a fault does.

    Attributes:
        plant: draws it.
        moves: its own numbers, and between which differences they move.
        kin: beginnings of the names that say the same in other words; they may move, or get lost.
    """

    plant: Callable[[Clip], Clip]
    moves: Mapping[str, tuple[float, float]]
    kin: Sequence[str] = field(default=())


def moved_sound(later_ms: float, frame_ms: float = 40.0) -> Fault:
    own = {
        "sync.lag_ms": (-later_ms - frame_ms, -later_ms + frame_ms),
        "timing.sound_late_ms": (later_ms - 10, later_ms + 10),
    }
    return Fault(lambda clip: planted.shift_sound(clip, later_ms), own, ("lips.silence", "sync.confidence"))


FAULTS = {
    "sound 120 ms early": moved_sound(-120),
    "sound 40 ms late": moved_sound(40),
    "sound 200 ms late": moved_sound(200),
    "noise in the sound": Fault(planted.add_hiss, {"sound.noise_db": (8, 60)}, ("lips.silence", "sync.confidence")),
    "lips frozen": Fault(
        planted.freeze_lips,
        {
            "lips.correlation": (-2, -0.5),
            "lips.gap.amplitude": (-1, -0.7),
            "lips.jaw.amplitude": (-1, -0.3),
            "sync.correlation": (-2, -0.3),
        },
        ("lips.", "sync.", "mouth.inside"),
    ),
    "brightness drifts": Fault(planted.brighten, {"drift.brightness": (2, 9)}),
    "blur": Fault(
        planted.blur,
        {"sharpness.mouth_ratio": (-1, -0.5), "sharpness.eyes_ratio": (-1, -0.5)},
        ("drift.sharpness",),
    ),
    "grain beside the head": Fault(planted.add_grain, {"flicker.background": (1, 9)}),
    "a jump every 12 frames": Fault(planted.jump, {"seams": (1, 20)}),
    "half the blinks removed": Fault(planted.remove_blinks, {"blinks.per_minute": (-42, -30)}),
    "29.97 instead of 30 fps": Fault(
        lambda clip: planted.play_at(clip, NTSC),
        {"timing.fps": (-0.0301, -0.0299), "timing.fps_ratio": (-0.00101, -0.00099)},
    ),
}  # fmt: skip
AT_30 = "29.97 instead of 30 fps"


def complaints(found: Mapping[str, object], before: Mapping[str, object], fault: Fault) -> list[str]:
    """What of the fault's row is not as it should be; `before` are the true video's own numbers."""
    wrong = [f"{name} is not measured at all" for name in fault.moves if name not in before]
    for name, old in before.items():
        new = found.get(name)
        by = new - old if isinstance(new, float) and isinstance(old, float) else math.nan
        if name in fault.moves:
            least, most = fault.moves[name]
            if not least <= by <= most:
                wrong.append(f"{name} should move by {least:g} to {most:g}, and moves by {by:.3f} ({new})")
        elif name in TOLERANCE and isinstance(old, float) and not name.startswith(tuple(fault.kin)):
            if not abs(by) <= TOLERANCE[name]:
                wrong.append(f"{name} should stay within {TOLERANCE[name]:g}, and moves by {by:.3f} ({new})")
    return wrong


def check(video: Footage, truth: Footage, fault: Fault) -> None:
    person = truth.identity[0] if truth.identity.size else None
    before, found = (measure(each, truth, person, CHUNK) for each in (truth, video))
    assert complaints(found, before, fault) == []


# ------------------------------------------------------------------------------------ on a drawn head


@pytest.fixture(scope="module")
def drawn(portrait_path: Path, speech_path: Path) -> Clip:
    return draw_head(portrait_path, speech_path, 3.4, Fraction(30))


@pytest.fixture(scope="module")
def drawn_truth(drawn: Clip, tmp_path_factory: pytest.TempPathFactory) -> Footage:
    return watch(write_clip(drawn, tmp_path_factory.mktemp("drawn") / "true.mp4"))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_drawn_head_moves_its_own_numbers_and_no_other(
    name: str, drawn: Clip, drawn_truth: Footage, tmp_path: Path
) -> None:
    clip = FAULTS[name].plant(drawn)
    if clip.frames is drawn.frames and clip.fps == drawn.fps:
        video = hear_again(drawn_truth, clip)
    else:
        video = watch(write_clip(clip, tmp_path / "fault.mp4"))
    check(video, drawn_truth, FAULTS[name])


def hear_again(footage: Footage, clip: Clip) -> Footage:
    """The same pictures with another sound."""
    sound = Waveform(clip.sound, SPEECH_RATE_HZ)
    heard = read_lips_from_sound(sound, footage.fps, footage.n_frames)
    return replace(footage, heard=heard, energy=voice_energy(sound, sound.duration_s))


# ------------------------------------------------------------------------------------- on a real clip

SLOW = [
    pytest.mark.slow,
    pytest.mark.skipif(not (REAL.is_file() and SFACE.is_file()), reason="EMOTE_SHARED holds no clips"),
]
SECONDS = 6.0


@dataclass(frozen=True)
class Watched:
    """A clip, encoded without a fault and watched once."""

    clip: Clip
    truth: Footage
    sface: SFace


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return watch_real(None, tmp_path_factory.mktemp("real") / "true.mp4")


@pytest.fixture(scope="module")
def real_at_30(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return watch_real(Fraction(30), tmp_path_factory.mktemp("real") / "true30.mp4")


def watch_real(fps: Fraction | None, out: Path) -> Watched:
    clip, sface = read_clip(REAL, SECONDS, fps), SFace(SFACE)
    return Watched(clip, watch(write_clip(clip, out), sface), sface)


def check_real(real: Watched, fault: Fault, tmp_path: Path) -> None:
    video = write_clip(fault.plant(real.clip), tmp_path / "fault.mp4")
    check(watch(video, real.sface), real.truth, fault)


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW) for name in FAULTS if name != AT_30])
def test_a_fault_of_a_real_clip_moves_its_own_numbers_and_no_other(
    name: str, real: Watched, tmp_path: Path
) -> None:
    check_real(real, FAULTS[name], tmp_path)


@pytest.mark.parametrize("name", [pytest.param(AT_30, marks=SLOW)])
def test_another_frame_rate_moves_no_other_number(name: str, real_at_30: Watched, tmp_path: Path) -> None:
    check_real(real_at_30, FAULTS[name], tmp_path)


@pytest.mark.parametrize("name", [pytest.param("another person's face", marks=SLOW)])
def test_another_persons_face_is_seen_by_the_identity(name: str, real: Watched, tmp_path: Path) -> None:
    """Eyes and lips are her own; MediaPipe's jawOpen reads a quarter more in his face."""
    stranger = next(read_frames(STRANGER))
    own = dict.fromkeys(("identity.median", "identity.p5", "identity.worst_10s"), (-1.0, -0.4))
    kin = ("lips.jaw.amplitude", "drift.sharpness")
    check_real(real, Fault(lambda clip: planted.put_face(clip, stranger), own, kin), tmp_path)
