"""Hallo."""

from __future__ import annotations

from emote_cli.model.published.sd15 import VAE_PART
from emote_cli.model.published.source import BEHIND_LAST_TAP, POSITIONS, Parts, Source

HALLO_NET = Source(
    name="Hallo's net",
    renames=(
        (r"denoising_unet\.(.+)", r"backbone.\1"),
        (r"reference_unet\.(.+)", r"reference_net.\1"),
        (r"face_locator\.(.+)", r"face_locator.\1"),
        (r"imageproj\.(.+)", r"identity_projector.\1"),
        (r"audioproj\.(.+)", r"audio_projector.\1"),
    ),
    unused=(
        (
            r"denoising_unet\.(down_blocks\.3|up_blocks\.0)\.motion_modules\..+",
            "Hallo loads these temporal modules but never runs them",
        ),
        POSITIONS,
        (
            r"reference_unet\.up_blocks\.3\.attentions\.2\.(proj_out|transformer_blocks\.0\.(?!norm1\.)\w+)\..+",
            BEHIND_LAST_TAP,
        ),
    ),
    fills=r"(backbone|reference_net|face_locator|identity_projector|audio_projector)\..+",
)

_FILES: Parts = (("net.safetensors", HALLO_NET), VAE_PART)
PARTS: dict[str, Parts] = {"hallo": _FILES, "hallo2": _FILES}
