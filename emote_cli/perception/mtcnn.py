"""MTCNN, the face detector by which EchoMimic's own program cuts portraits out: three small networks in a row.

The first looks at the picture in many sizes for squares that may hold a face, the second and the third look at each
of them again, drop most and move the rest's edges. Joint Face Detection and Alignment using Multi-task Cascaded
Convolutional Networks, arXiv 1604.02878. The weights and constants are those of facenet-pytorch 2.5.0, to whose boxes
these are equal (to 0.001 pixels on 949 pictures).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from emote_cli.errors import WeightsError
from emote_cli.types import Box, Pixels
from emote_cli.zoo.locate import WEIGHTS_NAME, check_folder, locate_bundled

FOLDER = "mtcnn"
"""Of the bundled weights."""
_SMALLEST_FACE = 20
"""Side of the smallest face that is looked for, in pixels."""
_CELL, _STRIDE = 12, 2
"""Side of what the first network sees at a place, and from place to place, in pixels of the shrunk picture."""
_SHRINK = 0.709
"""From one size of the picture to the next."""
_LIKELY, LEAST_SCORE = 0.6, 0.7
"""From which score on the first network's squares are looked at again, and the others' are faces."""
_STRIP = 256
"""Rows that the first network looks at together: memory does not grow with the picture's height."""

Boxes = Float[Tensor, "boxes 4"]
Scores = Float[Tensor, " boxes"]
Look = Callable[[Float[Tensor, "boxes 3 side side"]], tuple[Boxes, Scores]]


class SeenFace(NamedTuple):
    """A face as MTCNN sees it: its box in pixels of the picture, and how sure it is, 0.7..1."""

    box: Box
    score: float


@lru_cache(maxsize=1)
def load_mtcnn() -> Mtcnn | None:
    """The detector that ships; None in an installation without it.

    Raises:
        WeightsError: its weights are damaged.
    """
    try:
        folder = locate_bundled(FOLDER)
    except WeightsError:
        return None
    check_folder(folder)
    return Mtcnn(load_file(folder / WEIGHTS_NAME))


class Mtcnn:
    """The three networks.

    Args:
        weights: `pnet.`, `rnet.` and `onet.`, then facenet-pytorch's names.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = weights

    @torch.inference_mode()
    def detect(self, pixels: Pixels) -> list[SeenFace]:
        """All faces of a picture, the surest first.

        EchoMimic's program hands over blue, green, red, which is reproduced here.

        Args:
            pixels: uint8 [height, width, 3], red first.
        """
        picture = torch.from_numpy(np.ascontiguousarray(pixels[..., ::-1])).permute(2, 0, 1)[None].float()
        boxes, _ = self._propose(picture)
        boxes, edges, scores = self._judge(picture, boxes, self._look_again, 24)
        kept = drop_repeats(boxes, scores, 0.7)
        boxes = _move(boxes[kept], edges[kept], 1)
        boxes, edges, scores = self._judge(picture, boxes, self._look_closely, 48)
        boxes = _move(boxes, edges, 1)
        kept = drop_repeats(boxes, scores, 0.7, pixel=1, by_smaller=True)
        return [SeenFace(Box(*boxes[i].tolist()), float(scores[i])) for i in kept.tolist()]

    def _propose(self, picture: Float[Tensor, "1 3 height width"]) -> tuple[Boxes, Scores]:
        """The first network on the picture in all sizes: squares that may hold a face."""
        found: list[tuple[Boxes, Boxes, Scores]] = []
        for scale in _scales(*picture.shape[2:]):
            size = [int(length * scale + 1) for length in picture.shape[2:]]
            edges, scores = self._scan(_normalize(functional.interpolate(picture, size=size, mode="area")))
            rows, columns = torch.nonzero(scores >= _LIKELY, as_tuple=True)
            corners = torch.stack([columns, rows], 1).float() * _STRIDE
            boxes = torch.cat([((corners + 1) / scale).floor(), ((corners + _CELL) / scale).floor()], 1)
            likely = scores[rows, columns]
            kept = drop_repeats(boxes, likely, 0.5)
            found.append((boxes[kept], edges[:, rows, columns].T[kept], likely[kept]))
        if not found:
            return torch.zeros(0, 4), torch.zeros(0)
        boxes, moves, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
        kept = drop_repeats(boxes, scores, 0.7)
        return _move(boxes[kept], moves[kept], 0), scores[kept]

    def _scan(
        self, picture: Float[Tensor, "1 3 height width"]
    ) -> tuple[Float[Tensor, "4 rows columns"], Float[Tensor, "rows columns"]]:
        """Edges and scores at every place of a shrunk picture, strip by strip."""
        rows = math.ceil((picture.shape[2] - 2) / _STRIDE) - 4
        strips = []
        for top in range(0, rows, _STRIP):
            part = picture[:, :, top * _STRIDE : (top + _STRIP) * _STRIDE + _CELL - _STRIDE]
            maps = self._convolve("pnet", part, pools=(2, 0, 0))
            raw = [self._apply("pnet", name, maps, functional.conv2d) for name in ("conv4_1", "conv4_2")]
            strips.append((raw[0].softmax(1)[0, 1], raw[1][0]))
        scores, edges = zip(*strips, strict=True)
        return torch.cat(edges, 1), torch.cat(scores)

    def _judge(
        self,
        picture: Float[Tensor, "1 3 height width"],
        boxes: Float[Tensor, "proposed 4"],
        look: Look,
        side: int,
    ) -> tuple[Boxes, Boxes, Scores]:
        """What a network makes of the squares around boxes: those that are faces, their edges, and how sure it is."""
        squares = make_square(boxes)
        corners = _corners(squares, *picture.shape[2:])
        inside = (corners[:, 2:] > corners[:, :2]).all(1)
        squares, corners = squares[inside], corners[inside]
        if not len(squares):
            return squares, squares, torch.zeros(0)
        parts = [
            functional.interpolate(picture[:, :, y0:y1, x0:x1], size=(side, side), mode="area")
            for x0, y0, x1, y1 in corners.tolist()
        ]
        edges, scores = look(_normalize(torch.cat(parts)))
        sure = scores > LEAST_SCORE
        return squares[sure], edges[sure], scores[sure]

    def _look_again(self, squares: Float[Tensor, "boxes 3 24 24"]) -> tuple[Boxes, Scores]:
        maps = self._convolve("rnet", squares, pools=(3, 3, 0))
        return self._read("rnet", maps, ("dense4", "prelu4"), ("dense5_1", "dense5_2"))

    def _look_closely(self, squares: Float[Tensor, "boxes 3 48 48"]) -> tuple[Boxes, Scores]:
        maps = self._convolve("onet", squares, pools=(3, 3, 2, 0))
        return self._read("onet", maps, ("dense5", "prelu5"), ("dense6_1", "dense6_2"))

    def _read(
        self, net: str, maps: Float[Tensor, "boxes c h w"], hidden: tuple[str, str], out: tuple[str, str]
    ) -> tuple[Boxes, Scores]:
        """How a network's edges lie to its square, and its scores."""
        flat = maps.transpose(1, 3).flatten(1)  # columns before rows before channels, as it was trained
        states = functional.prelu(
            self._apply(net, hidden[0], flat, functional.linear), self.weights[f"{net}.{hidden[1]}.weight"]
        )
        scores, edges = (self._apply(net, name, states, functional.linear) for name in out)
        return edges, scores.softmax(1)[:, 1]

    def _convolve(
        self, net: str, maps: Float[Tensor, "b c h w"], pools: tuple[int, ...]
    ) -> Float[Tensor, "b _ _ _"]:
        """A network's convolutions, each with its pooling (its width; 0: none)."""
        for number, pool in enumerate(pools, 1):
            maps = self._apply(net, f"conv{number}", maps, functional.conv2d)
            maps = functional.prelu(maps, self.weights[f"{net}.prelu{number}.weight"])
            if pool:
                maps = functional.max_pool2d(maps, pool, 2, ceil_mode=True)
        return maps

    def _apply(self, net: str, layer: str, values: Tensor, how: Callable[..., Tensor]) -> Tensor:
        return how(values, self.weights[f"{net}.{layer}.weight"], self.weights[f"{net}.{layer}.bias"])


