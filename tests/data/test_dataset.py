"""Training examples: the same for the same key, from memory, from the disk and from the video."""

import dataclasses
import pickle
import shutil

import numpy as np
import pytest
import soundfile
import torch
from tiny_dataset import make_dataset

from emote_cli.data import encoding
from emote_cli.data.cache import cached_clips, load_clip
from emote_cli.data.dataset import ClipDataset, LazyClip, SamplingSettings, measure_coverage
from emote_cli.data.frame_stores import StoredLatents, VideoFrames, map_tensor
from emote_cli.data.manifest import read_records
from emote_cli.data.variants import Variant, variant_of
from emote_cli.errors import DataError, InputError
from emote_cli.media.video import read_frames
from emote_cli.model.checkpoint import random_model
from emote_cli.perception.speech import hear as hear_speech
from emote_cli.settings import load_preset
from emote_cli.types import Box

SETTINGS = load_preset("tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def records(folder):
    return read_records(folder / "manifest.jsonl")


@pytest.fixture(scope="module")
def autoencoder():
    return random_model(SETTINGS).autoencoder


def clips(folder, records, autoencoder, mode, **options):
    def hear(speech):
        return hear_speech(speech, SETTINGS.audio, SETTINGS.fps)

    return list(cached_clips(folder, records, autoencoder, SETTINGS, hear, mode=mode, **options))


def stream(made, temporal=True, **sampling):
    return ClipDataset(made, SETTINGS, SamplingSettings(**sampling), seed=5, temporal=temporal)


def same(one, other) -> bool:
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def memory(folder, records, autoencoder):
    return clips(folder, records, autoencoder, "memory")


def test_an_example_depends_on_its_key_only(memory):
    first, again = stream(memory), stream(memory)
    forward = [first[key] for key in range(6)]
    backward = [again[key] for key in reversed(range(6))]
    assert all(same(a, b) for a, b in zip(forward, reversed(backward), strict=True))
    assert not same(forward[0], forward[1])
    assert not same(forward[0], stream(memory, reference_gap=1).example(0, attempt=1))


@pytest.mark.parametrize("temporal", [True, False])
def test_shapes(memory, temporal):
    example = stream(memory, temporal, image_frames=3)[0]
    frames = SETTINGS.temporal.chunk_frames if temporal else 3
    audio, side = SETTINGS.audio, SETTINGS.latent_size
    assert example.target.shape == (frames, 4, side, side)
    assert example.motion.shape == (SETTINGS.temporal.motion_frames, 4, side, side)
    assert example.audio.shape == (frames, audio.window, audio.layers, audio.embed)
    assert example.speed.shape == (frames, 2 * SETTINGS.speed.margin + 1)
    assert example.face_region.shape == (1, SETTINGS.image_size, SETTINGS.image_size)
    assert example.weight.shape == (frames, 1, side, side)


def test_the_disk_gives_what_memory_gives(folder, records, autoencoder, memory):
    lazy = clips(folder, records, autoencoder, "disk")
    assert all(isinstance(clip, LazyClip) for clip in lazy)
    for temporal in (True, False):
        ours, theirs = stream(lazy, temporal, image_frames=2), stream(memory, temporal, image_frames=2)
        assert all(same(ours[key], theirs[key]) for key in range(5))


def test_the_video_gives_the_pictures_of_the_same_frames(folder, records, autoencoder):
    ours = stream(clips(folder, records, autoencoder, "off"))
    plain = [list(read_frames(folder / "clips" / f"{record.id}.mp4")) for record in records]
    example = ours[3]
    assert example.target.shape == (5, 3, 32, 32)
    first = ((example.target[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    distances = [min(int(np.abs(first.astype(int) - frame).max()) for frame in frames) for frames in plain]
    assert min(distances) == 0


def test_any_frames_of_a_video_without_decoding_it_all(folder, records):
    record = records[2]
    path = folder / "clips" / f"{record.id}.mp4"
    whole = np.stack(list(read_frames(path)))
    frames = VideoFrames(path, record, record.size)
    for index in ([0], [20], [3, 4, 5, 6], [2, 19], [7, 3]):
        got = ((frames[np.array(index)].permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()
        assert np.array_equal(got, whole[index]), index
    one = ((frames[4].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    assert np.array_equal(one, whole[4])


def test_stored_latents_and_features_read_what_was_stored(folder, records, autoencoder, memory):
    clips(folder, records, autoencoder, "disk")
    path = next((folder / "cache").glob(f"[!s]*/{records[0].id}.safetensors"))
    stored = pickle.loads(pickle.dumps(StoredLatents(path)))
    for index in (np.array([0, 1, 2]), np.array([16, 0, 9]), np.array(4)):
        assert torch.equal(stored[index], memory[0].latents[torch.from_numpy(index)])
    assert np.array_equal(map_tensor(path, "features"), memory[0].features.hidden.astype(np.float16))


def test_weights_decide_how_often_a_clip_is_drawn(memory):
    heavy = [
        dataclasses.replace(clip, weight=8.0 if index == 1 else 1.0) for index, clip in enumerate(memory)
    ]
    assert stream(heavy).probabilities == pytest.approx([0.1, 0.8, 0.1])


def test_a_clip_damaged_before_training_is_left_out_and_reported(tmp_path, autoencoder):
    folder = make_dataset(tmp_path)
    (folder / "clips" / "two.mp4").write_bytes(b"no video")
    (folder / "tracks" / "three.npz").unlink()
    records, bad = read_records(folder / "manifest.jsonl"), []
    left = clips(folder, records, autoencoder, "memory", on_bad=lambda record, text: bad.append(record.id))
    assert [clip.id for clip in left] == ["one"]
    assert bad == ["two", "three"]
    with pytest.raises(InputError):
        clips(folder, records, autoencoder, "memory")


def test_a_clip_damaged_during_training_is_named(tmp_path, autoencoder):
    folder = make_dataset(tmp_path, names=("one",))
    records = read_records(folder / "manifest.jsonl")
    made = stream(clips(folder, records, autoencoder, "disk"))
    made[0]
    (folder / "tracks" / "one.npz").write_bytes(b"no track")
    with pytest.raises(DataError, match="clip one is damaged"):
        made[0]


def test_a_damaged_cache_entry_is_made_again(tmp_path, autoencoder):
    folder = make_dataset(tmp_path, names=("one",))
    records = read_records(folder / "manifest.jsonl")
    whole = clips(folder, records, autoencoder, "memory")[0].latents.clone()
    for mode in ("memory", "disk"):
        entry = next((folder / "cache").glob("[!s]*/one.safetensors"))
        start = entry.read_bytes()[:100]
        entry.unlink()  # a new file: the old one may still be mapped into memory
        entry.write_bytes(start)
        made = clips(folder, records, autoencoder, mode)[0].open().latents
        assert torch.equal(made[np.arange(17)], whole)


def test_a_clip_without_sound_serves_stage_1(tmp_path, autoencoder):
    folder = make_dataset(tmp_path, names=("one",))
    (folder / "audio" / "one.flac").unlink()
    record = dataclasses.replace(read_records(folder / "manifest.jsonl")[0], has_audio=False)
    example = stream(clips(folder, [record], autoencoder, "memory"), temporal=False)[0]
    assert not example.audio.any()


def test_the_reference_is_away_from_the_target_and_not_always_the_same(memory):
    made = stream(memory, temporal=False, reference_gap=6)
    clip = memory[0]
    rng = np.random.default_rng(0)
    chosen = {made._choose_reference(clip, np.array([3]), rng) for _ in range(40)}
    assert all(abs(frame - 3) >= 6 for frame in chosen)
    assert len(chosen) > 3


def test_first_chunks_come_as_often_as_asked(memory):
    made = stream(memory, first_chunk=0.3)
    share = np.mean([not bool(made[key].has_motion) for key in range(150)])
    assert 0.18 < share < 0.42
    assert not any(bool(stream(memory, temporal=False)[key].has_motion) for key in range(3))


def test_coverage_is_the_share_of_each_cell():
    covered = measure_coverage(Box(0, 0, 12, 8), 4, 32)
    assert covered.tolist()[0] == [1.0, 0.5, 0.0, 0.0]
    assert covered.sum() == pytest.approx(1.5)


def test_load_clip_cuts_to_the_shortest_part(folder, records, memory):
    encoded = {"latents": memory[0].latents[:9], "features": torch.from_numpy(memory[0].features.hidden)}
    clip = load_clip(folder, records[0], encoded, 32)
    assert clip.n_frames == len(clip.found) == clip.features.n_frames == 9


def test_altered_copies_stand_beside_the_clips(folder, records, autoencoder, memory):
    made = clips(folder, records, autoencoder, "memory", variants=2)
    assert [clip.id for clip in made[:3]] == [records[0].id, f"{records[0].id}~1", f"{records[0].id}~2"]
    assert len(made) == 3 * len(records)
    clip, mirrored, other = made[:3]
    assert torch.equal(clip.latents, memory[0].latents), "the clip itself is as before"
    jaw = np.load(folder / "tracks" / f"{records[0].id}.npz")["jaw_open"]
    for number, copy in ((1, mirrored), (2, other)):
        order = variant_of(records[0].id, number).order(clip.n_frames)[: copy.n_frames]
        assert (copy.latents - clip.latents[order]).abs().mean() > 0.01
        assert np.corrcoef(copy.lips[:, 0], jaw[order])[0, 1] > 0.999
        assert copy.features.n_frames == len(copy.boxes_px) == copy.n_frames
        assert not np.allclose(copy.features.hidden[:5], clip.features.hidden[:5]), "another tempo is heard"
    lazy = clips(folder, records, autoencoder, "disk", variants=2)
    assert same(stream(made)[4], stream([each.open() for each in lazy])[4])


@pytest.mark.parametrize("tempo", [0.7, 1.5])
@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_a_copy_shows_the_clip_in_its_tempo(
    folder, records, autoencoder, memory, monkeypatch, tmp_path, tempo, mode
):
    """Nothing but the tempo differs here, so picture, sound and track can be compared frame by frame."""
    plain = Variant(
        mirrored=False, scale=1, angle_deg=0, shift=(0, 0), gain=(1, 1, 1), lift=(0, 0, 0), level_db=0,
        noise_db=None, room_s=0, seed=0, tempo=tempo,
    )  # fmt: skip
    monkeypatch.setattr(encoding, "variant_of", lambda clip, number: plain if number else None)
    place = shutil.copytree(folder, tmp_path / "again", ignore=shutil.ignore_patterns("cache"))
    clip, silent = memory[0], dataclasses.replace(records[0], has_audio=False, settings_hash="mute")
    order = plain.order(clip.n_frames)
    for record in (records[0], silent):
        copy = clips(place, [record], autoencoder, mode, variants=1)[1]
        copy = copy.open() if mode == "disk" else copy
        assert abs(copy.n_frames - clip.n_frames / tempo) <= 1
        kept = order[: copy.n_frames]
        assert torch.allclose(
            copy.latents[np.arange(copy.n_frames)].float(), clip.latents[kept].float(), atol=0.02
        )
        assert np.allclose(copy.boxes_px, clip.boxes_px[kept])
        assert copy.speed == pytest.approx(clip.speed[kept] * tempo)
    assert not copy.features.hidden.any()


def test_a_clip_that_was_prepared_again_is_encoded_again(folder, records, autoencoder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "again")
    shutil.rmtree(place / "cache", ignore_errors=True)
    once = clips(place, records, autoencoder, "memory")
    entries = {path.name: path.stat().st_mtime_ns for path in place.glob("cache/*/*")}
    clips(place, records, autoencoder, "memory")
    assert {path.name: path.stat().st_mtime_ns for path in place.glob("cache/*/*")} == entries
    sound = place / "audio" / f"{records[0].id}.flac"
    soundfile.write(sound, np.roll(soundfile.read(sound)[0], 4000), 16_000)
    for change in ({"settings_hash": "other"}, {"start_s": 0.5}, {"crop_px": [1.0, 1.0, 9.0, 9.0]}):
        other = [dataclasses.replace(records[0], **change), *records[1:]]
        again = clips(place, other, autoencoder, "memory")
        now = {path.name: path.stat().st_mtime_ns for path in place.glob("cache/*/*")}
        assert {name for name in now if now[name] != entries[name]} == {f"{records[0].id}.safetensors"}
        assert not np.allclose(again[0].features.hidden, once[0].features.hidden)
        entries = now


def test_copies_need_the_cache(folder, records, autoencoder):
    with pytest.raises(DataError, match="altered copies need cached latents"):
        clips(folder, records, autoencoder, "off", variants=1)
