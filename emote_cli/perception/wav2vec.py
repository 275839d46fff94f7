"""wav2vec 2.0's hidden states at the video frame rate.

EMO's way (`wav2vec_features`): the transformer sees sound at its own 50 states a second, and its states are
brought to the video frame rate AFTERWARDS, by linear interpolation in time. Long recordings are heard in
windows with context on both sides, so that the transformer's memory does not grow with their length.

Hallo's way (`hallo_features`): its weights were trained on states that were brought to the frame rate BEFORE
the transformer, in one pass over the whole recording; the convolutions before it go piece by piece, and recordings
over ten minutes come in parts.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import parametrize

from emote_cli.errors import InputError, WeightsError
from emote_cli.perception.features import SAMPLE_RATE_HZ, BlockFeatures, count_frames, pieces
from emote_cli.settings import AudioSettings
from emote_cli.types import AudioFeatures, Sound, Waveform

WINDOW_S = 20.0
"""Length of what is heard at once, without its context."""
CONTEXT_S = 2.0
"""What is heard before and after each window, and thrown away."""
HALLO_WHOLE_S = 600.0
"""Up to this length Hallo's features are those of one pass over the whole recording, as published."""
PIECE_STATES = 1000
"""States whose sound goes through the convolutions together, for Hallo: 20 s, about 0.6 GB."""
HOP = 320
"""Samples between two states; the first is centered at sample 200."""
_RECEPTIVE = 400


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers' load report and progress bars off the user's terminal; errors still rise."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def fix_places(model: Any) -> Any:
    """Compute the weights for places once and not for every piece of sound; returns the same Wav2Vec2Model."""
    convolution = model.encoder.pos_conv_embed.conv
    if parametrize.is_parametrized(convolution, "weight"):
        parametrize.remove_parametrizations(convolution, "weight")
    return model


class Wav2VecFeatureExtractor:
    """A loaded wav2vec 2.0 model and its preprocessing.

    Args:
        model: transformers' Wav2Vec2Model.
        device: where it runs.
    """

    def __init__(self, model: Any, device: torch.device | str = "cpu") -> None:
        self.model = model.eval().to(device)
        self.device = torch.device(device)
        self._states: list[Tensor] = []
        for layer in self.model.encoder.layers:
            layer.register_forward_hook(self._remember)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> Wav2VecFeatureExtractor:
        """Load transformers' files from a folder, without any network.

        Raises:
            WeightsError: they are missing or damaged.
        """
        from transformers import Wav2Vec2Model

        if not (folder / "config.json").is_file():
            raise WeightsError(f"no wav2vec2 model at {folder}", "emote download sd15 fetches it")
        try:
            with _quiet_transformers():
                model = Wav2Vec2Model.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"the wav2vec2 model at {folder} is damaged: {error}", "download it again"
            ) from error
        return cls(fix_places(model), device)

    def _remember(self, layer: object, inputs: object, output: Any) -> None:
        self._states.append(output[0] if isinstance(output, tuple) else output)

    @torch.inference_mode()
    def states(self, samples: Float[Tensor, " samples"]) -> Float[Tensor, "states layers embed"]:
        """Compute the hidden states of every transformer layer, 50 a second."""
        with torch.autocast(self.device.type, enabled=False):  # whoever listens may have it on
            features = self.model.feature_extractor(samples[None].to(self.device)).transpose(1, 2)
            return self._encode(features)

    @torch.inference_mode()
    def stretched_states(
        self, samples: Float[Tensor, " samples"], count: int
    ) -> Float[Tensor, "states layers embed"]:
        """Compute the hidden states of every layer for features that were stretched to `count` beforehand."""
        with torch.autocast(self.device.type, enabled=False):
            features = convolve_in_pieces(self.model.feature_extractor, samples[None].to(self.device))
            stretched = functional.interpolate(features, size=count, mode="linear", align_corners=True)
            return self._encode(stretched.transpose(1, 2))

    def _encode(self, features: Float[Tensor, "1 states channels"]) -> Float[Tensor, "states layers embed"]:
        self._states.clear()
        projected, _ = self.model.feature_projection(features)
        self.model.encoder(projected)
        states = torch.stack([state[0] for state in self._states], 1).float().cpu()
        self._states.clear()
        return states


