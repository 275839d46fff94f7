"""Which clips train: splits, patterns, weights."""

import json

import pytest

from emote_cli.data.manifest import ClipRecord, write_records
from emote_cli.data.selection import DataSettings, check_fits, read_dataset, read_split, select
from emote_cli.errors import DataError, InputError


def record(name: str, source: str, frames: int = 50, **changes) -> ClipRecord:
    values = {
        "id": name, "source": source, "sha256": "", "start_s": 0.0, "end_s": 2.0, "fps": 25.0,
        "frames": frames,
        "size": 32, "has_audio": True,
    }  # fmt: skip
    return ClipRecord(**(values | changes))


RECORDS = [
    record("c0000", "made/c0000.mp4"),
    record("c0001", "made/c0001.mp4"),
    record("bob", "real/bob.mpg", frames=100),
    record("eve", "real/eve.mpg"),
]


def chosen(**settings):
    found = select(RECORDS, DataSettings(**settings))
    return [r.id for r in found.train], found


@pytest.fixture
def split(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(
        json.dumps(
            {
                "_": "words are ignored",
                "made": {"train": ["c0000"], "heldout": ["c0001"]},
                "real": {"heldout": ["eve.mpg"], "train": "all other files"},
            }
        )
    )
    return str(path)


def test_all_clips_train_by_default():
    assert chosen()[0] == ["c0000", "c0001", "bob", "eve"]


def test_a_split_names_ids_sources_and_stems(split):
    names, found = chosen(split=split)
    assert names == ["c0000", "bob"], "all other files: what is not held out"
    assert [r.id for r in found.held_out] == ["c0001", "eve"]


def test_patterns_add_but_never_what_is_held_out(split):
    assert chosen(split=split, include=("*.mpg",))[0] == ["c0000", "bob"]
    assert chosen(split=split, exclude=("bob",))[0] == ["c0000"]
    assert chosen(include=("c00*",), exclude=("c0001",))[0] == ["c0000"]


def test_weights_count_frames_and_factors():
    assert chosen(weights={"*.mpg": 3, "bob": 2})[1].weights == [50, 50, 600, 150]


def test_nothing_chosen_is_an_error(split):
    with pytest.raises(DataError, match="none of the 4 clips") as caught:
        chosen(split=split, exclude=("c0000", "bob"))
    assert "c0000" in caught.value.hint


def test_split_files_may_be_yaml_and_must_exist(tmp_path):
    path = tmp_path / "split.yaml"
    path.write_text("train: [a, b]\nheldout: [c]\n")
    assert read_split(path) == {"train": ["a", "b"], "heldout": ["c"]}
    with pytest.raises(InputError, match="cannot read"):
        read_split(tmp_path / "none")
    path.write_text("{no yaml")
    with pytest.raises(InputError, match="it is no YAML"):
        read_split(path)


def test_a_data_set_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"holds no manifest.jsonl"):
        read_dataset(tmp_path)
    write_records(tmp_path / "manifest.jsonl", [record("x", "x.mp4", reason="blurred")])
    with pytest.raises(DataError, match="holds no clip"):
        read_dataset(tmp_path)


def test_clips_must_fit_the_model_and_the_stage():
    assert len(check_fits(RECORDS, 25, needs_sound=True)) == 4
    with pytest.raises(DataError, match="model works at 30"):
        check_fits(RECORDS, 30, needs_sound=False)
    mute = [record("m", "m.mp4", has_audio=False)]
    assert check_fits(mute, 25, needs_sound=False) == mute
    with pytest.raises(DataError, match="no clip has sound"):
        check_fits(mute, 25, needs_sound=True)
