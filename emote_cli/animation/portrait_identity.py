"""Whose face it is, for models that have identity tokens (Hallo): read from the photo; a note says if it is unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from emote_cli.perception.identity import DETECTOR, EMBEDDER, HINT, IdentityReader, choose
from emote_cli.settings import ModelSettings
from emote_cli.types import Box, Pixels, Portrait
from emote_cli.zoo.catalog import KNOWN_MODELS

FOLDER = "face_analysis"
"""Where the two networks lie in the model's folder."""

NEUTRAL = "the face's identity is left neutral"


def add_identity(
    portrait: Portrait, photo: Pixels, model: Path | None, settings: ModelSettings
) -> tuple[Portrait, list[str]]:
    """Add the embedding of its face to a portrait, where the model asks for one.

    Args:
        portrait: cut out of the photo.
        photo: the whole picture, as Hallo's own code reads it.
        model: folder of the model; None where it has no files.
        settings: the model's.

    Returns:
        The portrait, and what the user should know: a line each.

    Raises:
        WeightsError: a network is damaged, or gives embeddings of another length.
    """
    if not settings.family.identity_tokens:
        return portrait, []
    folder = None if model is None else model / FOLDER
    lacking = [name for name in (DETECTOR, EMBEDDER) if folder is None or not (folder / name).is_file()]
    if folder is None or lacking:
        missing = " and ".join(lacking)
        command = HINT.replace("hallo", settings.name) if settings.name in KNOWN_MODELS else HINT
        return portrait, [f"{NEUTRAL}: {missing} not installed ({command}; non-commercial licence)"]
    reader = IdentityReader(folder)
    whole = Box(0, 0, portrait.pixels.shape[1], portrait.pixels.shape[0])
    for pixels, near in ((photo, portrait.crop_px), (portrait.pixels, whole)):
        found = choose(reader.detect(pixels), near)
        if found is not None:
            embedding = reader.embed(pixels, found.points)
            reader.check(embedding, settings.family.identity_embedding)
            return replace(portrait, identity=embedding), []
    return portrait, [f"{NEUTRAL}: {DETECTOR} finds no face in {portrait.source.name}"]
