"""What `--golden-dir` takes: a set, one of its two parts, a flat folder; nothing that leaves every test skipped."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

spec = importlib.util.spec_from_file_location("golden_conftest", Path(__file__).parent / "conftest.py")
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"case": "x"}')
    return folder


def configure(asked: object) -> None:
    golden.pytest_configure(SimpleNamespace(getoption=lambda *_, **__: asked and str(asked)))


def test_a_set_and_its_parts(tmp_path):
    whole = make(tmp_path / "golden", "cases/masks.json", "frontends/identity.json")
    both = [whole / "cases", whole / "frontends"]
    assert golden.folders_of(whole) == both
    for part in both:
        assert set(golden.folders_of(part)) == set(both)
        configure(part)
    configure(f"{whole}/")
    single = make(tmp_path / "other", "frontends/identity.json")
    assert golden.folders_of(single) == golden.folders_of(single / "frontends")[:1] == [single / "frontends"]
    flat = make(tmp_path / "flat", "masks.json")
    make(tmp_path, "cases/masks.json")  # not of this set
    assert golden.folders_of(flat) == [flat]


def test_relative_folders_and_the_home_folder(tmp_path, monkeypatch):
    make(tmp_path, "sets/b/cases/masks.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for asked in ("sets/b", "sets/b/cases/", "./sets/../sets/b", "~/sets/b"):
        configure(asked)


def test_nothing_to_test_is_an_error(tmp_path):
    configure(None)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for asked, message in ((tmp_path / "x", "is no folder"), (tmp_path / "file", "is no folder"),
                           (tmp_path / "empty", "holds no cases")):  # fmt: skip
        with pytest.raises(pytest.UsageError, match=message) as raised:
            configure(asked)
        assert str(asked) in str(raised.value)
        assert "\n" not in str(raised.value)
    (tmp_path / "empty" / "settings.json").write_text("{}")
    with pytest.raises(pytest.UsageError, match="holds no cases"):
        configure(tmp_path / "empty")
