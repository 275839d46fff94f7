"""The face mesh: whole, and a picture follows it."""

import numpy as np

from emote_cli.perception.face_mesh import fill_mouth, mesh_points, similarity, triangles, warp_field
from emote_cli.perception.motion_latents import mean_face

FACE = (mean_face() * 31 + (67, 53)).astype(np.float32)


def test_every_point_of_the_face_is_a_corner() -> None:
    corners = triangles()
    assert set(range(468)) <= set(corners.ravel().tolist())
    assert all(len(set(row)) == 3 for row in corners.tolist())


def test_a_still_face_comes_from_where_it_is() -> None:
    field = warp_field(FACE, FACE, 131, 149)
    y, x = np.mgrid[:149, :131]
    assert np.abs(field - np.stack([x, y], -1)).max() < 0.05


def test_a_moved_point_comes_from_its_place_in_the_portrait() -> None:
    moved = FACE.copy()
    moved[:, 1] += 5
    field = warp_field(moved, FACE, 131, 149)
    x, y = np.round(moved[5]).astype(int)
    assert np.abs(field[y, x] - (x, y - 5)).max() < 0.3
    assert np.abs(field[2, 2] - (2, 2)).max() < 0.1, "far from the head nothing moves"


def test_the_ring_follows_the_head_and_the_rim_stands_still() -> None:
    moved = mesh_points(FACE + np.float32(4), FACE) - mesh_points(FACE, FACE)
    assert np.allclose(moved[:468], 4, atol=1e-3)
    assert np.allclose(moved[468:504], 3.2, atol=1e-2)
    assert np.allclose(moved[504:], 0, atol=1e-4)


def test_similarity_finds_turn_scale_and_shift() -> None:
    turn = 1.3 * np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    found = similarity(FACE, (FACE @ turn.T + (3, -7)).astype(np.float32))
    assert np.allclose(found, np.column_stack([turn, (3, -7)]), atol=1e-3)


def test_an_open_mouth_is_filled_a_closed_one_hardly() -> None:
    wide = FACE.copy()
    wide[[95, 88, 178, 87, 14, 317, 402, 318, 324], 1] += 10
    assert fill_mouth(wide, 131, 149).sum() > 4 * fill_mouth(FACE, 131, 149).sum()
