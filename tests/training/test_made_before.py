"""A run and a data set that version 0.1.0 made (fixtures/made_by_0.1.0.zip) still load and go on."""

import zipfile
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from emote_cli.cli import app
from emote_cli.data.selection import read_dataset
from emote_cli.data.tracks import read_tracks
from emote_cli.model.checkpoint import load_model
from emote_cli.training.run_folder import is_finished, newest_checkpoint, stage_that_made
from emote_cli.zoo.locate import locate

MADE = Path(__file__).parent.parent / "fixtures" / "made_by_0.1.0.zip"


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    """Both, in the folder where they were made: the run names its data set relative to it."""
    with zipfile.ZipFile(MADE) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_model_of_the_run_loads(made):
    folder = locate(str(made / "run"))
    assert folder == made / "run" / "checkpoints" / "step-00000001" / "ema"
    assert stage_that_made(folder) == "image"
    assert is_finished(made / "run")
    model = load_model(folder)
    assert all(torch.isfinite(value).all() for value in model.parameters())


def test_the_data_set_loads(made):
    (record,) = read_dataset(made / "smalldata")
    assert (record.id, record.frames, record.has_audio) == ("one", 17, True)
    assert read_tracks(made / "smalldata", record)["landmarks_px"].shape == (17, 478, 3)


def test_the_run_goes_on(made):
    result = CliRunner().invoke(app, ["train", "--resume", "--out", "run", "--max-steps", "2"])
    assert result.exit_code == 0, result.output + repr(result.exception)
    newest = newest_checkpoint(made / "run")
    assert newest is not None
    assert newest.name == "step-00000002"
    before, after = (load_model(newest.with_name(f"step-0000000{step}") / "ema") for step in (1, 2))
    moved = [
        name for name, value in after.named_parameters() if not torch.equal(value, before.get_parameter(name))
    ]
    assert moved
    assert all(name.startswith(("face_locator.",)) for name in moved), "what the run had frozen stays frozen"
