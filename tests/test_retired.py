"""Settings that have no effect any more: files that hold them still load, and one line says so."""

import warnings

import pytest

from emote_cli.cli import _show_warning
from emote_cli.data.selection import DataSettings
from emote_cli.errors import SettingsError
from emote_cli.settings import ModelSettings, load_preset
from emote_cli.settings_tree import RetiredSetting, override, parse_settings
from emote_cli.training.request import Request, plan
from emote_cli.training.settings import load_recipe

OLD = ("sampling.near_pose=80", "sampling.crop=6", "data.steady=true", "step.teach=0.5")


def test_a_run_of_before_goes_on_without_them(tmp_path):
    request = Request(stage="image", model="tiny", data="d", assignments=(*OLD, "batch=6"))
    with pytest.warns(RetiredSetting) as told:
        (stage,) = plan(request, tmp_path)
    assert {str(each.message).split("=")[0] for each in told} == {
        f"the setting {key}" for key in ("near_pose", "crop", "steady", "teach")
    }
    assert stage.settings == override(load_recipe("tiny", "image"), ["batch=6"])


def test_what_never_meant_anything_is_passed_over_in_silence():
    values = load_preset("tiny").model_dump()
    values["autoencoder"]["tile_above"] = 1024
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_settings(ModelSettings, values, "test") == load_preset("tiny")
        assert parse_settings(DataSettings, {"steady": False}, "test") == DataSettings()
    values["autoencoder"]["tile_above"] = 64
    with pytest.warns(RetiredSetting, match="tile_above=64 has no effect"):
        assert parse_settings(ModelSettings, values, "test") == load_preset("tiny")


@pytest.mark.parametrize("key", ["sampling.crops", "data.steady.x", "steady"])
def test_other_unknown_keys_stay_errors(key):
    with pytest.raises(SettingsError, match="unknown setting"):
        override(load_recipe("tiny", "image"), [f"{key}=1"])


def test_the_command_says_it_in_one_line(capsys):
    _show_warning(RetiredSetting("the setting crop=6 has no effect"), RetiredSetting, "settings.py", 1)
    assert capsys.readouterr().err == "warning: the setting crop=6 has no effect\n"


def test_aids_are_found_where_older_files_have_them():
    values = load_preset("mini").model_dump()
    aids = values.pop("aids")
    assert parse_settings(ModelSettings, {**values, **aids}, "test") == load_preset("mini")
    asked = override(load_preset("tiny"), ["idle_motion=true", "aids.smoothing=2"])
    assert (asked.aids.idle_motion, asked.aids.smoothing) == (True, 2)
