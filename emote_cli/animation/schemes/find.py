"""Which scheme a model follows: the only place that lists them."""

from __future__ import annotations

from emote_cli.animation.schemes.scheme import Scheme
from emote_cli.settings import ModelSettings


def find_scheme(settings: ModelSettings) -> type[Scheme]:
    """Find the scheme of a family of checkpoints; only its own module is imported."""
    if settings.autoencoder.kind == "motion":
        from emote_cli.animation.schemes.motion import MotionScheme

        return MotionScheme
    if settings.family.audio == "audio_module":
        from emote_cli.animation.schemes.hallo import HalloScheme

        return HalloScheme
    if settings.family.long_video == "overlap":
        from emote_cli.animation.schemes.echomimic import EchoMimicScheme

        return EchoMimicScheme
    from emote_cli.animation.schemes.emo import EmoScheme

    return EmoScheme
