"""Put the published weights of a measuring network where they belong, by name."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from torch import nn

from emote_cli.errors import WeightsError

HINT = "emote download metrics fetches it again once it is deleted"

Network = TypeVar("Network", bound=nn.Module)


def load_named(network: Network, path: Path) -> Network:
    """Fill a network from a safetensors file, and make it ready to look.

    Counters of batches may be missing: older PyTorch did not save them, and nothing here reads them.

    Raises:
        WeightsError: the file is unreadable; a name is missing, unknown, or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}", HINT) from error
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    wrong = sorted(
        name for name in (wanted | given) if name not in counters and wanted.get(name) != given.get(name)
    )
    if wrong:
        raise WeightsError(
            f"{path} is of another network: {wrong[0]} is {given.get(wrong[0], 'missing')}, "
            f"expected {wanted.get(wrong[0], 'nothing of that name')} ({len(wrong)} differences)",
            HINT,
        )
    network.load_state_dict(tensors, strict=False)
    return network.eval().requires_grad_(False)