def convolve_in_pieces(
    extractor: Any, samples: Float[Tensor, "1 samples"]
) -> Float[Tensor, "1 channels states"]:
    """wav2vec2's convolutions, equal to those on all samples at once, in memory that hardly grows with their number.

    Only the norm behind the first convolution needs the whole recording: its mean and deviation are taken first.

    Args:
        extractor: transformers' feature extractor, with a norm over time behind its first convolution.
        samples: of the recording.
    """
    first, *rest = extractor.conv_layers
    count = (samples.shape[1] - _RECEPTIVE) // HOP + 1
    norm = getattr(first, "layer_norm", None)
    if count <= PIECE_STATES or not isinstance(norm, torch.nn.GroupNorm):
        whole: Float[Tensor, "1 channels states"] = extractor(samples)
        return whole
    (width,), (stride,) = first.conv.kernel_size, first.conv.stride
    total = torch.zeros(2, norm.num_channels, dtype=torch.float64, device=samples.device)
    places = (samples.shape[1] - width) // stride + 1
    for start in range(0, places, PIECE_STATES * HOP // stride):
        stop = min(start + PIECE_STATES * HOP // stride, places)
        maps = first.conv(samples[:, None, start * stride : (stop - 1) * stride + width])[0].double()
        total += torch.stack([maps.sum(1), (maps * maps).sum(1)])
    mean = total[0] / places
    scale = norm.weight.double() / (total[1] / places - mean**2 + norm.eps).sqrt()
    shift = (norm.bias.double() - mean * scale).float()
    pieces = []
    for start in range(0, count, PIECE_STATES):
        stop = min(start + PIECE_STATES, count)
        maps = first.conv(samples[:, None, start * HOP : (stop - 1) * HOP + _RECEPTIVE])
        maps = first.activation(maps * scale.float()[:, None] + shift[:, None])
        for layer in rest:
            maps = layer(maps)
        pieces.append(maps)
    return torch.cat(pieces, 2)


def _statistics(sound: Sound) -> tuple[np.float32, np.float32]:
    """Mean and deviation of the whole recording: wav2vec2-base-960h was trained without them."""
    mean = np.float32(sum(float(piece.sum(dtype=np.float64)) for piece in pieces(sound)) / sound.n_samples)
    squares = sum(float(((piece - mean) ** 2).sum(dtype=np.float64)) for piece in pieces(sound))
    return mean, np.float32(np.sqrt(squares / sound.n_samples + 1e-7))


def wav2vec_blocks(
    sound: Sound, settings: AudioSettings, fps: int, extractor: Wav2VecFeatureExtractor
) -> BlockFeatures:
    """Compute the last `settings.layers` hidden states per video frame, interpolated in time to the frames' middles.

    Args:
        sound: 16 kHz.
        settings: layers and embed are used.
        fps: of the video.
        extractor: a loaded model.

    Raises:
        InputError: the recording is shorter than one video frame, or not at 16 kHz.
        WeightsError: the model has other sizes than the settings say.
    """
    _check_rate(sound)
    frames = count_frames(sound, fps)
    statistics = _statistics(sound)

    def compute(start: int, stop: int) -> Float[np.ndarray, "frames layers embed"]:
        hidden = _window(extractor, sound, statistics, np.arange(start, stop), fps)[:, -settings.layers :]
        _check_sizes(hidden, settings)
        return hidden

    return BlockFeatures(frames, max(round(WINDOW_S * fps), 1), compute)


def wav2vec_features(
    waveform: Waveform, settings: AudioSettings, fps: int, extractor: Wav2VecFeatureExtractor
) -> AudioFeatures:
    """Compute the features of the whole recording at once; see `wav2vec_blocks`."""
    blocks = wav2vec_blocks(waveform, settings, fps, extractor)
    return AudioFeatures(hidden=blocks.whole(), fps=float(fps))


def _window(
    extractor: Wav2VecFeatureExtractor,
    sound: Sound,
    statistics: tuple[np.float32, np.float32],
    frames: np.ndarray,
    fps: float,
) -> Float[np.ndarray, "frames layers embed"]:
    """States at the middles of some frames, from sound that reaches CONTEXT_S beyond them."""
    context = round(CONTEXT_S * SAMPLE_RATE_HZ)
    begin = max(int(frames[0] / fps * SAMPLE_RATE_HZ) - context, 0) // HOP * HOP
    end = min(int((frames[-1] + 1) / fps * SAMPLE_RATE_HZ) + context, sound.n_samples)
    mean, deviation = statistics
    heard = (sound.read(begin, end).astype(np.float32) - mean) / deviation
    if len(heard) < _RECEPTIVE:
        heard = np.pad(heard, (0, _RECEPTIVE - len(heard)))
    states = extractor.states(torch.from_numpy(np.ascontiguousarray(heard))).numpy()
    place = ((frames + 0.5) / fps * SAMPLE_RATE_HZ - begin - _RECEPTIVE / 2) / HOP
    place = np.clip(place, 0, len(states) - 1)
    below = np.minimum(np.floor(place).astype(int), max(len(states) - 2, 0))
    above = np.minimum(below + 1, len(states) - 1)
    share = (place - below).astype(np.float32)[:, None, None]
    return np.asarray(states[below] * (1 - share) + states[above] * share, np.float32)


def hallo_features(
    sound: Sound,
    settings: AudioSettings,
    fps: int,
    chunk_frames: int,
    extractor: Wav2VecFeatureExtractor,
) -> tuple[BlockFeatures, int]:
    """Compute Hallo's features: padded to whole chunks, stretched to the frame rate before the transformer.

    Up to HALLO_WHOLE_S they are heard in one pass, as published; longer recordings in parts of that length,
    with context on both sides.

    Args:
        sound: 16 kHz.
        settings: layers and embed are used.
        fps: of the video.
        chunk_frames: f; the features last a multiple of it.
        extractor: a loaded model.

    Returns:
        The features, and how many of their frames belong to the recording.

    Raises:
        InputError: the recording is shorter than one video frame, or not at 16 kHz.
        WeightsError: the model has other sizes than the settings say.
    """
    _check_rate(sound)
    count_frames(sound, fps)
    mean, deviation = _statistics(sound)
    frames = math.ceil(sound.n_samples / SAMPLE_RATE_HZ * fps)  # 0.28 s are 8: rounded as in the original
    total = frames + -frames % chunk_frames
    each = SAMPLE_RATE_HZ // fps
    end = sound.n_samples + (total - frames) * each  # silence fills the last chunk
    context = round(CONTEXT_S * fps)

    def compute(start: int, stop: int) -> Float[np.ndarray, "frames layers embed"]:
        first, last = max(start - context, 0), min(stop + context, total)
        begin, limit = first * each, end if last == total else last * each
        heard = (sound.read(begin, limit).astype(np.float32) - mean) / deviation
        heard = np.pad(heard, (0, limit - begin - len(heard)))
        states = extractor.stretched_states(torch.from_numpy(heard), last - first).numpy()
        hidden = states[start - first : stop - first, -settings.layers :]
        _check_sizes(hidden, settings)
        return hidden

    limit = max(round(HALLO_WHOLE_S * fps), 1)
    return BlockFeatures(total, total if frames <= limit else limit, compute), frames


def _check_rate(sound: Sound) -> None:
    if sound.sample_rate_hz != SAMPLE_RATE_HZ:
        raise InputError(
            f"speech is at {sound.sample_rate_hz} Hz", f"wav2vec2 hears {SAMPLE_RATE_HZ} Hz only"
        )


def _check_sizes(hidden: np.ndarray, settings: AudioSettings) -> None:
    if hidden.shape[1:] != (settings.layers, settings.embed):
        raise WeightsError(
            f"this wav2vec2 gives {hidden.shape[1]} layers of {hidden.shape[2]}, the model needs "
            f"{settings.layers} of {settings.embed}",
            "use facebook/wav2vec2-base-960h",
        )
