"""I3D as FVD knows it: DeepMind's network trained on Kinetics-400, in the TorchScript file of StyleGAN-V's authors.

A TorchScript file is a program: only the one whose sha256 the registry knows is run.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from emote_cli.errors import WeightsError
from emote_cli.evaluation.learned.weights import HINT
from emote_cli.files import sha256_once

SIDE, FRAMES, WIDTH = 224, 16, 400
"""Side of its pictures in pixels; how many make a piece; numbers that it makes of one."""


def load_i3d(path: Path, sha256: str) -> Any:
    """The network, a TorchScript module.

    Args:
        path: `i3d.torchscript` (`emote download metrics`).
        sha256: of the file that may be run.

    Raises:
        WeightsError: it is another file, or this PyTorch cannot run it.
    """
    if (found := sha256_once(path)) != sha256:
        raise WeightsError(
            f"{path} is not the published I3D: its sha256 is {found[:12]}..., expected {sha256[:12]}...", HINT
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"PyTorch {torch.__version__} cannot run {path}: {reason}", HINT) from error


@torch.inference_mode()
def embed_piece(network: Any, frames: UInt8[np.ndarray, "16 224 224 3"]) -> Float[np.ndarray, " 400"]:
    """The 400 numbers (before softmax) of a piece of video at 25 frames a second."""
    x = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    return network(x, rescale=False, resize=False, return_features=True)[0].numpy()
