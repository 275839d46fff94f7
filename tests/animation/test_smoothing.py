"""Frames that are averaged with their neighbors, though they are made chunk by chunk."""

import pytest
import torch

from emote_cli.animation.aids.smoothing import Track, average


def latents(frames: int) -> torch.Tensor:
    return torch.randn(1, frames, 2, 3, 3, generator=torch.Generator().manual_seed(frames))


def shown(made: torch.Tensor, reach: int, chunk: int) -> list[torch.Tensor]:
    """What can be seen after each chunk."""
    track, parts = Track(reach, 2, made[:, :0]), []
    for start in range(0, made.shape[1], chunk):
        part = made[:, start : start + chunk]
        is_last = start + chunk >= made.shape[1]
        seen, track = track.extend(part, is_last=is_last)
        assert is_last or torch.equal(track.motion, part[:, -2:])
        parts.append(seen)
    return parts


def test_nearer_frames_count_more():
    beat = torch.zeros(1, 9, 1, 1, 1)
    beat[:, 4] = 9
    assert average(beat, 2).flatten().tolist() == pytest.approx([1, 2, 3, 2, 1])
    rise = torch.arange(9.0).view(1, 9, 1, 1, 1)
    assert average(rise, 3).flatten().tolist() == pytest.approx([3, 4, 5])
    assert torch.equal(average(rise, 0), rise)


@pytest.mark.parametrize("frames", [12, 15, 1, 2])
@pytest.mark.parametrize("reach", [0, 1, 2, 3])
def test_chunks_make_no_difference(frames, reach):
    made = latents(frames)
    still = torch.cat([made[:, :1]] * reach + [made] + [made[:, -1:]] * reach, 1)
    parts = shown(made, reach, chunk=6)
    assert torch.allclose(torch.cat(parts, 1), average(still, reach), atol=1e-6)
    if frames > 6:
        assert parts[0].shape[1] == 6 - reach, "what lacks its neighbors waits"


def test_a_track_can_be_laid_aside():
    made = latents(12)
    first, track = Track(2, 1, made[:, :0]).extend(made[:, :6], is_last=False)
    again = Track(2, 1, torch.from_numpy(track.latents.numpy()))
    rest, _ = again.extend(made[:, 6:], is_last=True)
    assert torch.equal(torch.cat([first, rest], 1), torch.cat(shown(made, 2, 6), 1))
