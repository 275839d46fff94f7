"""What can go wrong, as one line that says what happened (with the values) and one line that says what to do."""

from __future__ import annotations


class EmoteError(Exception):
    """Base of every error that a user can cause or mend.

    Args:
        message: one line: what happened, with the values involved.
        hint: one line: what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(EmoteError):
    """A file that the user named is missing, unreadable or of the wrong kind."""


class FaceError(EmoteError):
    """No face was found where one is needed, or the named one does not exist."""


class OutputError(EmoteError):
    """The place to write to is missing, taken, full or not writable."""


class WeightsError(EmoteError):
    """Weights are unknown, missing, damaged or belong to another model."""


class SettingsError(EmoteError):
    """A setting is unknown or out of range."""


class DeviceError(EmoteError):
    """The asked-for device is not there, or has too little memory."""


class DataError(EmoteError):
    """A data set is empty, foreign or damaged."""


class TrainingError(EmoteError):
    """Training cannot start, or cannot go on."""
