"""Front ends against the originals' own: Hallo's sound and masks, who a face is, and the voice out of music."""

import hashlib

import cv2
import numpy as np
import onnx
import pytest
import torch
from golden_models import agree, published_wav2vec
from onnx import TensorProto, helper, numpy_helper

from emote_cli.perception.identity import DETECTOR, EMBEDDER, IdentityReader, similarity
from emote_cli.perception.regions import hallo_regions
from emote_cli.perception.vocals import VocalSeparator
from emote_cli.perception.wav2vec import Wav2VecFeatureExtractor, hallo_features
from emote_cli.settings import AudioSettings
from emote_cli.types import Waveform

EXACT = {"atol": 1e-9, "rtol": 0.0}


@pytest.fixture(scope="module")
def wav2vec(load_case, recipe_of) -> Wav2VecFeatureExtractor:
    description, _ = load_case("hallo_audio")
    recipe, seed = recipe_of("hallo_audio"), description["weights_seed"]

    def make(key: str, shape: tuple[int, ...]) -> np.ndarray:
        value = recipe.make(f"w2v.{key}", shape, seed)
        return np.abs(value) + np.float32(0.5) if key.endswith("weight_g") else value

    return Wav2VecFeatureExtractor(published_wav2vec(description["config"], make))


def test_hallo_hears(load_case, wav2vec):
    description, t = load_case("hallo_audio")
    config, margin = description["config"], description["margin"]
    settings = AudioSettings(layers=config["num_hidden_layers"], embed=config["hidden_size"], margin=margin)
    tolerance = description["tolerance"]["states"]
    for sound, count in description["frames"].items():
        waveform = Waveform(t[f"in.{sound}.samples"].numpy(), description["sample_rate"])
        features, frames = hallo_features(
            waveform, settings, description["fps"], description["chunk_frames"], wav2vec
        )
        assert frames == count == int(t[f"out.{sound}.length"])
        states = torch.from_numpy(features.whole())
        agree(f"hallo_audio {sound} states", states, t[f"out.{sound}.states"], tolerance)
        shown = [frame % features.n_frames for frame in description["window_frames"]]
        windows = np.concatenate([features.windows(frame, 1, margin) for frame in shown])
        (theirs,) = (value for key, value in t.items() if key.startswith(f"out.{sound}.windows"))
        agree(f"hallo_audio {sound} windows", torch.from_numpy(windows), theirs, tolerance)


def test_hallo_masks(load_case):
    description, t = load_case("hallo_masks_landmarks")
    for name, (width, height) in description["sizes"].items():
        told = hallo_regions(
            t[f"in.{name}.landmarks"].numpy(), width, height, description["size"],
            levels=len(description["sides"]), face_ratio=description["face_ratio"],
        )  # fmt: skip
        rows, columns = np.nonzero(told.face > 0.5)
        edges = [columns.min(), columns.max(), rows.min(), rows.max()]
        assert edges == t[f"out.{name}.face_box_512"].tolist()
        for side, three in zip(description["sides"], told.levels, strict=True):
            for branch, mask in zip(("background", "face", "lip"), three, strict=True):
                ours = torch.from_numpy(np.round(mask * 255).astype(np.uint8))[None]
                agree(
                    f"hallo_masks {name} {branch}.{side}", ours, t[f"out.{name}.sep_{branch}.{side}"], EXACT
                )


def save(path, nodes: list, weights: dict[str, np.ndarray], image: list, outputs: list[str]) -> None:
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)


