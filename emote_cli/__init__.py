"""emote: one portrait and one speech recording in, one talking-head video out."""

__version__ = "0.1.0"
