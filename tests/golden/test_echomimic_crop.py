"""EchoMimic's square and mask of pictures: within 2 % of the square's side of what its own detector leads to."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from golden_models import WORST

from emote_cli.animation.portrait import cut_portrait, square_for
from emote_cli.media.image import read_image
from emote_cli.perception.echomimic_box import echomimic_mask_box
from emote_cli.perception.faces import FaceAnalyzer, find_faces
from emote_cli.settings import load_preset
from emote_cli.zoo.locate import locate_bundled

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("EMOTE_SHARED", ROOT.parent / "shared"))
NEAR = 0.02


def test_crop_and_mask(load_case):
    description, _ = load_case("echomimic_crop")
    for name, told in description["pictures"].items():
        places = [base / told["folder"] / name for base in (ROOT, SHARED.parent)]
        path = next((place for place in places if place.is_file()), None)
        if path is None or hashlib.sha256(path.read_bytes()).hexdigest() != told["file_sha256"]:
            pytest.skip(f"{name} is not at hand")
        pixels = read_image(path)
        with FaceAnalyzer(locate_bundled("face_landmarker.task"), max_faces=20) as analyzer:
            faces = find_faces(pixels, analyzer)
        portrait = cut_portrait(pixels, path, 512, faces, square=square_for(load_preset("echomimic")))
        theirs, side = np.array(told["crop"], float), told["crop"][2] - told["crop"][0]
        box = portrait.crop_px
        crop = np.abs(np.array([box.x0, box.y0, box.x1, box.y1]) - theirs).max() / side
        mask = np.array(echomimic_mask_box(portrait.face, 512)) / 512
        shares = [*told["mask_in_crop"]["x"], *told["mask_in_crop"]["y"]]
        worst = np.abs(mask - np.array(shares)).max()
        WORST[f"echomimic_crop {name} crop, share of the side"] = (crop, crop / NEAR)
        WORST[f"echomimic_crop {name} mask, share of the side"] = (worst, worst / NEAR)
        assert crop <= NEAR
        assert worst <= NEAR
