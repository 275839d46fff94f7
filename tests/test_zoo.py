import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emote_cli.errors import WeightsError
from emote_cli.zoo import locate as zoo_locate
from emote_cli.zoo.catalog import FASTER_MODELS, KNOWN_MODELS, licence_text, registry
from emote_cli.zoo.locate import (
    check_folder,
    locate,
    locate_bundled,
    locate_separator,
    newest_ema,
    resolve_model,
    verify_sha256,
)
from emote_cli.zoo.lock import Locked, fault, model_of, read_lock, write_lock


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def sums(folder: Path, *names: str) -> None:
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A made-up place of the installed package."""
    monkeypatch.setattr(zoo_locate, "_PACKAGE", tmp_path / "emote_cli")
    return tmp_path / "emote_cli"


@pytest.fixture
def no_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_what_ships_is_found_in_a_checkout(package):
    expected = write(package.parent / "weights" / "face_landmarker.task")
    assert locate_bundled("face_landmarker.task") == expected


def test_what_ships_is_found_in_a_wheel_first(package):
    write(package.parent / "weights" / "face_landmarker.task")
    expected = write(package / "_bundled" / "face_landmarker.task")
    assert locate_bundled("face_landmarker.task") == expected


def test_what_is_absent_is_named(package):
    with pytest.raises(
        WeightsError, match=r"face_landmarker\.task is not part of this installation"
    ) as caught:
        locate_bundled("face_landmarker.task")
    assert "reinstall" in caught.value.hint


def test_the_face_landmarker_of_this_tree_is_there():
    assert locate_bundled("face_landmarker.task").stat().st_size > 1_000_000


def test_sha256(tmp_path):
    path = write(tmp_path / "a.bin", b"abc")
    verify_sha256(path, "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD")
    with pytest.raises(WeightsError, match=r"a\.bin is damaged"):
        verify_sha256(path, "0" * 64)
    with pytest.raises(WeightsError, match="is missing"):
        verify_sha256(tmp_path / "b.bin", "0" * 64)


def test_check_folder(tmp_path):
    write(tmp_path / "model.safetensors", b"1" * 101)
    write(tmp_path / "my settings.yaml", b"2" * 11)
    sums(tmp_path, "model.safetensors", "my settings.yaml")
    check_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"1" * 100)
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        check_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors is missing"):
        check_folder(tmp_path)


@pytest.mark.parametrize("text", [None, "", "\n", "no sums at all\n"])
def test_check_folder_wants_readable_sums(tmp_path, text):
    if text is not None:
        (tmp_path / "SHA256SUMS").write_text(text)
    with pytest.raises(WeightsError, match="SHA256SUMS"):
        check_folder(tmp_path)


def test_tiny_has_no_files():
    assert locate("tiny") is None


def test_mini_is_verified(package):
    folder = package / "_bundled" / "mini"
    write(folder / "model.safetensors", b"1" * 101)
    sums(folder, "model.safetensors")
    assert locate("mini") == folder
    write(folder / "model.safetensors", b"2" * 101)
    with pytest.raises(WeightsError, match="damaged"):
        locate("mini")


def test_what_is_not_installed_says_how_to_get_it(no_cache):
    with pytest.raises(WeightsError, match="model hallo is not installed") as caught:
        locate("hallo")
    assert caught.value.hint == "emote download hallo (about 5.8 GB)"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(WeightsError, match="model echomimik is unknown, and no such folder exists") as caught:
        locate("echomimik")
    assert caught.value.hint.startswith("did you mean echomimic? known: tiny, mini, sd15, hallo, echomimic")


def test_a_model_folder(tmp_path):
    write(tmp_path / "settings.yaml")
    with pytest.raises(WeightsError, match="holds no model"):
        locate(str(tmp_path))
    write(tmp_path / "model.safetensors")
    assert locate(str(tmp_path)) == tmp_path
    with pytest.raises(WeightsError, match=r"model\.safetensors is a file"):
        locate(str(tmp_path / "model.safetensors"))


def test_a_run_means_its_newest_complete_ema(tmp_path):
    for step in (9, 10, 2, 11):
        write(tmp_path / f"checkpoints/step-{step:08d}/ema/settings.yaml")
        if step != 11:
            write(tmp_path / f"checkpoints/step-{step:08d}/ema/model.safetensors")
    write(tmp_path / "checkpoints/step-latest/ema/settings.yaml")
    newest = tmp_path / "checkpoints/step-00000010/ema"
    assert locate(str(tmp_path)) == newest
    assert newest_ema(tmp_path / "checkpoints/step-00000002") == tmp_path / "checkpoints/step-00000002/ema"
    assert newest_ema(tmp_path / "checkpoints") is None


def test_steps_are_compared_as_numbers(tmp_path):
    for name in ("step-99999999", "step-100000000"):
        for file in ("settings.yaml", "model.safetensors"):
            write(tmp_path / "checkpoints" / name / "ema" / file)
    assert newest_ema(tmp_path) == tmp_path / "checkpoints/step-100000000/ema"


def lock_one(folder: Path, content: bytes) -> Locked:
    stat = write(folder / "a.safetensors", content).stat()
    digest = hashlib.sha256(content).hexdigest()
    locked = Locked("own/repo", "a.safetensors", "c" * 40, digest, digest, stat.st_size, stat.st_mtime_ns)
    write_lock(folder, "hallo", {"a.safetensors": locked})
    return locked


def test_the_lock_file_comes_back(tmp_path):
    locked = lock_one(tmp_path, b"1" * 101)
    assert read_lock(tmp_path) == {"a.safetensors": locked}
    assert model_of(tmp_path) == "hallo"
    assert [path.name for path in tmp_path.iterdir() if "lock" in path.name] == ["emote-lock.json"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"files": 3}', '{"files": {"a": {"repo": "b"}}}'])
def test_a_damaged_lock_file_is_named(tmp_path, text):
    (tmp_path / "emote-lock.json").write_text(text)
    with pytest.raises(WeightsError, match=r"emote-lock\.json is damaged"):
        read_lock(tmp_path)


def test_faults_of_an_installed_file(tmp_path):
    locked, path = lock_one(tmp_path, b"1" * 101), tmp_path / "a.safetensors"
    assert fault(path, locked) == ""
    assert fault(path, None) == "missing"
    write(path, b"1" * 101)
    assert fault(path, locked) == ""
    write(path, b"2" * 101)
    assert "sha256" in fault(path, locked)
    assert locate_error(tmp_path) == f"{path} is damaged (wrong sha256)"
    write(path, b"1" * 97)
    assert fault(path, locked) == "damaged (97 bytes, expected 101)"
    path.unlink()
    assert fault(path, locked) == "missing"


def locate_error(folder: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        locate(str(folder))
    return caught.value.message


def test_a_changed_byte_of_the_same_size_and_time_is_found_by_the_full_check(tmp_path):
    locked, path = lock_one(tmp_path, b"1" * 101), tmp_path / "a.safetensors"
    write(path, b"2" * 101)
    os.utime(path, ns=(locked.mtime_ns, locked.mtime_ns))
    assert fault(path, locked) == ""
    assert "sha256" in fault(path, locked, full=True)


def test_the_registry():
    table = registry()
    public = {"sd15", "hallo", "hallo2", "echomimic", "echomimic-6step"}
    assert {name for name in KNOWN_MODELS if name in table} == public
    for model in table.values():
        places = [file.to for file in model.files]
        assert len(set(places)) == len(places), model.name
        assert not model.base or model.base in table
        assert model.free_files
        for file in model.files:
            assert file.repo.count("/") == 1
            assert not file.to.endswith((".pth", ".pt", ".ckpt", ".bin")), "no pickle stays"
            program = file.to.endswith(".torchscript")
            assert program or Path(file.to).suffix in (".safetensors", ".json", ".onnx")
            assert not (program or file.url) or len(file.sha256) == 64, (
                "what can run code is known beforehand"
            )
            assert bool(file.url) == bool(file.n_bytes)
            assert not file.restricted or licence_text(file.restricted)
            assert ("non-commercial" in file.licence) == bool(file.restricted)


def test_locating_what_ships_needs_no_torch_and_no_hub():
    program = (
        "import sys\n"
        "from emote_cli.zoo.locate import locate_bundled, locate\n"
        "locate_bundled('face_landmarker.task'); locate('tiny')\n"
        "print([m for m in ('torch', 'huggingface_hub', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_is_loaded_is_what_is_downloaded():
    from emote_cli.animation.portrait_identity import FOLDER
    from emote_cli.model.loading import PARTS
    from emote_cli.perception.identity import DETECTOR, EMBEDDER

    table = registry()
    for name, parts in PARTS.items():
        models = [table[each] for each in (table[name].base, name) if each]
        assert {place for place, _ in parts} <= {file.to for model in models for file in model.files}
    for name, faster in FASTER_MODELS.items():
        assert table[faster].base == name
    assert {f"{FOLDER}/{DETECTOR}", f"{FOLDER}/{EMBEDDER}"} <= {file.to for file in table["hallo"].files}


def test_the_separator_lies_with_a_model_or_with_hallo(tmp_path, monkeypatch):
    monkeypatch.setattr("emote_cli.zoo.locate.home", lambda name: tmp_path / "hub" / name)
    with pytest.raises(WeightsError, match="not installed"):
        locate_separator(None)
    for place in (tmp_path / "hub" / "hallo", tmp_path / "own"):
        write(place / "audio_separator" / "Kim_Vocal_2.onnx", b"1" * 11)
        assert locate_separator(tmp_path / "own") == place / "audio_separator" / "Kim_Vocal_2.onnx"


def test_a_known_name_is_no_folder_that_happens_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mini", "own"):
        (tmp_path / name).mkdir()
    assert [resolve_model(name) for name in ("mini", "own", "gone")] == [
        "mini",
        str(tmp_path / "own"),
        "gone",
    ]
