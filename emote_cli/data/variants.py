"""More clips out of few: altered copies of each, cached beside it.

A copy is mirrored or not, a little larger or smaller, moved and turned, in other colors; its sound is louder or
softer, with noise and in a room; and all of it is played faster or slower, which makes another voice too. Copy number k
of a clip is always the same. What is told of the face is moved with the picture; what the lips do stays as it was.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int

from emote_cli.perception.fourier import resample
from emote_cli.types import Pixels, Waveform

Affine = Float[np.ndarray, "2 3"]
Affines = Float[np.ndarray, "frames 2 3"]

ECHO_DECAY = 6.9
"""Natural logarithms in 60 dB: an echo has died away after its length."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How one copy of a clip differs from it.

    Attributes:
        mirrored: left and right exchanged.
        scale: of the picture, about its center.
        angle_deg: by which it is turned.
        shift: to the right and down, as a share of the side.
        gain: contrast of red, green and blue.
        lift: what is added to them, 0 ... 255.
        level_db: of the sound.
        noise_db: white noise against the sound; None is none.
        room_s: how long an echo lasts; 0 is none.
        seed: of noise and echo.
        tempo: seconds of the clip in a second of the copy.
    """

    mirrored: bool
    scale: float
    angle_deg: float
    shift: tuple[float, float]
    gain: tuple[float, float, float]
    lift: tuple[float, float, float]
    level_db: float
    noise_db: float | None
    room_s: float
    seed: int
    tempo: float = 1.0

    def order(self, count: int) -> Int[np.ndarray, " frames"]:
        """Which of the clip's `count` frames the copy shows, one after another."""
        return (
            ((np.arange(max(int(count / self.tempo), 1)) + 0.5) * self.tempo).astype(int).clip(0, count - 1)
        )

    def affine(self, size: int) -> Affine:
        """The map of the picture's points, for squares of `size` pixels."""
        middle = (size - 1) / 2
        turned = cv2.getRotationMatrix2D((middle, middle), self.angle_deg, self.scale)
        turned[:, 2] += np.array(self.shift) * size
        if self.mirrored:
            turned[0] = np.array([0, 0, size - 1]) - turned[0]
        return np.asarray(turned, np.float64)

    def recolor(self, frame: Pixels) -> Pixels:
        """Give a frame this copy's colors."""
        gain, lift = (np.array(each, np.float32) for each in (self.gain, self.lift))
        values = (frame.astype(np.float32) - 127.5) * gain + 127.5 + lift
        return np.clip(values, 0, 255).round().astype(np.uint8)

    def alter_sound(self, speech: Waveform) -> Waveform:
        """Make the sound of this copy, in its tempo (and pitch)."""
        rng, samples = np.random.default_rng(self.seed), speech.samples
        if self.tempo != 1:
            rate = speech.sample_rate_hz
            samples = resample(samples, rate * self.tempo, rate)
        if self.room_s:
            length = round(self.room_s * speech.sample_rate_hz)
            echo = rng.normal(size=length) * np.exp(-ECHO_DECAY * np.arange(length) / length)
            whole = len(samples) + length
            wet = np.fft.irfft(np.fft.rfft(samples, whole) * np.fft.rfft(echo, whole), whole)[: len(samples)]
            samples = samples + 0.5 * wet * (measure_rms(samples) / max(measure_rms(wet), 1e-9))
        if self.noise_db is not None:
            samples = samples + rng.normal(size=len(samples)) * measure_rms(samples) * 10 ** (
                self.noise_db / 20
            )
        louder = np.clip(samples * 10 ** (self.level_db / 20), -1, 1)
        return Waveform(louder.astype(np.float32), speech.sample_rate_hz)


def warp(frame: Pixels, affine: Affine) -> Pixels:
    """Move a frame by an affine map; what comes in from outside repeats the edge."""
    height, width = frame.shape[:2]
    moved = cv2.warpAffine(
        frame, affine, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.uint8)


def move_boxes(boxes_px: Float[np.ndarray, "frames 4"], affines: Affines) -> Float[np.ndarray, "frames 4"]:
    """Put boxes around what the maps make of the corners of boxes."""
    corners = boxes_px[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2)
    moved = np.einsum("fij,fkj->fki", affines[:, :, :2], corners) + affines[:, None, :, 2]
    return np.concatenate([moved.min(1), moved.max(1)], 1).astype(boxes_px.dtype)


def measure_rms(samples: Float[np.ndarray, " samples"]) -> float:
    """Measure how loud sound is: the root of its mean square."""
    return float(np.sqrt(np.square(samples).mean())) if len(samples) else 0.0


def variant_of(clip: str, number: int) -> Variant | None:
    """Draw copy `number` of a clip, always the same; None for number 0, the clip itself.

    Args:
        clip: its id.
        number: from 0.
    """
    if number == 0:
        return None
    seed = int.from_bytes(hashlib.sha256(f"{clip} {number}".encode()).digest()[:8], "little")
    rng = np.random.default_rng(seed)
    gain = rng.uniform(0.6, 1.2) * rng.uniform(0.92, 1.08, 3)
    lift = rng.uniform(-26, 18) + rng.uniform(-6, 6, 3)
    across, down = rng.uniform(-0.04, 0.04, 2)
    return Variant(
        mirrored=bool(number % 2),
        scale=float(rng.uniform(0.9, 1.12)),
        angle_deg=float(rng.uniform(-4, 4)),
        shift=(float(across), float(down)),
        gain=(float(gain[0]), float(gain[1]), float(gain[2])),
        lift=(float(lift[0]), float(lift[1]), float(lift[2])),
        level_db=float(rng.uniform(-8, 6)),
        noise_db=float(rng.uniform(-40, -15)) if rng.random() < 0.5 else None,
        room_s=float(rng.uniform(0.1, 0.4)) if rng.random() < 0.4 else 0.0,
        seed=seed,
        tempo=float(np.exp(rng.uniform(-0.14, 0.14))),
    )
