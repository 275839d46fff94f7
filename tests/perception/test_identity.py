"""Face identity: the geometry against other ways of computing it, the networks as tiny ONNX files made here."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from emote_cli.animation.portrait_identity import FOLDER, add_identity
from emote_cli.errors import WeightsError
from emote_cli.perception.identity import (
    DETECTOR,
    EMBEDDER,
    PLACES,
    Detection,
    IdentityReader,
    align,
    choose,
    fit,
    similarity,
    without_repeats,
)
from emote_cli.settings import load_preset
from emote_cli.types import Box, Face, Portrait

SIDE = 640
POINTS = np.array([[-2.0, -3.0], [2.0, -3.0], [0.0, 0.0], [-1.5, 2.5], [1.5, 2.5]])
"""Of the made-up face, from its anchor, in strides."""


def save(path: Path, outputs: dict[str, np.ndarray], image: list, extra=()) -> None:
    """A network that gives the same outputs for every picture; `extra` nodes may use its input `image`."""
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value.astype(np.float32)))
        for name, value in outputs.items()
    ]
    shapes = {name: list(value.shape) for name, value in outputs.items()}
    for node, shape in extra:
        nodes.append(node)
        shapes[node.output[0]] = shape
    graph = helper.make_graph(
        nodes,
        "made-up",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)


def save_detector(folder: Path, faces: dict[int, list[tuple[int, int, float]]]) -> None:
    """SCRFD's outputs for faces per stride: (column, row, score), each 8 strides wide and 10 high."""
    scores, edges, points = [], [], []
    for stride in (8, 16, 32):
        cells = SIDE // stride
        score = np.zeros((cells * cells * 2, 1))
        for column, row, sure in faces.get(stride, []):
            score[2 * (row * cells + column) + 1] = sure  # the second guess of the cell
        scores.append(score)
        edges.append(np.tile([4.0, 5.0, 4.0, 5.0], (len(score), 1)))
        points.append(np.tile(POINTS.reshape(-1), (len(score), 1)))
    named = {
        f"{kind}{level}": value
        for kind, values in (("score", scores), ("edges", edges), ("points", points))
        for level, value in enumerate(values)
    }
    save(folder / DETECTOR, named, [1, 3, "h", "w"])


def save_embedder(folder: Path) -> None:
    """The 'embedding' is the mean of the red, green and blue channel of what the network is shown."""
    pool = helper.make_node("GlobalAveragePool", ["image"], ["pooled"])
    flat = helper.make_node("Flatten", ["pooled"], ["embedding"])
    graph = helper.make_graph(
        [pool, flat], "made-up",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 112, 112])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, folder / EMBEDDER)


@pytest.fixture
def folder(tmp_path) -> Path:
    place = tmp_path / FOLDER
    place.mkdir()
    save_embedder(place)
    save_detector(place, {16: [(20, 12, 0.9)]})
    return place


def test_a_similarity_is_found_again():
    angle, scale, shift = 0.4, 1.7, np.array([31.0, -12.5])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (PLACES - shift) @ np.linalg.inv(turn).T
    found = similarity(points)
    np.testing.assert_allclose(found, np.column_stack([turn, shift]), atol=1e-9)


