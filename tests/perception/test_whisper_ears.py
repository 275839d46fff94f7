"""The mini's ears: frozen Whisper blocks in windows."""

import numpy as np
import pytest

from emote_cli.errors import SettingsError
from emote_cli.perception.speech import listen
from emote_cli.perception.whisper_ears import load_bundled_ears, whisper_ears
from emote_cli.settings import AudioSettings
from emote_cli.types import Waveform

SETTINGS = AudioSettings(encoder="whisper_blocks", layers=2, embed=384, margin=4, tokens=5, token_width=32)


def noise(seconds: float) -> Waveform:
    rng = np.random.default_rng(3)
    loud = np.repeat(rng.uniform(0.01, 0.3, round(seconds * 10)), 1600)
    return Waveform((rng.normal(size=len(loud)) * loud).astype(np.float32).clip(-1, 1), 16_000)


def test_two_states_of_384_for_each_frame() -> None:
    heard = listen(noise(5.0), SETTINGS, 25).whole()
    assert heard.shape == (125, 2, 384)
    assert np.isfinite(heard).all()
    assert heard.std() > 0.1


def test_what_is_far_away_is_not_heard() -> None:
    whole, changed = noise(11.0), noise(11.0)
    changed.samples[9 * 16_000 :] *= 0.5
    first, second = (whisper_ears(sound, SETTINGS, 25).windows(0, 50, 0) for sound in (whole, changed))
    assert np.abs(first - second).max() < 0.2, "only the level of the recording is shared"
    last = whisper_ears(changed, SETTINGS, 25).windows(240, 20, 0) - whisper_ears(
        whole, SETTINGS, 25
    ).windows(240, 20, 0)
    assert np.abs(last).max() > 0.2


def test_another_frame_rate_is_refused() -> None:
    with pytest.raises(SettingsError, match="30 fps"):
        whisper_ears(noise(1.0), SETTINGS, 30)


def test_only_two_blocks_ship() -> None:
    ears = load_bundled_ears()
    assert len(ears.layers) == 2
    assert not any(parameter.requires_grad for parameter in ears.parameters())
