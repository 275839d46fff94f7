"""Settings from anywhere: every number has a largest value, files of ill will are one line."""

import math

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from emote_cli.data.prepare.settings import PrepareSettings, gather_settings
from emote_cli.data.selection import read_split
from emote_cli.errors import EmoteError, InputError, SettingsError, WeightsError
from emote_cli.model.checkpoint import load_model, random_model, save_model
from emote_cli.settings import ModelSettings, load_preset, load_settings
from emote_cli.settings_tree import Settings, list_keys, override, parse_settings

TINY = load_preset("tiny")


def numbers(kind: type[Settings]) -> list[str]:
    """All settings that hold a number, by their dotted names."""
    values = (
        kind.model_construct().model_dump(mode="json")
        if kind is PrepareSettings
        else TINY.model_dump(mode="json")
    )
    found = []
    for key in list_keys(kind):
        value = values
        for part in key.split("."):
            value = value[part]
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.append(key)
    return found


@pytest.mark.parametrize("key", numbers(ModelSettings))
@pytest.mark.parametrize("value", [10**12, -(10**12), ".inf", ".nan"])
def test_no_setting_of_a_model_is_absurd(key, value):
    with pytest.raises(SettingsError) as raised:
        override(TINY, [f"{key}={value}"])
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("widths", [[], [0], [10**9], [4] * 40])
@pytest.mark.parametrize(
    "key", ["unet.block_channels", "autoencoder.block_channels", "face_locator.channels"]
)
def test_no_width_is_absurd(key, widths):
    with pytest.raises(SettingsError):
        override(TINY, [f"{key}={widths}"])


@pytest.mark.parametrize("key", numbers(PrepareSettings))
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_settings_of_prepare_are_numbers(key, value):
    with pytest.raises(SettingsError):
        parse_settings(PrepareSettings, {key: value}, "test")


BAD_FILES = {
    "deep.yaml": "[" * 20_000,
    "deep.json": '{"a":' * 20_000,
    "loop.yaml": "&a [*a]",
    "binary.yaml": b"\xff\xfe\x00\x01",
    "tab.yaml": "a:\n\t- b",
    "words.yaml": "just words",
    "date.yaml": "fps: 2024-99-99",
    "key.yaml": f"{'x' * 5000}: 1",
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("read", [load_settings, lambda p: gather_settings(p, [], {}), read_split])
def test_files_of_ill_will_are_one_line(tmp_path, name, read):
    content = BAD_FILES[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if read is read_split and name in ("words.yaml", "loop.yaml"):  # lists may have any names
        read(tmp_path / name)
        return
    with pytest.raises(EmoteError) as raised:
        read(tmp_path / name)
    assert len(raised.value.message) < 500
    assert "\n" not in raised.value.message


def test_a_folder_or_nothing_is_no_settings(tmp_path):
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(SettingsError):
            load_settings(path)
        with pytest.raises(SettingsError):
            gather_settings(path, [], {})
        with pytest.raises(InputError):
            read_split(path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value, dtype):
    save_model(random_model(TINY), tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = {name: values.to(dtype) for name, values in load_file(path).items()}
    save_file(tensors, path)
    load_model(tmp_path)
    name = sorted(tensors)[7]
    tensors[name].view(-1)[-1] = value
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=f"holds no numbers in {name}"):
        load_model(tmp_path)


def test_presets_keep_within_the_bounds():
    for name in ("tiny", "mini", "sd15", "hallo", "echomimic"):
        assert yaml.safe_dump(load_preset(name).model_dump(mode="json"))
