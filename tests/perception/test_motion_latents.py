"""Motion latents: there and back, from one face to another."""

import numpy as np
import pytest
import torch

from emote_cli.perception.motion_latents import Grid, groups, mean_face

FACE = torch.from_numpy((mean_face() * 61 + (131, 97)).astype(np.float32))


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid(FACE, 16, 256)


def opened(face: torch.Tensor, by: float) -> torch.Tensor:
    """The face with its lower lip, chin and jaw farther down."""
    moved = face.clone()
    for which in groups()[2:4]:
        moved[which, 1] += by
    return moved


def test_each_landmark_has_one_group() -> None:
    assert sorted(np.concatenate(groups()).tolist()) == list(range(478))


def test_what_is_encoded_comes_back(grid: Grid) -> None:
    moved = opened(FACE, 9.0)[None]
    back = grid.decode(grid.encode(moved))
    gap = float(back[0, 14, 1] - back[0, 13, 1]) - float(FACE[14, 1] - FACE[13, 1])
    assert abs(gap - 9) < 0.5
    assert (back - moved).abs().mean() < 0.3


def test_the_portrait_itself_is_its_place(grid: Grid) -> None:
    assert torch.allclose(grid.encode(FACE[None]), grid.place(), atol=1e-5)
    assert torch.allclose(grid.decode(grid.place())[0], FACE, atol=1e-3)


def test_motion_opens_a_smaller_face_in_proportion(grid: Grid) -> None:
    small = (FACE - 128) * 0.7 + 120
    other = Grid(small, 16, 256)
    motion = grid.encode(opened(FACE, 10.0)[None]) - grid.place()
    # The maps lie on the grid of the picture: move them as the face lies.
    own = other.encode(opened(small, 7.0)[None]) - other.place()
    assert float(own.abs().max()) == pytest.approx(float(motion.abs().max()), rel=0.35)
