"""EchoMimic's square and mask of pictures: within 2 % of the square's side of what its own detector leads to."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from golden_models import WORST

from emote_cli.animation.portrait import cut_portrait, square_for
from emote_cli.media.image import read_image
from emote_cli.perception.echomimic_box import detector_box, echomimic_mask
from emote_cli.perception.faces import FaceAnalyzer, find_faces
from emote_cli.settings import load_preset
from emote_cli.zoo.locate import locate_bundled

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("EMOTE_SHARED", ROOT.parent / "shared"))
NEAR = 0.02


def find_picture(folder: Path, name: str, told: dict) -> Path | None:
    """A case's picture: of the repository, of the folder beside it, or of the set; None: not at hand."""
    place = Path(told["folder"])
    shared = SHARED.joinpath(*place.parts[1:]) if place.parts[:1] == ("shared",) else SHARED.parent / place
    for path in (ROOT / place / name, shared / name, folder / name):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == told["file_sha256"]:
            return path
    return None


def distances(path: Path, told: dict, analyzer: FaceAnalyzer) -> tuple[float, float, float]:
    """How far MTCNN's box, the square and the mask are from the original's, in sides of the square."""
    pixels = read_image(path)
    faces = find_faces(pixels, analyzer)
    portrait = cut_portrait(pixels, path, 512, faces, square=square_for(load_preset("echomimic")))
    theirs, side = np.array(told["crop"], float), told["crop"][2] - told["crop"][0]
    box, seen = portrait.crop_px, detector_box(portrait.face).resized(portrait.crop_px.width / 512)
    crop = np.array([box.x0, box.y0, box.x1, box.y1])
    drawn = np.array([seen.x0 + box.x0, seen.y0 + box.y0, seen.x1 + box.x0, seen.y1 + box.y0])
    rows, columns = np.nonzero(echomimic_mask(portrait, 512) > 0.5)
    mask = np.array([columns.min(), columns.max(), rows.min(), rows.max()]) / 512
    shares = [*told["mask_in_crop"]["x"], *told["mask_in_crop"]["y"]]
    return (
        float(np.abs(drawn - told["mtcnn"]).max() / side),
        float(np.abs(crop - theirs).max() / side),
        float(np.abs(mask - shares).max()),
    )


def test_crop_and_mask(load_case, folder_of):
    """Every picture that is at hand; where one is not, the test says so and does not pass."""
    description, _ = load_case("echomimic_crop")
    missing = []
    with FaceAnalyzer(locate_bundled("face_landmarker.task"), max_faces=20) as analyzer:
        for name, told in description["pictures"].items():
            path = find_picture(folder_of("echomimic_crop"), name, told)
            if path is None:
                missing.append(name)
                continue
            for what, error in zip(("box", "crop", "mask"), distances(path, told, analyzer), strict=True):
                WORST[f"echomimic_crop {name} {what}, share of the side"] = (error, error / NEAR)
                assert error <= NEAR, f"{what} of {name}"
    if missing:
        pytest.skip(f"all others pass, but {', '.join(missing)} is not at hand, or another picture")
