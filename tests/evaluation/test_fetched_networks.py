"""From `emote download metrics` to numbers: true names and shapes, random weights, a hub on 127.0.0.1."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_hub import FakeHub
from stand_in_networks import Piece
from torch import nn
from typer.testing import CliRunner

from emote_cli.cli import app
from emote_cli.evaluation.evaluate import evaluate
from emote_cli.evaluation.learned.inception import Inception
from emote_cli.evaluation.learned.networks import any_fetched, open_networks
from emote_cli.evaluation.learned.syncnet import SyncNet
from emote_cli.evaluation.sets import measure_set
from emote_cli.evaluation.summary import truths_of
from emote_cli.zoo.catalog import registry
from emote_cli.zoo.locate import home

METRICS = registry()["metrics"]


def archive(network: nn.Module) -> bytes:
    """A pickle as old PyTorch wrote it: no counters."""
    file = io.BytesIO()
    state = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    torch.save(state, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def program() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Piece()), file)
    return file.getvalue()


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """The folder of all networks but SFace's, fetched by the command."""
    contents = {
        "syncnet.safetensors": archive(SyncNet()),
        "inception.safetensors": archive(Inception()),
        "i3d.torchscript": program(),
    }
    hub, files = FakeHub(), []
    for file in METRICS.files[1:]:
        content = contents[file.to]
        hub.put(file.repo, file.path, content)
        known = replace(file, sha256=hashlib.sha256(content).hexdigest())
        if file.url:
            commit = hub.branches[file.repo, "main"]
            url = f"{hub.address('store')}/{file.repo}@{commit}/{file.path}"
            known = replace(known, url=url, n_bytes=len(content))
        files.append(known)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setitem(registry(), "metrics", replace(METRICS, files=tuple(files)))
    assert run("download", "metrics")[0] == 0
    hub.close()
    return home("metrics")


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    return result.exit_code, " ".join((result.stdout + result.stderr).split())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_was_fetched_is_opened_and_measures(fetched: Path, faces: Path, tmp_path):
    assert any_fetched()
    networks = open_networks()
    assert networks is not None
    assert networks.names == "inception i3d syncnet"
    assert open_networks() is networks, "opened once"
    found = evaluate(faces / "one.mp4", faces / "one.mp4", keep=tmp_path)
    of_set = measure_set([found], truths_of([found]), force_small=True)
    assert of_set.numbers["fid"] == pytest.approx(0, abs=1e-6)
    assert of_set.samples["fid"].startswith(
        "6 frames of 1 video against 6 frames of 1 video of true ones, forced"
    )
    assert of_set.not_measured["fvd"] == "there are no pieces of 16 frames with a face"
    (fetched / "syncnet.safetensors").write_bytes(b"cut off")
    code, said = run("evaluate", faces / "one.mp4")
    assert code == 1
    assert "syncnet.safetensors is damaged (7 bytes, expected" in said
    assert "emote download metrics" in said
    assert "Traceback" not in said
