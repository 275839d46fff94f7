"""Public checkpoints of EMO's family: what is peculiar to each, outside of the Backbone."""

from __future__ import annotations

from typing import NamedTuple

from emote_cli.model.conditioning import Conditioning


class GuidedConditioning(NamedTuple):
    """What the two halves of classifier-free guidance are told.

    Attributes:
        conditional: everything.
        unconditional: no reference, no audio, no face region; None where guidance is off.
    """

    conditional: Conditioning
    unconditional: Conditioning | None
