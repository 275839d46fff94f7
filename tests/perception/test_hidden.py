"""Covered mouths and closed eyes are noticed, usual photos are left in peace."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from emote_cli.animation.portrait import cut_portrait, list_doubts
from emote_cli.media.image import read_image
from emote_cli.perception.faces import FaceAnalyzer
from emote_cli.perception.hidden import are_eyes_closed, is_mouth_covered
from emote_cli.perception.landmarks import JAW
from emote_cli.zoo.locate import locate_bundled


@pytest.fixture(scope="module")
def portrait():
    from conftest import ASSETS

    path = ASSETS / "portrait.png"
    pixels = read_image(path)
    with FaceAnalyzer(locate_bundled("face_landmarker.task")) as analyzer:
        return cut_portrait(pixels, path, 256, analyzer.analyze(pixels))


def covered(portrait, kind):
    """The portrait with something before its mouth, with a little grain."""
    pixels, points = portrait.pixels.copy(), portrait.face.landmarks_px[:, :2]
    (left, right), middle = points[[61, 291]], points[13]
    width = float(right[0] - left[0])
    layer = np.zeros(pixels.shape[:2], np.uint8)
    if kind == "mask":
        shape = np.concatenate([points[list(JAW)], points[[280, 195, 50]]])
        cv2.fillPoly(layer, [shape.astype(np.int32)], 1)
        color = (160, 195, 220)
    elif kind == "microphone":
        cv2.circle(layer, tuple(int(v) for v in middle), int(0.55 * width), 1, -1)
        color = (32, 30, 30)
    else:
        corners = (middle + np.array([[-1.1, -0.5], [1.1, 1.2]]) * width).astype(int).tolist()
        cv2.rectangle(layer, *[tuple(corner) for corner in corners], 1, -1)
        x, y = points[50].astype(int)
        color = np.median(pixels[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3), 0) * 0.93
    grain = np.random.default_rng(1).normal(0, 2, pixels.shape)
    pixels[layer > 0] = np.clip(np.array(color) + grain, 0, 255)[layer > 0].astype(np.uint8)
    return replace(portrait, pixels=pixels)


@pytest.mark.parametrize("kind", ["mask", "microphone", "hand"])
def test_a_covered_mouth_is_noticed(portrait, kind):
    hidden = covered(portrait, kind)
    assert is_mouth_covered(hidden.pixels, hidden.face)
    assert sum("mouth" in line for line in list_doubts(hidden, 256)) == 1


@pytest.mark.parametrize("skin", [(1, 1, 1), (0.45, 0.36, 0.32), (0.25, 0.2, 0.18)])
def test_a_mouth_that_is_seen_is_not(portrait, skin):
    pixels = (portrait.pixels * np.array(skin)).astype(np.uint8)
    assert not is_mouth_covered(pixels, portrait.face)
    gray = np.repeat(portrait.pixels.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    assert not is_mouth_covered(gray, portrait.face)
    assert not are_eyes_closed(portrait.face)


def test_closed_eyes_are_noticed(portrait):
    shut = {**portrait.face.blendshapes, "eyeBlinkLeft": 0.7, "eyeBlinkRight": 0.6}
    closed = replace(portrait, face=replace(portrait.face, blendshapes=shut))
    assert sum("eyes" in line for line in list_doubts(closed, 256)) == 1
    winking = replace(portrait.face, blendshapes={**shut, "eyeBlinkRight": 0.1})
    assert not are_eyes_closed(winking)


def test_a_drawn_face_is_not_judged(portrait):
    drawn = replace(portrait.face, blendshapes={})
    assert not is_mouth_covered(np.zeros_like(portrait.pixels), drawn)
    assert not are_eyes_closed(drawn)
