"""emote: one portrait and one speech recording in, one talking-head video out."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`from emote_cli import Animator, AnimateOptions`: torch is imported only then."""
    if name in ("Animator", "AnimateOptions"):
        from emote_cli.animation import animate

        return getattr(animate, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
