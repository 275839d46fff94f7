"""The same video gives the same numbers, whatever else is measured and with however many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn_head import draw_head
from planted import brighten, write_clip

from emote_cli.evaluation.evaluate import evaluate
from emote_cli.evaluation.footage import Footage, watch


@pytest.fixture(scope="module")
def videos(portrait_path: Path, speech_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("repeatable")
    clip = draw_head(portrait_path, speech_path, 1.0, Fraction(25))
    return [write_clip(clip, folder / "one.mp4"), write_clip(brighten(clip), folder / "two.mp4")]


def assert_equal(ours: Footage, theirs: Footage) -> None:
    for each in fields(Footage):
        np.testing.assert_array_equal(getattr(ours, each.name), getattr(theirs, each.name), each.name)


def test_two_runs_give_the_same_numbers(videos: list[Path]) -> None:
    one, two = videos
    first, second = evaluate(one, two), evaluate(one, two)
    assert len(first.numbers) > 25
    assert first.numbers == second.numbers
    assert first.not_measured == second.not_measured


def test_numbers_depend_neither_on_threads_nor_on_other_videos(videos: list[Path]) -> None:
    alone, threads, cv_threads = watch(videos[0]), torch.get_num_threads(), cv2.getNumThreads()
    try:
        torch.set_num_threads(threads + 2)
        cv2.setNumThreads(cv_threads + 2)
        with ThreadPoolExecutor() as pool:
            beside_another, _ = pool.map(watch, videos)
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)
    assert_equal(beside_another, alone)