def umeyama(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The textbook way, by a singular value decomposition (Umeyama 1991)."""
    here, there = points - points.mean(0), places - places.mean(0)
    left, values, right = np.linalg.svd(there.T @ here / len(points))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    turn = left @ np.diag(signs) @ right
    scale = (values * signs).sum() / here.var(0).sum()
    return np.column_stack([scale * turn, places.mean(0) - scale * turn @ points.mean(0)])


def test_noisy_points_give_the_textbooks_least_squares():
    rng = np.random.default_rng(5)
    for _ in range(20):
        points = PLACES * rng.uniform(0.5, 6) + rng.normal(0, 9, (5, 2)) + rng.uniform(-200, 200, 2)
        np.testing.assert_allclose(similarity(points), umeyama(points, PLACES), rtol=1e-9, atol=1e-9)


def test_aligned_points_lie_at_their_places():
    pixels = np.zeros((300, 400, 3), np.uint8)
    points = np.array([[150.0, 110], [230, 104], [193, 150], [160, 190], [226, 186]])
    for channel, point in zip((0, 1, 2), points[[0, 2, 4]], strict=True):
        cv2.circle(
            pixels, tuple(int(v) for v in point), 6, [255 * (index == channel) for index in range(3)], -1
        )
    face = align(pixels, points)
    assert face.shape == (112, 112, 3)
    moved = (np.column_stack([points, np.ones(5)]) @ similarity(points).T)[[0, 2, 4]]
    for channel, place in enumerate(moved):
        rows, columns = np.nonzero(face[..., channel] > 200)
        np.testing.assert_allclose([columns.mean(), rows.mean()], place, atol=0.6)


def test_a_picture_is_fitted_into_the_square():
    wide, scale = fit(np.full((100, 320, 3), 200, np.uint8), SIDE)
    assert scale == 2.0
    assert (wide[:200] == 200).all()
    assert (wide[200:] == 0).all()
    high, scale = fit(np.full((1280, 960, 3), 9, np.uint8), SIDE)
    assert scale == 0.5
    assert (high[:, :480] == 9).all()
    assert (high[:, 480:] == 0).all()


def test_detection_is_read_from_anchors_and_strides(folder):
    save_detector(folder, {8: [(10, 20, 0.6)], 32: [(12, 3, 0.8)]})
    pixels = np.zeros((320, 320, 3), np.uint8)  # enlarged twice
    first, second = IdentityReader(folder).detect(pixels)
    assert first.score == pytest.approx(0.8)
    corner = np.array([12 * 32, 3 * 32])
    assert first.box == Box(*(value / 2 for value in (384 - 128, 96 - 160, 384 + 128, 96 + 160)))
    np.testing.assert_allclose(first.points, (corner + 32 * POINTS) / 2)
    assert second.box.width == 8 * 8 / 2


def test_unsure_and_repeated_detections_are_dropped(folder):
    save_detector(folder, {16: [(20, 12, 0.7), (21, 12, 0.9), (5, 5, 0.49)]})
    (only,) = IdentityReader(folder).detect(np.zeros((SIDE, SIDE, 3), np.uint8))
    assert only.score == pytest.approx(0.9)
    apart = [Detection(Box(x, 0, x + 10, 10), POINTS, 0.5 + x / 100) for x in (0, 9)]
    assert len(without_repeats(apart)) == 2


def test_the_largest_inside_is_chosen():
    boxes = [Box(0, 0, 10, 10), Box(20, 20, 50, 50), Box(90, 90, 200, 200)]
    found = [Detection(box, POINTS, 0.9) for box in boxes]
    assert choose(found, Box(0, 0, 60, 60)) is found[1]
    assert choose(found, Box(60, 0, 80, 60)) is None


def test_the_embedder_sees_rgb_around_zero(folder):
    pixels = np.zeros((400, 400, 3), np.uint8)
    pixels[:] = (255, 127, 0)
    points = PLACES + 140
    red, green, blue = IdentityReader(folder).embed(pixels, points)
    assert (red, blue) == (pytest.approx(1), pytest.approx(-1))
    assert green == pytest.approx(-0.5 / 127.5, abs=1e-4)


@pytest.fixture
def portrait() -> Portrait:
    face = Face(Box(80, 40, 180, 160), np.zeros((478, 3)), np.eye(4), {})
    return Portrait(np.zeros((256, 256, 3), np.uint8), face, Box(150, 20, 500, 370), Path("somebody.png"))


def hallo():
    preset = load_preset("hallo")
    family = preset.family.model_copy(update={"identity_embedding": 3})
    return preset.model_copy(update={"family": family})


def test_a_portrait_gets_its_identity_from_the_photo(folder, portrait):
    photo = np.full((SIDE, SIDE, 3), 255, np.uint8)
    told, unknown = add_identity(portrait, photo, folder.parent, hallo())
    assert unknown == []
    np.testing.assert_allclose(told.identity, 1)


def test_a_face_that_the_photo_is_too_large_for_is_sought_in_the_square(folder, portrait):
    save_detector(folder, {16: [(3, 3, 0.9)]})  # in the photo that is outside of the portrait's square
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    square = replace(portrait, pixels=np.full((256, 256, 3), 255, np.uint8))
    told, unknown = add_identity(square, photo, folder.parent, hallo())
    assert unknown == []
    assert told.identity is not None
    assert told.identity.min() > -0.9  # the photo is black: it would give -1


def test_an_unknown_identity_is_said_aloud(folder, portrait, tmp_path):
    photo = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert add_identity(portrait, photo, tmp_path, load_preset("mini")) == (portrait, [])
    save_detector(folder, {})
    told, (line,) = add_identity(portrait, photo, folder.parent, hallo())
    assert told.identity is None
    assert "finds no face in somebody.png" in line
    (folder / EMBEDDER).unlink()
    for model in (folder.parent, None):
        told, (line,) = add_identity(portrait, photo, model, hallo())
        assert told.identity is None
        assert EMBEDDER in line
        assert "emote download hallo --accept-licence" in line


def test_foreign_and_damaged_networks_are_named(folder, portrait):
    photo = np.full((SIDE, SIDE, 3), 255, np.uint8)
    with pytest.raises(WeightsError, match="gives 3 numbers, the model takes 512"):
        add_identity(portrait, photo, folder.parent, load_preset("hallo"))
    save_embedder(folder)
    (folder / DETECTOR).write_bytes((folder / EMBEDDER).read_bytes())
    with pytest.raises(WeightsError, match="has 1 outputs"):
        IdentityReader(folder)
    (folder / DETECTOR).write_bytes(b"no network")
    with pytest.raises(WeightsError, match="is damaged"):
        IdentityReader(folder)