@pytest.fixture(scope="module")
def reader(load_case, tmp_path_factory) -> IdentityReader:
    """The case's stand-in networks as ONNX files, drawn in the order that the case gives."""
    description, _ = load_case("identity")
    folder, rs = tmp_path_factory.mktemp("identity"), np.random.RandomState(description["weights_seed"])
    weights: dict[str, np.ndarray] = {"shape": np.array([-1], np.int64)}
    parts: dict[str, list] = {"score": [], "edges": [], "points": []}
    for stride in (8, 16, 32):
        for kind, channels, gain, bias in (("score", 1, 7, -2.2), ("edges", 4, 3, 3), ("points", 10, 3, 0)):
            name, count = f"{kind}{stride}", 2 * channels
            drawn = (rs.random_sample((count, 3, stride, stride)) * 2 - 1) * np.sqrt(
                3 / (3 * stride * stride)
            )
            drawn -= drawn.mean(axis=(1, 2, 3), keepdims=True)
            weights[f"{name}.w"] = drawn.astype(np.float32) * np.float32(gain)
            weights[f"{name}.b"] = np.full(count, bias, np.float32)
            weights[f"{name}.to"] = np.array([-1, channels], np.int64)
            raw = f"{name}.flat" if kind == "score" else name
            parts[kind] += [
                helper.make_node(
                    "Conv", ["image", f"{name}.w", f"{name}.b"], [f"{name}.maps"], strides=[stride, stride]
                ),
                helper.make_node("Transpose", [f"{name}.maps"], [f"{name}.last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}.last", f"{name}.to"], [raw]),
            ]
            if kind == "score":
                parts[kind].append(helper.make_node("Sigmoid", [raw], [name]))
    outputs = [f"{kind}{stride}" for kind in parts for stride in (8, 16, 32)]
    nodes = [node for kind in parts.values() for node in kind]
    save(folder / DETECTOR, nodes, weights, [1, 3, 640, 640], outputs)
    drawn = (rs.random_sample((512, 3, 112, 112)) * 2 - 1).astype(np.float32)
    kernel = drawn * np.float32(np.sqrt(3 / (3 * 112 * 112)))
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["maps"]),
        helper.make_node("Flatten", ["maps"], ["embedding"]),
    ]
    save(folder / EMBEDDER, nodes, {"w": kernel}, [1, 3, 112, 112], ["embedding"])
    return IdentityReader(folder)


def picture(told: dict) -> np.ndarray:
    """A picture of a case, checked by its sum."""
    small = np.random.RandomState(told["seed"]).randint(
        0, 256, (told["height"] // 16, told["width"] // 16, 3)
    )
    pixels = cv2.resize(
        small.astype(np.uint8), (told["width"], told["height"]), interpolation=cv2.INTER_CUBIC
    )
    if hashlib.sha256(pixels.tobytes()).hexdigest() != told["sha256"]:
        pytest.skip("this OpenCV enlarges the picture otherwise")
    return pixels


def test_identity(load_case, reader):
    description, t = load_case("identity")
    boxes, relative = description["tolerance"]["boxes"], description["tolerance"]["embedding"]["rel_to_max"]
    for name, told in description["pictures"].items():
        pixels = picture(told)
        found = reader.detect(pixels)
        assert len(found) == int(t[f"out.{name}.count"])
        ours = torch.tensor(
            [[*(one.box.x0, one.box.y0, one.box.x1, one.box.y1), one.score] for one in found[:40]]
        )
        agree(f"identity {name} boxes", ours, t[f"out.{name}.boxes_first_40"], boxes)
        points = torch.from_numpy(np.stack([one.points for one in found[:40]]))
        agree(f"identity {name} points", points, t[f"out.{name}.points_first_40"], boxes)
        largest = max(range(len(found)), key=lambda index: found[index].box.area)
        assert largest == int(t[f"out.{name}.largest"])
        given = t[f"in.{name}.points"].numpy()
        matrix = torch.from_numpy(similarity(given))
        agree(f"identity {name} matrix", matrix, t[f"out.{name}.matrix"], {"atol": 1e-3, "rtol": 1e-4})
        for which, at in (("largest", found[largest].points), ("points", given)):
            theirs = t[f"out.{name}.embedding_of_{which}"]
            allowed = {"atol": relative * float(theirs.abs().max()), "rtol": 0.0}
            agree(
                f"identity {name} embedding of {which}",
                torch.from_numpy(reader.embed(pixels, at)),
                theirs,
                allowed,
            )


def mixed_sound(description: dict) -> np.ndarray:
    """The case's recording, from its description."""
    s, rs = description["sound"], np.random.RandomState(description["input_seed"])
    t = np.arange(s["samples"]) / s["sample_rate"]
    left = np.sin(2 * np.pi * (s["start_hz"] + s["rise"] * t) * t) * np.sin(s["swell"] * t) ** 2
    right = s["noise"] * rs.standard_normal(s["samples"]) + s["tone"] * np.sin(2 * np.pi * s["tone_hz"] * t)
    return np.stack([left, right]).astype(np.float32)


def test_vocals(load_case, tmp_path):
    description, t = load_case("vocals_mdx")
    rs = np.random.RandomState(description["weights_seed"])
    kernel = (rs.random_sample((4, 4, 3, 3)) * 2 - 1).astype(np.float32) * np.float32(0.25)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["maps"], ["voice"]),
    ]
    save(tmp_path / "mdx.onnx", nodes, {"w": kernel}, [1, 4, 3072, 256], ["voice"])
    voice = VocalSeparator(tmp_path / "mdx.onnx").voice(mixed_sound(description))
    ours = torch.from_numpy(voice[:, t["out.index"].numpy()])
    agree("vocals_mdx voice", ours, t["out.voice.samples"], description["tolerance"])
