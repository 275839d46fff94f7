"""A data set of any origin: what its manifest says names files in its folder, and nothing else."""

import json
import shutil

import pytest

from emote_cli.data.layout import MANIFEST
from emote_cli.data.manifest import ClipRecord, from_dict, read_records, to_line
from emote_cli.data.prepare import run as runs
from emote_cli.data.selection import read_dataset
from emote_cli.errors import DataError
from emote_cli.zoo.locate import locate_bundled

from .conftest import LOOSE

BAD = [
    *(
        "../evil",
        "/elsewhere/evil",
        "a/../../evil",
        "..",
        ".",
        "",
        ".hidden",
        "a\\b",
        "C:evil",
        "a\0b",
        "a\nb",
    ),
    *("x" * 300, 7, None, ["a"]),
]


def record(name):
    return {"id": name, "source": "a.mp4", "sha256": "", "start_s": 0.0, "end_s": 1.0, "fps": 25.0, "frames": 25,
            "size": 64, "has_audio": True}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_ids_are_names(tmp_path, name):
    with pytest.raises(ValueError, match="is not a name"):
        from_dict(record(name))
    lines = [json.dumps(record("good")), json.dumps(record(name))]
    (tmp_path / MANIFEST).write_text("\n".join(lines) + "\n")
    for read in (read_dataset, lambda folder: read_records(folder / MANIFEST)):
        with pytest.raises(DataError, match=r"line 2: not a clip record") as raised:
            read(tmp_path)
        assert "\n" not in raised.value.message


@pytest.mark.parametrize("name", ["a", "b-0001", "Zoë_人物.x", "a b", "-x", "it's"])
def test_usual_ids_are_kept(tmp_path, name):
    made = from_dict(record(name))
    assert isinstance(made, ClipRecord)
    (tmp_path / MANIFEST).write_text(to_line(made) + "\n")
    assert read_records(tmp_path / MANIFEST) == [made]


@pytest.mark.parametrize("line", ["[" * 100_000, "7", "null", "{}", "[1]", '"x"'])
def test_lines_of_ill_will_are_one_line(tmp_path, line):
    (tmp_path / MANIFEST).write_text(line + "\n")
    with pytest.raises(DataError, match="line 1: not a clip record"):
        read_records(tmp_path / MANIFEST)


@pytest.mark.parametrize("settings", [LOOSE, LOOSE.model_copy(update={"size": 72})])
def test_a_foreign_state_removes_nothing_outside(tmp_path, talking, settings):
    raw, dataset = tmp_path / "raw", tmp_path / "ds"
    raw.mkdir()
    shutil.copy(talking, raw / "a.mp4")
    list(runs.run(runs.plan(raw, dataset, LOOSE, locate_bundled("face_landmarker.task"))))
    state = dataset / "state" / "a.json"
    content = json.loads(state.read_text())
    content["records"][0]["id"] = "../../canary"
    content["records"].append(7)
    state.write_text(json.dumps(content))
    canaries = [tmp_path / f"canary.{ending}" for ending in ("mp4", "flac", "npz", "jpg")]
    for canary in canaries:
        canary.write_text("mine")
    last = list(runs.run(runs.plan(raw, dataset, settings, locate_bundled("face_landmarker.task"))))[-1]
    assert (last.accepted, last.resumed) == (1, 0)
    assert all(canary.read_text() == "mine" for canary in canaries)
