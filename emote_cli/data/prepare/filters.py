"""Why a clip is rejected: the reason codes, and the rules that compare measured values with settings."""

from __future__ import annotations

from dataclasses import dataclass

from emote_cli.data.prepare.settings import PrepareSettings

UNREADABLE = "unreadable"
TRUNCATED = "truncated"
MISSING_FILE = "missing_file"
NO_AUDIO = "no_audio"
TOO_SHORT = "too_short"
NO_FACE = "no_face"
CUT_INSIDE = "cut_inside"
FAILED = "failed"

REASONS: dict[str, str] = {
    UNREADABLE: "ffmpeg cannot read the file",
    TRUNCATED: "the file ends before its stated length",
    MISSING_FILE: "the annotation names a file that is not there",
    NO_AUDIO: "no sound stream",
    TOO_SHORT: "shorter than min_s",
    NO_FACE: "too many frames without a face",
    "several_faces": "too many frames with a second face",
    "small_face": "the face fills too little of the crop",
    "low_resolution": "the face has too few pixels in the video",
    "yaw": "the head is turned too far sideways",
    "pitch": "the head is tilted too far up or down",
    "face_leaves": "the face leaves the picture",
    CUT_INSIDE: "a cut, or the face jumps to another place",
    "dark": "the face is too dark",
    "blurred": "the face is blurred",
    "frozen": "the picture stands still",
    "no_speech": "too little speech",
    "length_mismatch": "sound and picture differ in length",
    FAILED: "the program failed on this file: please report it",
}
"""Every reason code, in words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One filter's complaint about a clip.

    Attributes:
        reason: one of `REASONS`.
        detail: the measured value and the limit, in words.
    """

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A measured value against a limit in the settings.

    Attributes:
        reason: one of `REASONS`.
        value: name of the measured value.
        limit: name of the setting: `min_...` for a lower, `max_...` for an upper bound.
        wording: how to say the value.
    """

    reason: str
    value: str
    limit: str
    wording: str

    def complaint(self, value: float, settings: PrepareSettings) -> Verdict | None:
        """What is wrong with this value, or None."""
        limit = float(getattr(settings, self.limit))
        least = self.limit.startswith("min_")
        if value >= limit if least else value <= limit:
            return None
        bound = "at least" if least else "at most"
        return Verdict(self.reason, f"{self.wording.format(value)} ({self.limit}: {bound} {limit:g})")


RULES: tuple[Rule, ...] = (
    Rule(TOO_SHORT, "seconds", "min_s", "{:.2f} s long"),
    Rule("length_mismatch", "length_gap_s", "max_length_gap_s", "sound and picture differ by {:.2f} s"),
    Rule(NO_FACE, "missing", "max_missing", "no face in {:.0%} of the frames"),
    Rule("several_faces", "several", "max_several", "a second face in {:.0%} of the frames"),
    Rule(CUT_INSIDE, "jump", "max_jump", "the face jumps by {:.2f} of its size"),
    Rule("small_face", "face_share", "min_face_share", "the face fills {:.2f} of the crop"),
    Rule("low_resolution", "face_px", "min_face_px", "the face is {:.0f} pixels high"),
    Rule("yaw", "yaw_deg", "max_yaw_deg", "turned sideways up to {:.0f} degrees"),
    Rule("pitch", "pitch_deg", "max_pitch_deg", "tilted up to {:.0f} degrees"),
    Rule("face_leaves", "outside", "max_outside", "{:.0%} of the face is outside the picture"),
    Rule("dark", "brightness", "min_brightness", "brightness of the face {:.0f}"),
    Rule("blurred", "sharpness", "min_sharpness", "sharpness of the face {:.1f}"),
    Rule("frozen", "frozen", "max_frozen", "{:.0%} of the frames equal the one before"),
    Rule("no_speech", "speech", "min_speech", "speech in {:.0%} of the sound"),
)
"""The filters in the order in which they are named: the first complaint is a clip's reason."""


def judge(measured: dict[str, float], settings: PrepareSettings) -> list[Verdict]:
    """Collect all complaints about a clip; a value that was not measured is not judged."""
    verdicts = [rule.complaint(measured[rule.value], settings) for rule in RULES if rule.value in measured]
    return [verdict for verdict in verdicts if verdict is not None]
