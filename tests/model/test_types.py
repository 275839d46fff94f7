"""Shapes are checked in every test run: these tests fail where the checks are off."""

import jaxtyping
import pytest
import torch
from small_models import build, condition, make_batch, timesteps

from emote_cli.model.attention import Attention, attend, keys_values
from emote_cli.model.speed import SpeedEncoder
from emote_cli.settings import SpeedSettings


def test_a_wrong_shape_raises():
    layer = Attention(14, 2, 11)
    memory = keys_values(layer, torch.zeros(3, 5, 11))
    assert attend(layer, torch.zeros(3, 7, 14), memory).shape == (3, 7, 14)
    with pytest.raises(jaxtyping.TypeCheckError):
        attend(layer, torch.zeros(3, 7, 2, 7), memory)


def test_a_wrong_number_type_raises():
    encoder = SpeedEncoder(SpeedSettings(buckets=5, width=7, margin=1))
    assert encoder(torch.zeros(2, 11, 3)).shape == (2, 11, 7)
    with pytest.raises(jaxtyping.TypeCheckError):
        encoder(torch.zeros(2, 11, 3, dtype=torch.long))


def test_the_same_letter_means_the_same_size():
    model = build()
    batch = make_batch(model.settings)
    with pytest.raises(jaxtyping.TypeCheckError):
        model(batch.target, timesteps(2), condition(model, batch))
