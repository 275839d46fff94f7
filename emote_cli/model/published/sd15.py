"""SD 1.5, AnimateDiff v2 and sd-vae-ft-mse: what the paper starts from."""

from __future__ import annotations

from emote_cli.model.published.source import POSITIONS, Parts, Source

SD15_UNET = Source(
    name="Stable Diffusion 1.5's U-Net",
    renames=(
        (r"(.+)", r"backbone.\1"),
        (r"(.+)", r"reference_net.\1"),
        (r"(.+\.transformer_blocks\.0)\.attn1\.(.+)", r"backbone.\1.reference_attn.\2"),
        (r"(.+\.transformer_blocks\.0)\.norm1\.(.+)", r"backbone.\1.reference_norm.\2"),
    ),
    unused=(
        (
            r".+\.attn2\..+",
            "text cross-attention: EMO reads no text, and 768-wide keys fit no feature of ReferenceNet",
        ),
        (r".+\.transformer_blocks\.0\.norm2\..+", "normalizes the input of the text cross-attention"),
    ),
    fills=r"(backbone|reference_net)\..+",
    fresh=r".+\.(temporal_transformer|speed_attn|speed_norm|audio_attn|audio_norm)\..+",
)

ANIMATEDIFF = Source(
    name="AnimateDiff v2",
    renames=((r"(?:module\.)?((?:down_blocks|mid_block|up_blocks)\..+)", r"backbone.\1"),),
    unused=(POSITIONS,),
    fills=r"backbone\..+\.temporal_transformer\..+",
)

SD_VAE = Source(
    name="sd-vae-ft-mse",
    renames=(
        (r"(.+)", r"autoencoder.vae.\1"),
        (r"(.+)\.query\.(.+)", r"autoencoder.vae.\1.to_q.\2"),
        (r"(.+)\.key\.(.+)", r"autoencoder.vae.\1.to_k.\2"),
        (r"(.+)\.value\.(.+)", r"autoencoder.vae.\1.to_v.\2"),
        (r"(.+)\.proj_attn\.(.+)", r"autoencoder.vae.\1.to_out.0.\2"),
    ),
    unused=(),
    fills=r"autoencoder\..+",
)

VAE_PART = ("vae/diffusion_pytorch_model.safetensors", SD_VAE)
PARTS: dict[str, Parts] = {
    "sd15": (
        ("unet/diffusion_pytorch_model.safetensors", SD15_UNET),
        ("temporal/mm_sd_v15_v2.safetensors", ANIMATEDIFF),
        VAE_PART,
    ),
}