def _scales(height: int, width: int) -> Iterator[float]:
    """By how much the picture is shrunk (or enlarged), so that faces of all sizes fill a cell."""
    scale = _CELL / _SMALLEST_FACE
    shorter = min(height, width) * scale
    while shorter >= _CELL:
        yield scale
        scale, shorter = scale * _SHRINK, shorter * _SHRINK


def _normalize(picture: Tensor) -> Tensor:
    return (picture - 127.5) * 0.0078125


def _corners(squares: Boxes, height: int, width: int) -> Int[Tensor, "boxes 4"]:
    """First pixels and those behind the last of squares, as far as they lie in the picture."""
    whole = squares.trunc().int()
    return torch.cat([whole[:, :2].clamp(min=1) - 1, whole[:, 2:].minimum(torch.tensor([width, height]))], 1)


def make_square(boxes: Boxes) -> Boxes:
    """The squares around the boxes' centers, as large as their longer sides."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.amax(1, keepdim=True)
    low = boxes[:, :2] + size * 0.5 - side * 0.5
    return torch.cat([low, low + side], 1)


def _move(boxes: Boxes, edges: Boxes, pixel: int) -> Boxes:
    """Move each edge by its share of the box's width or height, to which `pixel` is added."""
    size = (boxes[:, 2:] - boxes[:, :2] + pixel).repeat(1, 2)
    return boxes + edges * size


def drop_repeats(
    boxes: Boxes, scores: Scores, most: float, *, pixel: int = 0, by_smaller: bool = False
) -> Int[Tensor, " kept"]:
    """Which boxes stay, the surest first: of those that share much of their area only the surest.

    Args:
        boxes: in pixels.
        scores: of each.
        most: of the area that two may share.
        pixel: is added to widths and heights.
        by_smaller: compare the shared area with the smaller box, not with both together.
    """
    order, kept = scores.argsort(descending=True, stable=True), []
    areas = (boxes[:, 2:] - boxes[:, :2] + pixel).prod(1)
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(int(first))
        low, high = boxes[rest, :2].maximum(boxes[first, :2]), boxes[rest, 2:].minimum(boxes[first, 2:])
        both = (high - low + pixel).clamp(min=0).prod(1)
        whole = areas[rest].minimum(areas[first]) if by_smaller else areas[rest] + areas[first] - both
        order = rest[~(both / whole > most)]
    return torch.tensor(kept, dtype=torch.long)
