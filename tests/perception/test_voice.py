import subprocess
import sys

import numpy as np
import pytest

from emote_cli.media.audio import read_audio
from emote_cli.perception.voice import speech_probability, speech_share
from emote_cli.types import Waveform


def test_speech_is_told_from_silence_and_noise(speech_path, rng):
    speech = read_audio(speech_path)
    assert speech_share(speech) > 0.5
    n = len(speech.samples)
    assert speech_share(Waveform(np.zeros(n, np.float32), 16_000)) == 0
    assert speech_share(Waveform(rng.normal(0, 0.05, n).astype(np.float32), 16_000)) < 0.1


def test_where_the_speech_is(speech_path):
    speech = read_audio(speech_path).samples
    later = Waveform(np.concatenate([np.zeros(32_000, np.float32), speech]), 16_000)
    assert speech_probability(later)[:55].max() < 0.3


@pytest.mark.parametrize(("samples", "windows"), [(0, 0), (1, 1), (512, 1), (513, 2)])
def test_every_sample_is_heard(samples, windows):
    assert len(speech_probability(Waveform(np.zeros(samples, np.float32), 16_000))) == windows


def test_other_rates_are_refused():
    with pytest.raises(ValueError, match="16000 Hz, got 8000"):
        speech_share(Waveform(np.zeros(99, np.float32), 8_000))


def test_no_torch_is_loaded():
    code = (
        "import sys, numpy as np\n"
        "from emote_cli.perception.voice import speech_share\n"
        "from emote_cli.types import Waveform\n"
        "speech_share(Waveform(np.zeros(999, np.float32), 16000))\n"
        "assert 'torch' not in sys.modules and 'silero_vad' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
