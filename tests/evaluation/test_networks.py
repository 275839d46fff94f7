"""The published networks: their names and shapes, and SyncNet's protocol against the plain way."""

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from stand_in_networks import Glance, Piece
from torch import nn

from emote_cli.errors import WeightsError
from emote_cli.evaluation.learned.i3d import embed_piece, load_i3d
from emote_cli.evaluation.learned.inception import Inception, embed_pictures, load_inception
from emote_cli.evaluation.learned.mfcc import mfcc
from emote_cli.evaluation.learned.syncnet import REACH, Distances, SyncNet, load_syncnet, measure_syncnet
from emote_cli.types import Waveform


def clip(n_frames: int, n_samples: int) -> tuple[np.ndarray, Waveform]:
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 255, (n_frames, 1, 1, 3), np.uint8)
    sound = rng.normal(size=n_samples).clip(-3, 3) / 4
    return np.broadcast_to(gray, (n_frames, 224, 224, 3)), Waveform(sound.astype(np.float32), 16_000)


def as_published(network: Glance, frames: np.ndarray, sound: Waveform) -> np.ndarray:
    """Mean distances the plain way: everything at once, zeros around the sound."""
    steps = np.round(sound.samples * 32768).clip(-32768, 32767).astype(np.int16)
    columns = mfcc(steps).T
    looks = min(len(frames), len(steps) // 640) - 5
    pictures = torch.tensor(frames[..., ::-1].copy()).permute(3, 0, 1, 2).float()
    seen = torch.cat([network.look(pictures[None, :, k : k + 5]) for k in range(looks)])
    windows = np.stack([columns[:, 4 * k : 4 * k + 20] for k in range(looks)])
    heard = network.hear(torch.tensor(windows).float()[:, None])
    padded = nn.functional.pad(heard, (0, 0, REACH, REACH))
    apart = [nn.functional.pairwise_distance(seen, padded[k : k + looks]) for k in range(2 * REACH + 1)]
    return torch.stack(apart).double().mean(1).numpy()


@pytest.mark.parametrize(("n_frames", "n_samples"), [(60, 60 * 640), (103, 99 * 640 + 17), (70, 90 * 640)])
def test_distances_that_come_a_few_at_a_time_are_the_published_ones(n_frames, n_samples):
    frames, sound = clip(n_frames, n_samples)
    network = Glance()
    distances = Distances(network, sound, n_frames)
    for frame in frames:
        distances.add(frame)
    np.testing.assert_allclose(distances.means(), as_published(network, frames, sound), rtol=1e-5)


def test_the_best_offset_the_distance_and_the_confidence():
    means = np.full(31, 10.0)
    means[REACH + 2] = 7.0  # the sound of two frames later fits best: the lips come first
    found = measure_syncnet(means)
    assert found == {"syncnet.lse_d": 7.0, "syncnet.lse_c": 3.0, "syncnet.lag_ms": -80.0}


def test_what_cannot_be_told_says_why():
    assert set(measure_syncnet(None).values()) == {"not measured: emote download metrics"}
    frames, sound = clip(54, 54 * 640)
    distances = Distances(Glance(), sound, len(frames))
    for frame in frames:
        distances.add(frame)
    assert "shorter than 2.2 s" in str(measure_syncnet(distances.means())["syncnet.lse_d"])


def published(network: nn.Module, n_bytes: int) -> dict[str, torch.Tensor]:
    """Its tensors, if they fit a published file of this size: under 200 bytes a tensor are names and places."""
    tensors = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    over = n_bytes - sum(value.numel() * 4 for value in tensors.values())
    assert 0 < over < 200 * len(tensors)
    return tensors


def test_syncnet_is_as_large_as_the_published_file_and_looks_over_time(tmp_path):
    network = SyncNet().eval()
    tensors = published(network, 54_573_114)
    names = {"netcnnaud.18.weight", "netcnnlip.18.weight", "netfcaud.3.bias", "netfclip.1.running_var"}
    assert names < set(tensors)
    save_file(tensors, tmp_path / "syncnet.safetensors")
    loaded = load_syncnet(tmp_path / "syncnet.safetensors")
    frames = torch.rand(1, 3, 6, 224, 224)
    with torch.inference_mode():
        assert loaded.look(frames).shape == (2, 1024)
        torch.testing.assert_close(loaded.look(frames[:, :, 1:])[0], network.look(frames)[1])
        assert loaded.hear(torch.rand(3, 1, 13, 20)).shape == (3, 1024)


def test_inception_is_as_large_as_the_published_file_and_pools_as_it_does(tmp_path):
    network = Inception().eval()
    tensors = published(network, 95_628_359)
    assert tensors["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    assert tensors["Mixed_6c.branch7x7dbl_5.conv.weight"].shape == (192, 160, 1, 7)
    assert tensors["fc.weight"].shape == (1008, 2048)
    save_file(tensors, tmp_path / "inception.safetensors")
    found = embed_pictures(
        load_inception(tmp_path / "inception.safetensors"), np.zeros((1, 299, 299, 3), np.uint8)
    )
    assert found.shape == (1, 2048)
    ones = torch.ones(1, 1, 4, 4)
    assert (network.Mixed_5b.pool(ones) == 1).all(), "the border does not darken"
    assert torch.equal(network.Mixed_7c.pool(ones), ones)


def test_weights_of_another_network_are_named(tmp_path):
    path = tmp_path / "syncnet.safetensors"
    save_file({"netcnnaud.0.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"netcnnaud\.0\.bias is missing, expected \(64,\)"):
        load_syncnet(path)
    path.write_bytes(b"no safetensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_syncnet(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_i3d_is_run_only_if_it_is_the_known_file(tmp_path):
    path = tmp_path / "i3d.torchscript"
    torch.jit.script(Piece()).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    network = load_i3d(path, digest)
    white = embed_piece(network, np.full((16, 224, 224, 3), 255, np.uint8))
    np.testing.assert_allclose(white, np.ones(400), rtol=1e-6)
    with pytest.raises(WeightsError, match="is not the published I3D"):
        load_i3d(path, "0" * 64)
    path.write_bytes(b"no program")
    with pytest.raises(WeightsError, match="cannot run"):
        load_i3d(path, hashlib.sha256(b"no program").hexdigest())
