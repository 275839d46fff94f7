"""emote: one portrait and one speech recording in, one talking-head video out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emote_cli.animation.animator import Animator as Animator
    from emote_cli.animation.options import AnimateOptions as AnimateOptions
    from emote_cli.evaluation.evaluate import evaluate as evaluate

__version__ = "0.1.0"

_HOMES = {
    "Animator": "emote_cli.animation.animator",
    "AnimateOptions": "emote_cli.animation.options",
    "evaluate": "emote_cli.evaluation.evaluate",
}


def __getattr__(name: str) -> Any:
    """`from emote_cli import Animator, AnimateOptions, evaluate`: what they need is imported only then."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
