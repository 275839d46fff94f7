"""Whisper's log-mel and encoder in plain torch; parameters are named as in transformers' WhisperEncoder.

Sound at 16 kHz -> 100 log-mel columns a second -> stem (two convolutions, positions) -> transformer blocks, 50 states
a second. Robust Speech Recognition via Large-Scale Weak Supervision, arXiv 2212.04356, section 2.2.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from emote_cli.errors import WeightsError
from emote_cli.perception.features import SAMPLE_RATE_HZ
from emote_cli.perception.mel import mel_filters, spectra
from emote_cli.types import Sound

N_MELS = 80
"""Mel bands that Whisper hears (all sizes up to large-v2)."""
STATES_HZ = 50
"""States a second; there are two log-mel columns to each."""
N_FFT, HOP = 400, 160
"""Length of a Fourier window, and samples from one log-mel column to the next: 25 ms, 10 ms."""
HEAD_WIDTH = 64
"""Width of an attention head in every size of Whisper."""
_DYNAMIC_RANGE = 8.0
"""Powers of ten below the loudest place of the recording at which log-mel is cut off."""
_PIECE_COLUMNS = 6000
_PREFIXES = ("model.encoder.", "encoder.", "")

Mel = Float[Tensor, "bands columns"]


def log_mel(sound: Sound, bands: int = N_MELS) -> Mel:
    """Compute log-mel columns of a whole recording, scaled by its loudest place to about -1 ... 1.

    There are `n_samples // 160` columns; column k is centered at sample 160 k. Edges are mirrored. The spectrum is
    computed piece by piece, so that only the columns grow with the recording.
    """
    filters = mel_filters(SAMPLE_RATE_HZ, N_FFT, bands, 0, SAMPLE_RATE_HZ / 2)
    count, pieces = sound.n_samples // HOP, [np.zeros((bands, 0), np.float32)]
    for start in range(0, count, _PIECE_COLUMNS):
        stop = min(start + _PIECE_COLUMNS, count)
        samples = _mirror_edges(sound, start * HOP - N_FFT // 2, (stop - 1) * HOP + N_FFT // 2)
        power = filters @ spectra(samples, N_FFT, N_FFT, HOP).T ** 2
        pieces.append(np.log10(np.maximum(power, 1e-10)).astype(np.float32))
    mel = torch.from_numpy(np.concatenate(pieces, 1))
    return (mel.clamp(min=float(mel.max()) - _DYNAMIC_RANGE) + 4) / 4 if count else mel


def _mirror_edges(sound: Sound, start: int, stop: int) -> Float[np.ndarray, " samples"]:
    """The samples from `start` to before `stop`; beyond the ends of the recording it runs backwards."""
    samples = sound.read(max(start, 0), min(stop, sound.n_samples)).astype(np.float32)
    beyond = (max(-start, 0), max(stop - sound.n_samples, 0))
    return np.pad(samples, beyond, mode="reflect")


class Positions(nn.Module):
    """A vector for each place, added to the states.

    Args:
        places: how many there are.
        width: of the states.
    """

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(places, width))


class SelfAttention(nn.Module):
    """Every place attends to every other.

    Args:
        width: of the states.
        heads: a divisor of it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, states: Float[Tensor, "b k d"]) -> Float[Tensor, "b k d"]:
        """Scaled dot-product attention."""
        q, k, v = (
            layer(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out


class EncoderBlock(nn.Module):
    """Self-attention, then a feed-forward; both see normalized states.

    Args:
        width: of the states.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = SelfAttention(width, heads)
        self.final_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, states: Float[Tensor, "b k d"]) -> Float[Tensor, "b k d"]:
        """Run the block."""
        states = states + self.self_attn(self.self_attn_layer_norm(states))
        out: Tensor = states + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(states))))
        return out


class WhisperEncoder(nn.Module):
    """The stem and the first blocks of Whisper's encoder; the norm behind the last block is left out.

    Args:
        width: of a state.
        blocks: how many transformer blocks.
        heads: of each attention.
        places: most states of one pass.
        bands: mel bands.
    """

    def __init__(self, width: int, blocks: int, heads: int, places: int = 1500, bands: int = N_MELS) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(bands, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = Positions(places, width)
        self.layers = nn.ModuleList(EncoderBlock(width, heads) for _ in range(blocks))

    @property
    def places(self) -> int:
        """Most states of one pass."""
        return len(self.embed_positions.weight)

    @property
    def width(self) -> int:
        """Length of a state."""
        return self.embed_positions.weight.shape[1]

    def forward(self, mel: Float[Tensor, "b bands columns"]) -> list[Float[Tensor, "b k d"]]:
        """The input of the first block, then the output of every block: 50 states a second each."""
        maps = functional.gelu(self.conv2(functional.gelu(self.conv1(mel))))
        states = [maps.transpose(1, 2) + self.embed_positions.weight[: maps.shape[2]]]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states

    @classmethod
    def load(
        cls, path: Path, blocks: int | None = None, hint: str = "fetch it again", heads: int | None = None
    ) -> WhisperEncoder:
        """Read the encoder, in fp32, from a .safetensors file of a whole Whisper or of its encoder.

        Args:
            path: the file; its numbers may be fp16.
            blocks: how many blocks to read; None reads all.
            hint: of the errors.
            heads: of each attention; None: as many as `HEAD_WIDTH` fits into the width.

        Raises:
            WeightsError: it is missing, damaged or no Whisper.
        """
        if not path.is_file():
            raise WeightsError(f"no Whisper model at {path}", hint)
        try:
            with safe_open(path, "pt") as file:
                there = set(file.keys())
                prefix = next((p for p in _PREFIXES if f"{p}embed_positions.weight" in there), "")
                if f"{prefix}embed_positions.weight" not in there:
                    raise WeightsError(f"{path} holds no Whisper encoder", hint)
                places, width = file.get_slice(f"{prefix}embed_positions.weight").get_shape()
                bands = file.get_slice(f"{prefix}conv1.weight").get_shape()[1]
                known = len([name for name in there if name.startswith(f"{prefix}layers.")
                             and name.endswith(".fc1.bias")])  # fmt: skip
                with torch.device("meta"):
                    encoder = cls(width, known if blocks is None else blocks, heads or width // HEAD_WIDTH,
                                  places, bands)  # fmt: skip
                tensors = {
                    name: file.get_tensor(prefix + name).float()
                    for name in encoder.state_dict()
                    if prefix + name in there
                }
            encoder.load_state_dict(tensors, assign=True)
        except (SafetensorError, OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise WeightsError(f"the Whisper model at {path} is damaged: {reason}", hint) from error
        return encoder.eval().requires_grad_(False)
