"""Everything that `emote prepare` can be told, with a sentence each."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, Field


class PrepareSettings(BaseModel):
    """How raw videos become training clips."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fps: float = Field(25.0, gt=0, le=120, description="frames per second of the clips")
    size: int = Field(512, ge=32, le=2048, multiple_of=8, description="side of the square clips in pixels")
    crf: int = Field(14, ge=0, le=51, description="x264 quality of the clips")
    min_s: float = Field(2.5, gt=0, description="shortest segment in seconds")
    max_s: float = Field(12.0, gt=0, description="longest segment in seconds")
    max_missing: float = Field(0.1, ge=0, le=1, description="share of frames that may show no face")

    @property
    def hash(self) -> str:
        """Ten hex digits that change with any setting that changes the output."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:10]
