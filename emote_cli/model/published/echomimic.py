"""EchoMimic, and its distilled six-step form."""

from __future__ import annotations

from emote_cli.model.published.sd15 import ANIMATEDIFF, VAE_PART
from emote_cli.model.published.source import BEHIND_LAST_TAP, POSITIONS, Parts, Source

ECHOMIMIC_DENOISING = Source(
    name="EchoMimic's denoising U-Net",
    renames=((r"(?!.*motion_modules)(.+)", r"backbone.\1"),),
    unused=((r".+\.motion_modules\..+", "the motion module has a file of its own"),),
    fills=r"backbone\..+",
    fresh=r".+\.temporal_transformer\..+",
)

ECHOMIMIC_REFERENCE = Source(
    name="EchoMimic's reference U-Net",
    renames=((r"(.+)", r"reference_net.\1"),),
    unused=(
        (
            r"up_blocks\.3\.attentions\.2\.(proj_out|transformer_blocks\.0\.(?!norm1\.)\w+)\..+",
            BEHIND_LAST_TAP,
        ),
    ),
    fills=r"reference_net\..+",
)

ECHOMIMIC_MOTION = Source(
    name="EchoMimic's motion module",
    renames=ANIMATEDIFF.renames,
    unused=(POSITIONS,),
    fills=ANIMATEDIFF.fills,
)

ECHOMIMIC_FACE_LOCATOR = Source(
    name="EchoMimic's face locator",
    renames=((r"(.+)", r"face_locator.\1"),),
    unused=(),
    fills=r"face_locator\..+",
)

PARTS: dict[str, Parts] = {
    "echomimic": (
        ("denoising_unet.safetensors", ECHOMIMIC_DENOISING),
        ("reference_unet.safetensors", ECHOMIMIC_REFERENCE),
        ("motion_module.safetensors", ECHOMIMIC_MOTION),
        ("face_locator.safetensors", ECHOMIMIC_FACE_LOCATOR),
        VAE_PART,
    ),
    "echomimic-6step": (
        ("denoising_unet_acc.safetensors", ECHOMIMIC_DENOISING),
        ("reference_unet.safetensors", ECHOMIMIC_REFERENCE),
        ("motion_module_acc.safetensors", ECHOMIMIC_MOTION),
        ("face_locator.safetensors", ECHOMIMIC_FACE_LOCATOR),
        VAE_PART,
    ),
}
