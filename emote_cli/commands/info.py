"""`emote info`: how a video that emote wrote was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def info(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A video that emote made.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Print what a video says of its making: tool, model, settings, inputs."""
    import json

    from emote_cli import console
    from emote_cli.animation.provenance import read_making, unset_text

    making = read_making(file)
    if as_json:
        console.result(json.dumps(making))
        return
    for name, value in _flat(making):
        console.result(f"{name}: {unset_text(name) if value is None else value}")


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", value)]
    return rows
