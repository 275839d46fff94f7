"""MTCNN: the boxes that facenet-pytorch draws, whatever the picture's size, and no fall over odd pictures."""

import numpy as np
import pytest
import torch

from emote_cli.media.image import read_image
from emote_cli.perception import mtcnn
from emote_cli.perception.mtcnn import Mtcnn, drop_repeats, load_mtcnn, make_square

PUBLISHED = (182.87753296, 62.66369247, 269.12136841, 173.24072266)
"""What facenet-pytorch 2.5.0 draws in tests/assets/portrait.png, read blue first."""


@pytest.fixture(scope="module")
def detector() -> Mtcnn:
    made = load_mtcnn()
    assert made is not None
    return made


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from conftest import ASSETS

    return read_image(ASSETS / "portrait.png")


def edges(seen: mtcnn.SeenFace) -> list[float]:
    return [seen.box.x0, seen.box.y0, seen.box.x1, seen.box.y1]


def test_the_published_box(detector, photo):
    (seen,) = detector.detect(photo)
    assert edges(seen) == pytest.approx(PUBLISHED, abs=0.01)
    assert seen.score == pytest.approx(0.99945658, abs=1e-5)


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_strips_are_seamless(detector, photo, monkeypatch, rows: int):
    part = photo if rows > 1 else photo[:160, 140:300]
    once = [edges(one) for one in detector.detect(part)]
    monkeypatch.setattr(mtcnn, "_STRIP", rows)
    assert len(once) == 1
    assert [edges(one) for one in detector.detect(part)] == [pytest.approx(one, abs=0.01) for one in once]


def test_two_faces(detector, photo):
    face = photo[:256, 90:346]
    both = detector.detect(np.concatenate([face, face[:, ::-1]], 1))
    left, right = sorted(edges(one) for one in both)
    assert left == pytest.approx([x - 90 * (1 - i % 2) for i, x in enumerate(PUBLISHED)], abs=4)
    mirrored = [512 - right[2], right[1], 512 - right[0], right[3]]
    assert mirrored == pytest.approx(left, abs=0.04 * (left[2] - left[0]))


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (19, 19), (20, 20), (21, 64), (300, 20)])
def test_small_and_narrow_pictures(detector, size):
    noise = np.random.default_rng(5).integers(0, 256, (*size, 3)).astype(np.uint8)
    for picture in (np.zeros_like(noise), noise):
        assert detector.detect(picture) == []


@pytest.mark.parametrize(
    ("top", "left", "cut"),
    [(70, 0, np.s_[70:, :]), (0, 0, np.s_[:, :260]), (0, 0, np.s_[:160, :]), (0, 180, np.s_[:165, 180:])],
)
def test_a_face_at_the_edge_is_where_it_was_and_its_box_reaches_over(detector, photo, top, left, cut):
    part = np.ascontiguousarray(photo[cut])
    (seen,) = detector.detect(part)
    x0, y0, x1, y1 = edges(seen)
    assert [x0 + left, y0 + top, x1 + left, y1 + top] == pytest.approx(PUBLISHED, abs=20)
    assert min(x0, y0) < 0 or x1 > part.shape[1] or y1 > part.shape[0]


def test_repeats():
    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 5, 5], [30, 30, 40, 40]]).float()
    scores = torch.tensor([0.8, 0.9, 0.95, 0.7])
    assert drop_repeats(boxes, scores, 0.5).tolist() == [2, 1, 3]
    assert drop_repeats(boxes, scores, 0.9).tolist() == [2, 1, 0, 3]
    assert drop_repeats(boxes, scores, 0.5, pixel=1, by_smaller=True).tolist() == [2, 3]
    assert drop_repeats(boxes[:0], scores[:0], 0.5).tolist() == []


def test_squares():
    made = make_square(torch.tensor([[0.0, 0.0, 10.0, 4.0], [2.0, 3.0, 4.0, 13.0]]))
    assert made.tolist() == [[0, -3, 10, 7], [-2, 3, 8, 13]]
