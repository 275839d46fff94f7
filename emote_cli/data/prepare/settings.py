"""Everything that `emote prepare` can be told, with a sentence each."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from emote_cli.settings_tree import Settings, override, parse_settings, read_yaml


class PrepareSettings(Settings):
    """How raw videos become training clips, and which clips are good enough.

    Angles are in degrees, shares run from 0 to 1, brightness from 0 to 255.
    """

    # The clips
    fps: float = Field(25.0, ge=1, le=120, description="frames per second of the clips")
    size: int = Field(512, ge=32, le=2048, multiple_of=8, description="side of the square clips in pixels")
    crf: int = Field(14, ge=0, le=51, description="x264 quality of the clips, 0 is lossless")
    crop_expand: float = Field(
        1.7, ge=1, le=4, description="side of the crop over that of the united face box"
    )
    audio: bool = Field(
        True, description="whether the clips carry sound (without it they serve stage 1 only)"
    )
    keep_all: bool = Field(False, description="mark clips that a filter catches instead of dropping them")
    fix_sync: bool = Field(
        True, description="move the sound to the lips where it is clearly late or early (by less than 0.44 s)"
    )
    licence: str | None = Field(None, description="a note on the footage's licence, copied to every record")

    # Cutting
    min_s: float = Field(2.5, gt=0, description="shortest segment in seconds")
    max_s: float = Field(
        12.0, gt=0, le=3600, description="longest segment in seconds; longer scenes are cut evenly"
    )
    cut_threshold: float = Field(
        3.0, gt=0, description="PySceneDetect's adaptive threshold; less finds more cuts"
    )
    cut_margin: int = Field(2, ge=0, description="frames left out on each side of a cut")

    # Filters
    max_missing: float = Field(0.1, ge=0, le=1, description="share of frames that may show no face")
    max_several: float = Field(0.1, ge=0, le=1, description="share of frames that may show a second face")
    min_face_share: float = Field(
        0.3, ge=0, le=1, description="longer side of the face over the side of the crop"
    )
    min_face_px: float = Field(80, ge=0, description="longer side of the face in pixels of the video")
    max_yaw_deg: float = Field(
        45, ge=0, description="95 % of the frames must be turned sideways less than this"
    )
    max_pitch_deg: float = Field(35, ge=0, description="95 % of the frames must be tilted less than this")
    max_outside: float = Field(
        0.08, ge=0, le=1, description="share of the face that may lie outside the picture"
    )
    max_jump: float = Field(
        0.5, ge=0, description="step of the face between frames, in face sizes: more is a cut"
    )
    min_brightness: float = Field(35, ge=0, le=255, description="median brightness of the face")
    min_sharpness: float = Field(15, ge=0, description="variance of the Laplacian on the face at 128 pixels")
    max_frozen: float = Field(0.5, ge=0, le=1, description="share of frames that may equal the one before")
    min_speech: float = Field(0.2, ge=0, le=1, description="share of the sound that must be speech")
    max_length_gap_s: float = Field(
        0.2, ge=0, description="by how much sound and picture may differ in length"
    )

    @model_validator(mode="after")
    def _spans_agree(self) -> PrepareSettings:
        if self.min_s > self.max_s / 2:
            raise ValueError(
                f"min_s {self.min_s:g} is more than half of max_s {self.max_s:g}: "
                "a scene a little longer than max_s could not be cut"
            )
        return self

    @property
    def hash(self) -> str:
        """Ten hex digits that change with any setting."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:10]


def gather_settings(path: Path | None, assignments: list[str], options: dict[str, Any]) -> PrepareSettings:
    """Gather the settings: defaults, overruled by a YAML file, by `name=value` texts, and by options, in this order.

    Args:
        path: of the YAML file, or None.
        assignments: texts like `max_yaw_deg=60`.
        options: of the command, those that were given.

    Raises:
        SettingsError: the file is missing or no YAML; a setting is unknown or out of range.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = read_yaml(path, "lines like `max_yaw_deg: 60`") or {}
    settings = override(parse_settings(PrepareSettings, values, str(path)), assignments)
    return parse_settings(PrepareSettings, {**settings.model_dump(), **options}, "options")
