"""A data set in parts, and training's way back."""

import tarfile

import numpy as np
import pytest
import tiny_dataset

from emote_cli.data import layout
from emote_cli.data.manifest import write_records
from emote_cli.data.parts import pack, sizes_mb, unpack
from emote_cli.data.selection import read_dataset
from emote_cli.data.tracks import read_tracks
from emote_cli.errors import DataError

NAMES = ("a", "b", "ü" * 60, "d")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    records = [
        tiny_dataset.write_clip(folder, name, 10, seed, source=f"{name}\u2028.mp4")
        for seed, name in enumerate(NAMES)
    ]
    write_records(folder / layout.MANIFEST, sorted(records, key=lambda record: record.id))
    return folder


def test_parts_are_small_and_together_the_whole(dataset, tmp_path):
    records = read_dataset(dataset)
    most = 1.3 * max(sizes_mb(pack(dataset, records, 1)))
    parts = pack(dataset, records, int(most * 1e6))
    assert len(parts) > 1
    assert max(sizes_mb(parts)) <= most
    for part in parts:
        (tmp_path / part.name).write_bytes(part.read_bytes())
    assert read_dataset(tmp_path) == records
    for record in records:
        for path in (layout.clip_path, layout.audio_path):
            assert path(tmp_path, record.id).read_bytes() == path(dataset, record.id).read_bytes()
        ours, theirs = read_tracks(tmp_path, record), read_tracks(dataset, record)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[key], theirs[key], equal_nan=True) for key in ours)
    assert not unpack(tmp_path), "they are unpacked once"
    again = [part.read_bytes() for part in parts]
    assert [part.read_bytes() for part in pack(dataset, records, int(most * 1e6))] == again


def test_training_begins_with_the_first_part(dataset, tmp_path):
    parts = pack(dataset, read_dataset(dataset), 1)
    assert len(parts) == len(NAMES)
    (tmp_path / parts[2].name).write_bytes(parts[2].read_bytes())
    (first,) = read_dataset(tmp_path)
    (tmp_path / parts[0].name).write_bytes(parts[0].read_bytes())
    assert len(read_dataset(tmp_path)) == 2
    assert first in read_dataset(tmp_path)


def test_what_is_no_part_is_told(dataset, tmp_path):
    (tmp_path / "part-000.tar").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"part-000.tar is no part of a data set"):
        read_dataset(tmp_path)
    evil = '{"id": "../../x", "source": "", "sha256": "", "start_s": 0, "end_s": 1, "fps": 25, "frames": 1, "size": 8}'
    with tarfile.open(tmp_path / "part-000.tar", "w") as tar:
        (tmp_path / "manifest.jsonl").write_text(evil.replace("}", ', "has_audio": false}'))
        tar.add(tmp_path / "manifest.jsonl", "manifest.jsonl")
    (tmp_path / "manifest.jsonl").unlink()
    with pytest.raises(DataError, match="is not a name"):
        read_dataset(tmp_path)


def test_a_clip_without_its_files_is_not_packed(dataset):
    records = read_dataset(dataset)
    layout.audio_path(dataset, "a").unlink()
    with pytest.raises(DataError, match="missing"):
        pack(dataset, records, 10_000_000)
