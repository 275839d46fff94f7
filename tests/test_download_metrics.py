"""`emote download metrics` from a hub on 127.0.0.1: known files, one of no hub, and what is refused."""

import hashlib
import io
from dataclasses import replace

import pytest
import torch
from fake_hub import FakeHub
from typer.testing import CliRunner

from emote_cli.cli import app
from emote_cli.errors import WeightsError
from emote_cli.zoo.catalog import registry
from emote_cli.zoo.locate import home, locate_metric
from emote_cli.zoo.transfer import Hub, Remote, fetch

METRICS = registry()["metrics"]
OUTSIDE = next(file for file in METRICS.files if file.url)


def content_of(path: str) -> bytes:
    """Something of the right kind: an archive of tensors, or bytes."""
    if not path.endswith((".model", ".pth")):
        return path.encode() * 1000
    file = io.BytesIO()
    torch.save({path: torch.arange(1000.0)}, file)
    return file.getvalue()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub whose files are known beforehand, as the true ones are; one lies outside of it."""
    fake, files = FakeHub(), []
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", fake.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for file in METRICS.files:
        content = content_of(file.path)
        fake.put(file.repo, file.path, content)
        known = replace(file, sha256=hashlib.sha256(content).hexdigest() if file.sha256 else "")
        if file.url:
            commit = fake.branches.pop((file.repo, "main"))
            url = f"{fake.address('store')}/{file.repo}@{commit}/{file.path}"
            known = replace(known, url=url, n_bytes=len(content))
        files.append(known)
    monkeypatch.setitem(registry(), "metrics", replace(METRICS, files=tuple(files)))
    yield fake
    fake.close()


def download(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["download", "metrics", *arguments], catch_exceptions=False)
    return result.exit_code, " ".join(result.stderr.split())


def test_all_come_and_are_found(hub):
    code, said = download()
    assert code == 0, said
    assert "next: emote evaluate VIDEO" in said
    for file in METRICS.files:
        assert locate_metric(file.to) == home("metrics") / file.to
    assert not list(home("metrics").glob(".incomplete*"))
    hub.requests.clear()
    assert "verified" in download()[1]
    assert not hub.requests
    outside = home("metrics") / OUTSIDE.to
    assert outside.is_file()
    assert not outside.is_symlink()


def test_no_token_goes_to_another_server(hub):
    download()
    asked = [request for request in hub.requests if request.path.endswith(OUTSIDE.path)]
    assert len(asked) == 1
    assert asked[0].token == ""


def test_one_that_broke_off_goes_on(hub, monkeypatch):
    monkeypatch.setattr("emote_cli.zoo.transfer.time.sleep", lambda seconds: None)
    hub.cuts += [10**9] * (len(METRICS.files) - 1) + [1000]
    code, said = download()
    assert code == 0, said
    assert [request.range for request in hub.requests if request.path.endswith(OUTSIDE.path)][
        -1
    ] == "bytes=1000-"


def test_another_file_than_the_known_one_is_refused_before_a_byte_is_fetched(hub):
    syncnet = next(file for file in METRICS.files if file.to == "syncnet.safetensors")
    hub.put(syncnet.repo, syncnet.path, b"something else" * 100)
    code, said = download()
    assert code == 1
    assert "auxiliary/syncnet_v2.model is another file than it was" in said
    assert "do not trust this mirror" in said
    assert not hub.fetched()


def test_wrong_bytes_from_outside_are_thrown_away(hub):
    (stored,) = (file for (_, _, path), file in hub.files.items() if path == OUTSIDE.path)
    stored.served = b"?" * len(stored.content)
    code, said = download()
    assert code == 1
    assert "arrived damaged" in said
    assert "update emote-cli" in said
    assert "HF_ENDPOINT" not in said, "it names no other place of this file"
    assert locate_metric(OUTSIDE.to) is None


def test_a_file_that_left_its_own_address_is_sought_at_no_mirror(hub, tmp_path):
    gone = Remote("a/b", "c", "", "0" * 64, 10, url=f"{hub.endpoint}/gone")
    with pytest.raises(WeightsError, match="does not exist") as caught:
        list(fetch(Hub(), gone, tmp_path / "c"))
    assert "update emote-cli" in caught.value.hint
    assert "HF_ENDPOINT" not in caught.value.hint


def test_a_damaged_one_is_named_and_mended(hub):
    download()
    path = home("metrics") / OUTSIDE.to
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"inception\.safetensors is damaged") as caught:
        locate_metric(OUTSIDE.to)
    assert caught.value.hint == "emote download metrics"
    assert download()[0] == 0
    assert locate_metric(OUTSIDE.to) == path
