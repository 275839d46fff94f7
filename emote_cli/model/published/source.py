"""What is said of one published file."""

from __future__ import annotations

from dataclasses import dataclass

Rules = tuple[tuple[str, str], ...]

POSITIONS = (r".+\.pos_encoder\.pe", "position tables are computed")
BEHIND_LAST_TAP = "stands behind ReferenceNet's last tapped site: nothing reads it"


@dataclass(frozen=True, slots=True)
class Source:
    """One published file.

    Attributes:
        name: for messages.
        renames: (pattern over published keys, template of a parameter name); all rules that match a key
            apply.
        unused: (pattern, reason) for keys that have no place in the model.
        fills: pattern of the parameters that this file must fill ...
        fresh: ... but for these, which start anew.
    """

    name: str
    renames: Rules
    unused: Rules
    fills: str
    fresh: str = "(?!)"


Parts = tuple[tuple[str, Source], ...]
"""The published files of a model, as `emote download` lays them out, and what they fill."""
