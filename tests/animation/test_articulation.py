"""How far the lips are moved beyond what the model says."""

import numpy as np
import pytest
import torch

from emote_cli.animation.aids.articulation import (
    FAR,
    LEAST,
    MOST,
    USUAL,
    Articulation,
    articulate,
    find_loudest,
)
from emote_cli.animation.aids.masks import draw_mouth_mask
from emote_cli.animation.chunks import plan_chunks
from emote_cli.perception.landmarks import CHIN, LIPS
from emote_cli.types import Box, Face, Waveform


def face(*, found: bool = True) -> Face:
    """Lips on an ellipse around (32, 44), the chin at (32, 56)."""
    landmarks = np.zeros((478, 3), np.float32)
    angle = np.linspace(0, 2 * np.pi, len(LIPS), endpoint=False)
    landmarks[list(LIPS), :2] = np.stack([32 + 6 * np.cos(angle), 44 + 3 * np.sin(angle)], 1)
    landmarks[CHIN, :2] = 32, 56
    return Face(Box(12, 4, 52, 60), landmarks, np.eye(4, dtype=np.float32), {"jawOpen": 0.1} if found else {})


def test_the_mask_is_at_the_mouth():
    mask = draw_mouth_mask(face(), 64)
    assert mask[44, 32] > 0.95
    assert mask[52, 32] > 0.9
    assert mask[20].max() < 0.01
    assert mask[:, :14].max() < 0.01, "a little beyond the lips"
    assert np.abs(np.diff(mask, axis=0)).max() < 0.3, "no hard edge"


def test_a_drawn_box_says_nothing_of_the_mouth():
    assert np.array_equal(draw_mouth_mask(face(found=False), 64), np.ones((64, 64)))


@pytest.mark.parametrize("times", [1.0, 2.5])
def test_short_ways_are_stretched_and_long_ones_less(times):
    rest = torch.full((1, 1, 2, 3, 3), 2.0)
    lips = Articulation(rest, torch.full((3, 3), times), FAR)
    for length in (0.01, FAR, 5 * FAR):
        way = torch.full((1, 4, 2, 3, 3), length / 2**0.5)
        shown = (lips.stretch(rest + way) - rest) / way
        assert torch.allclose(shown, torch.tensor(1 + (times - 1) / (1 + (length / FAR) ** 2)), rtol=1e-3)


def test_only_the_mouth_is_stretched():
    silent, speech = torch.zeros(1, 3, 2, 16, 16), torch.ones(1, 3, 2, 16, 16)
    loud = speech * USUAL / 2**0.5
    near = articulate(silent, loud * 0.01, 2.0, face(), 64, 0.01).stretch(speech)
    assert near.max() < 1.01, "in latents of a smaller scale the same way is long"
    shown = articulate(silent, loud, 2.0, face(), 64, 1.0).stretch(speech)
    assert shown[..., 11, 8].min() > 1.85
    assert torch.equal(shown[..., :4, :], speech[..., :4, :])


@pytest.mark.parametrize(
    ("length", "share"),
    [(USUAL, 1), (USUAL / 2, 2), (USUAL / 1.5, 1.5), (USUAL / 90, MOST), (0, MOST), (99, LEAST)],
)
def test_lips_that_go_less_far_are_stretched_more(length, share):
    silent = torch.full((1, 3, 2, 16, 16), 5.0)
    loud = silent + length / 2**0.5
    times = articulate(silent, loud, 3.0, face(), 64, 1.0).times
    assert times[11, 8] == pytest.approx(1 + 2 * share, rel=0.05)
    assert articulate(silent, loud, 1.0, face(), 64, 1.0).times.unique().tolist() == [1], (
        "1 is as the model says"
    )


def test_where_the_mouth_is_not_known_all_is_stretched_as_told():
    silent = torch.zeros(1, 3, 2, 16, 16)
    times = articulate(silent, silent + 0.01, 3.0, face(found=False), 64, 1.0).times
    assert times.unique().tolist() == [3]


def test_the_loudest_chunk_is_found():
    samples = np.zeros(16_000, np.float32)
    samples[9_000:9_600] = 0.5
    samples[2_000:9_000] = 0.01
    chunks = plan_chunks(25, 4)
    assert find_loudest(Waveform(samples, 16_000), chunks, 25) == chunks[3]
    assert find_loudest(Waveform(samples[:8_000] * 0, 16_000), chunks[:3], 25) in chunks[:3]
