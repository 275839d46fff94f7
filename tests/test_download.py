"""`emote download` against a hub on 127.0.0.1, through the public command."""

import errno
import hashlib
import io
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_hub import FakeHub
from safetensors import safe_open
from typer.testing import CliRunner

from emote_cli.cli import app
from emote_cli.errors import WeightsError
from emote_cli.settings import load_settings
from emote_cli.zoo.catalog import registry
from emote_cli.zoo.convert import convert
from emote_cli.zoo.locate import locate
from emote_cli.zoo.lock import read_lock
from emote_cli.zoo.transfer import Hub, Remote, partial_path
from emote_cli.zoo.transfer import fetch as fetch_one

HALLO = "fudan-generative-ai/hallo"
NET = "hallo/net.pth"
BIG = bytes(range(256)) * 4099
"""A large file of 1 MB and a bit."""


def pickled(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def weights_of(seed: int) -> dict[str, torch.Tensor]:
    rows = torch.arange(7 * 11, dtype=torch.float32).reshape(7, 11) + seed
    return {"module.a": rows, "module.a_transposed": rows.T, "module.b": torch.ones(3).half()}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with made-up contents of everything in the registry, and an empty cache."""
    fake = FakeHub()
    for model in registry().values():
        for index, file in enumerate(model.files):
            small = file.path.endswith(".json")
            content = b"{}" if small else pickled(weights_of(index)) if file.pickled else BIG
            fake.put(file.repo, file.path, content, lfs=not small)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", fake.endpoint)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield fake
    fake.close()


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """Nobody really waits; how long they would have."""
    asked: list[float] = []
    monkeypatch.setattr("emote_cli.zoo.transfer.time.sleep", asked.append)
    return asked


class Done:
    def __init__(self, *args: object) -> None:
        result = CliRunner().invoke(app, ["download", *map(str, args)], catch_exceptions=False)
        self.code, self.out = result.exit_code, result.stdout
        self.err = " ".join(result.stderr.split())


def unfinished(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.incomplete*"))


def test_a_model_is_fetched_converted_and_found(hub):
    done = Done("hallo")
    assert done.code == 0, done.err
    folder = locate("hallo")
    assert done.out == f"{folder}\n"
    assert "next: emote animate portrait.png speech.wav --model hallo" in done.err
    with safe_open(folder / "net.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["a", "a_transposed", "b"]
        for key, tensor in weights_of(0).items():
            assert torch.equal(file.get_tensor(key.removeprefix("module.")), tensor)
        source = hub.files[HALLO, hub.branches[HALLO, "main"], NET]
        assert file.metadata()["source_hash"] == source.etag
        assert file.metadata()["source"] == f"{HALLO}/{NET}@{hub.branches[HALLO, 'main']}"
    assert (folder / "wav2vec2/model.safetensors").read_bytes() == BIG
    assert (folder / "vae/diffusion_pytorch_model.safetensors").is_symlink()
    lock = read_lock(folder)
    assert lock["net.safetensors"].source_hash == source.etag
    assert lock["vae/config.json"].sha256 == hashlib.sha256(b"{}").hexdigest()
    assert unfinished(folder.parents[2]) == []


def test_the_second_time_nothing_is_asked(hub):
    Done("hallo")
    hub.requests.clear()
    done = Done("hallo")
    assert done.code == 0
    assert "hallo: all 6 files are here, verified" in done.err
    assert hub.requests == []


def test_other_programs_find_the_files_in_the_cache(hub):
    from huggingface_hub import hf_hub_download, scan_cache_dir

    Done("hallo")
    hub.requests.clear()
    path = hf_hub_download("stabilityai/sd-vae-ft-mse", "config.json", local_files_only=True)
    assert Path(path).read_text() == "{}"
    assert not scan_cache_dir().warnings


def test_models_share_what_they_have_in_common(hub):
    Done("hallo")
    hub.requests.clear()
    assert Done("sd15").code == 0
    assert sorted(hub.fetched()) == ["diffusion_pytorch_model.safetensors", "mm_sd_v15_v2.ckpt"]
    assert (locate("sd15") / "settings.yaml").is_file()


def test_restricted_files_wait_for_their_licence(hub):
    done = Done("hallo")
    assert "non-commercial research only" in done.err
    assert "add --accept-licence" in done.err
    assert not any("onnx" in request.path for request in hub.requests)
    hub.requests.clear()
    done = Done("hallo", "--accept-licence")
    assert done.code == 0
    assert "non-commercial research only" in done.err
    assert sorted(hub.fetched()) == ["glintr100.onnx"], "the other one has the same bytes"
    assert (locate("hallo") / "face_analysis/scrfd_10g_bnkps.onnx").read_bytes() == BIG
    assert "non-commercial research" not in Done("hallo").err


def test_a_plain_folder(hub, tmp_path):
    folder = tmp_path / "my weights"
    done = Done("echomimic", "--dir", folder)
    assert done.code == 0, done.err
    assert done.out == f"{folder}\n"
    assert not (tmp_path / "cache").exists()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".yaml"}
    assert not any(path.is_symlink() for path in files)
    assert locate(str(folder)) == folder
    assert Done("echomimic-6step", "--dir", folder).code == 0
    assert (folder / "denoising_unet_acc.safetensors").is_file()
    refused = Done("hallo", "--dir", folder)
    assert (refused.code, refused.out) == (1, "")
    assert f"error: {folder} already holds the model echomimic" in refused.err


def test_an_add_on_brings_its_base(hub):
    done = Done("echomimic-6step")
    assert done.code == 0
    assert done.out == f"{locate('echomimic')}\n"
    assert (locate("echomimic") / "motion_module_acc.safetensors").is_file()
    assert locate("echomimic-6step") == locate("echomimic")
    assert load_settings(locate("echomimic") / "settings.yaml").name == "echomimic"


def test_a_broken_transfer_goes_on_where_it_stopped(hub, waits):
    hub.cuts = [1000, len(BIG), 131_071, 0, 0, 1]
    assert Done("hallo-vocals").code == 0
    assert (locate("hallo") / "audio_separator/Kim_Vocal_2.onnx").read_bytes() == BIG
    assert any(request.range == "bytes=1000-" for request in hub.requests)
    assert any(request.range == "bytes=131072-" for request in hub.requests)
    assert waits == [1, 1, 2, 4, 1]


def test_a_dead_transfer_is_no_file_and_the_next_run_goes_on(hub, waits, tmp_path):
    Done("hallo")
    hub.cuts = [100_003] + [0] * 4
    done = Done("hallo-vocals")
    assert (done.code, done.out) == (1, "")
    assert "Kim_Vocal_2.onnx broke off" in done.err
    assert "hint: check the network, then run the same command again: it goes on" in done.err
    assert not (locate("hallo") / "audio_separator").exists()
    [partial] = (tmp_path / "cache").rglob("*.incomplete")
    assert partial.stat().st_size == 100_003
    hub.requests.clear()
    assert Done("hallo-vocals").code == 0
    assert [request.range for request in hub.requests if request.server == "store"] == ["bytes=100003-"]
    assert (locate("hallo") / "audio_separator/Kim_Vocal_2.onnx").read_bytes() == BIG


def test_a_model_that_broke_off_is_not_installed(hub, waits):
    hub.cuts = [0] * 5
    assert Done("hallo").code == 1
    with pytest.raises(WeightsError, match="model hallo is not installed"):
        locate("hallo")
    hub.cuts = [len(BIG) * 2] + [0] * 5
    assert Done("hallo").code == 1
    with pytest.raises(WeightsError, match="model hallo is not whole: vae/diffusion_pytorch_model"):
        locate("hallo")


def test_a_server_that_ignores_ranges(hub, waits):
    hub.ignore_range, hub.cuts = True, [100_003]
    assert Done("hallo").code == 0
    assert (locate("hallo") / "wav2vec2/model.safetensors").read_bytes() == BIG


@pytest.mark.parametrize("left_over", [b"?" * 1009, b"?" * len(BIG), b"?" * (len(BIG) + 13)])
def test_a_foreign_left_over_is_not_taken_for_a_beginning(hub, tmp_path, left_over, waits):
    target = tmp_path / "blob"
    remote = Remote(HALLO, "x.bin", hub.branches[HALLO, "main"], hub.put(HALLO, "x.bin", BIG).etag, len(BIG))
    partial_path(target).write_bytes(left_over)
    assert sum(fetch_one(Hub(), remote, target)) == len(BIG)
    assert target.read_bytes() == BIG
    assert unfinished(tmp_path) == []


def test_wrong_bytes_are_thrown_away(hub, tmp_path):
    hub.files[HALLO, hub.branches[HALLO, "main"], NET].served = pickled(weights_of(1))
    size = len(hub.files[HALLO, hub.branches[HALLO, "main"], NET].content)
    assert size == len(pickled(weights_of(1))), "the case is about equal sizes"
    done = Done("hallo")
    assert done.code == 1
    assert f"error: {HALLO}/{NET} arrived damaged" in done.err
    assert "HF_ENDPOINT" in done.err
    assert unfinished(tmp_path) == []
    assert not any(path.is_file() for path in (tmp_path / "cache").rglob("blobs/*"))


def test_a_small_file_is_verified_by_its_git_hash(hub):
    repo = "stabilityai/sd-vae-ft-mse"
    hub.files[repo, hub.branches[repo, "main"], "config.json"].served = b"[]"
    assert f"{repo}/config.json arrived damaged" in Done("hallo").err


@pytest.mark.parametrize(
    ("status", "headers", "message", "hint"),
    [
        (401, {}, "is refused (HTTP 401", "check HF_TOKEN"),
        (403, {}, "is refused (HTTP 403", "check HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, "needs its terms accepted", "accept them on its page"),
        (404, {}, "does not exist (HTTP 404", "update emote-cli, or check HF_ENDPOINT"),
        (404, {"X-Error-Code": "EntryNotFound"}, "does not exist (HTTP 404", "update emote-cli"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "has no such revision", "--revision"),
        (418, {}, "cannot be fetched (HTTP 418", "check HF_ENDPOINT"),
        (429, {"Retry-After": "3600"}, "too many requests, wait 3600 s", "wait, then run the same command"),
    ],
)
def test_refusals_are_one_line_and_a_hint(hub, waits, status, headers, message, hint):
    hub.failures = [(status, headers)]
    done = Done("hallo")
    assert (done.code, done.out) == (1, "")
    error, _, advice = done.err.partition("hint:")
    assert f"error: {HALLO}/{NET} " in error
    assert message in error
    assert hub.endpoint in error
    assert hint in advice
    assert waits == [], "what cannot pass is not tried again"
    assert len(hub.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(hub, waits, status):
    hub.failures = [(status, {})] * 4
    assert Done("hallo").code == 0
    assert waits == [1, 2, 4, 8]


def test_what_does_not_pass_is_given_up(hub, waits):
    hub.failures = [(503, {})] * 9
    done = Done("hallo")
    assert done.code == 1
    assert f"{NET} cannot be served now (HTTP 503 from {hub.endpoint})" in done.err
    assert len(waits) == 4


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({"Retry-After": "23"}, 23), ({"ratelimit": '"resolvers";r=0;t=29'}, 29), ({"Retry-After": "soon"}, 1)],
)
def test_the_hub_says_how_long_to_wait(hub, waits, headers, expected):
    hub.failures = [(429, headers)]
    assert Done("hallo").code == 0
    assert waits == [expected]


def test_failures_during_the_transfer_are_borne_too(hub, waits, tmp_path):
    stored = hub.put(HALLO, "x.bin", BIG)
    remote = Remote(HALLO, "x.bin", hub.branches[HALLO, "main"], stored.etag, len(BIG))
    hub.failures = [(503, {}), (429, {})]
    assert sum(fetch_one(Hub(), remote, tmp_path / "blob")) == len(BIG)
    hub.failures = [(403, {})]
    with pytest.raises(WeightsError, match="HTTP 403"):
        list(fetch_one(Hub(), remote, tmp_path / "again"))


def test_no_network(hub, waits):
    hub.close()
    done = Done("hallo")
    assert done.code == 1
    assert f"error: no connection to {hub.endpoint}:" in done.err
    assert "--offline" in done.err
    assert len(waits) == 2


def test_an_endpoint_that_is_no_hub(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "no-address")
    assert "error: HF_ENDPOINT is 'no-address'" in Done("hallo").err
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    hub.failures = [(200, {})]
    assert "states no commit, size and checksum" in Done("hallo").err


def test_the_token_stays_with_the_hub(hub):
    Done("hallo")
    tokens = {server: {r.token for r in hub.requests if r.server == server} for server in ("hub", "store")}
    assert tokens == {"hub": {"Bearer hf_secret"}, "store": {""}}


def test_a_small_disk_is_seen_before_the_first_byte(hub, monkeypatch, tmp_path):
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 17_000_000))
    done = Done("hallo", "--dir", tmp_path / "w")
    assert done.code == 1
    assert "error: hallo needs 19 MB in" in done.err
    assert "17 MB are free" in done.err
    assert {request.method for request in hub.requests} == {"HEAD"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up(hub, tmp_path):
    etag = hub.files[HALLO, hub.branches[HALLO, "main"], "audio_separator/Kim_Vocal_2.onnx"].etag
    Done("hallo", "--dir", tmp_path / "w")
    partial = partial_path(tmp_path / "w/.incomplete" / etag)
    partial.parent.mkdir()
    partial.symlink_to("/dev/full")
    done = Done("hallo-vocals", "--dir", tmp_path / "w")
    assert done.code == 1
    assert f"error: the disk is full while fetching {HALLO}/audio_separator/Kim_Vocal_2.onnx" in done.err
    assert "free some space and run the same command again" in done.err
    assert not (tmp_path / "w/audio_separator").exists()


def test_a_place_that_cannot_be_written(hub, tmp_path):
    (tmp_path / "file").write_text("")
    done = Done("hallo", "--dir", tmp_path / "file")
    assert done.code == 1
    assert "error: cannot write" in done.err


def test_a_disk_that_fills_up_during_conversion(hub, monkeypatch):
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("safetensors.torch.save_file", full)
    done = Done("hallo")
    assert "error: the disk is full" in done.err
    with pytest.raises(WeightsError, match="not installed"):
        locate("hallo")
    monkeypatch.undo()


def test_the_recorded_revision_is_kept_until_another_is_asked_for(hub):
    Done("hallo")
    old = read_lock(locate("hallo"))["net.safetensors"].commit
    new = hub.put(HALLO, NET, pickled(weights_of(5)), revision="next")
    vocals = "audio_separator/Kim_Vocal_2.onnx"
    hub.put(HALLO, vocals, BIG, revision="next")
    hub.branches[HALLO, "main"] = hub.branches[HALLO, "next"]
    (locate("hallo") / "net.safetensors").unlink()
    assert Done("hallo").code == 0
    assert read_lock(locate("hallo"))["net.safetensors"].commit == old
    assert Done("hallo", "--revision", "main").code == 0
    lock = read_lock(locate("hallo"))["net.safetensors"]
    assert (lock.commit, lock.source_hash) == (hub.branches[HALLO, "next"], new.etag)
    hub.requests.clear()
    assert Done("hallo").code == 0
    assert hub.requests == []
    assert Done("hallo-vocals").code == 0
    assert read_lock(locate("hallo"))[vocals].commit == hub.branches[HALLO, "next"]


def test_another_file_at_the_recorded_revision_is_refused(hub):
    Done("hallo")
    (locate("hallo") / "net.safetensors").unlink()
    hub.put(HALLO, NET, pickled(weights_of(5)))
    done = Done("hallo")
    assert done.code == 1
    assert "is not the file recorded at revision" in done.err


def test_an_unknown_revision(hub):
    assert f"error: {HALLO}/{NET} has no such revision" in Done("hallo", "--revision", "v77").err


def test_damage_is_found_and_mended(hub):
    Done("hallo")
    path = locate("hallo") / "wav2vec2/model.safetensors"
    path.resolve().write_bytes(BIG[:-1])
    with pytest.raises(WeightsError, match=r"wav2vec2/model\.safetensors is damaged"):
        locate("hallo")
    assert "in part" in Done("--list").out
    hub.requests.clear()
    assert Done("hallo").code == 0
    assert hub.fetched() == ["model.safetensors"]
    assert path.read_bytes() == BIG
    assert locate("hallo") == path.parents[1]


def test_offline_uses_what_the_cache_has(hub, monkeypatch):
    from huggingface_hub import hf_hub_download

    done = Done("hallo", "--offline")
    assert done.code == 1
    assert "error: offline, and 6 files of hallo are not on this disk: net.safetensors" in done.err
    assert hub.requests == []
    for file in registry()["hallo"].free_files:
        hf_hub_download(file.repo, file.path, endpoint=hub.endpoint)
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert Done("hallo").code == 0
    assert hub.requests == []
    assert (locate("hallo") / "wav2vec2/model.safetensors").read_bytes() == BIG


def test_offline_does_not_trust_a_damaged_cache(hub):
    from huggingface_hub import hf_hub_download

    for file in registry()["hallo"].free_files:
        path = hf_hub_download(file.repo, file.path, endpoint=hub.endpoint)
    Path(path).resolve().write_bytes(b"?" * len(BIG))
    assert "offline, and 1 files of hallo are not on this disk: wav2vec2" in Done("hallo", "--offline").err


class Evil:
    def __reduce__(self):
        return os.system, ("touch hacked",)


def test_a_pickle_that_holds_more_than_weights_is_refused(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.put(HALLO, NET, pickled({"a": torch.ones(3), "b": Evil()}))
    done = Done("hallo")
    assert done.code == 1
    commit = hub.branches[HALLO, "main"]
    assert f"error: {HALLO}/{NET}@{commit} holds more than weights" in done.err
    assert not (tmp_path / "hacked").exists()
    with pytest.raises(WeightsError, match="not installed"):
        locate("hallo")


def test_conversion_keeps_values_and_drops_wrappings(tmp_path):
    from safetensors.torch import load_file

    shared = torch.arange(13.0)
    state = {"epoch": 3, "state_dict": {"w": shared, "tied": shared, "tail": shared[5:], "note": "text"}}
    (tmp_path / "a.ckpt").write_bytes(pickled(state))
    convert(tmp_path / "a.ckpt", tmp_path / "b" / "a.safetensors", {"source": "x"})
    loaded = load_file(tmp_path / "b" / "a.safetensors")
    assert sorted(loaded) == ["tail", "tied", "w"]
    assert torch.equal(loaded["tied"], shared)
    assert torch.equal(loaded["tail"], shared[5:])
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"no pickle", "holds more than weights|cannot be read"),
        (pickle.dumps({"a": 1}, protocol=2), "holds no tensors|holds more than weights|cannot be read"),
        (pickled({"epoch": 3}), "holds no tensors"),
        (pickled([torch.ones(3)]), "holds no tensors"),
        (pickled({"a": torch.ones(999)})[:1500], "cannot be read|holds more than weights"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content, message):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        convert(tmp_path / "a.pth", tmp_path / "a.safetensors", {})
    assert not (tmp_path / "a.safetensors").exists()


def test_one_process_at_a_time(hub, tmp_path):
    from huggingface_hub.utils import WeakFileLock

    remote = Remote(HALLO, "x.bin", hub.branches[HALLO, "main"], hub.put(HALLO, "x.bin", BIG).etag, len(BIG))
    partial = partial_path(tmp_path / "blob")
    with (
        WeakFileLock(partial.with_name(partial.name + ".lock")),
        pytest.raises(WeightsError, match=r"another process is fetching .*x\.bin"),
    ):
        list(fetch_one(Hub(), remote, tmp_path / "blob"))
    assert not partial.exists()


def test_list(hub, tmp_path, monkeypatch):
    Done("echomimic")
    done = Done("--list")
    rows = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert {"tiny", "mini", *registry()} < set(rows)
    assert rows["hallo"].rstrip().endswith("no")
    assert "5.8 GB" in rows["hallo"]
    assert "InsightFace (non-commercial)" in rows["hallo"]
    assert HALLO in rows["hallo"]
    assert rows["echomimic"].rstrip().endswith("yes")
    assert Done().out == done.out
    monkeypatch.chdir(tmp_path)
    Done("hallo", "--dir", "w")
    assert re.search(r"^ *hallo .* w +yes *$", Done("--list", "--dir", "w").out, re.MULTILINE)


def test_names(hub):
    done = Done("helo")
    assert (done.code, done.out) == (1, "")
    assert "error: model helo is unknown" in done.err
    assert "did you mean hallo? known: sd15, hallo" in done.err
    done = Done("tiny", "mini")
    assert done.code == 0
    assert "mini comes with emote: nothing to fetch" in done.err
    assert Done("hallo", "sd15", "--dir", "w").code == 2
    assert hub.requests == []


def test_the_environment_names_mirror_and_place(hub, tmp_path):
    hub.failures = [(404, {})]
    done = subprocess.run(
        [sys.executable, "-m", "emote_cli", "download", "sd15"],
        env=os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert f"(HTTP 404 from {hub.endpoint})" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
