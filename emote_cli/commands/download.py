"""`emote download`: fetch public weights, verified, or list what there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emote_cli.zoo.catalog import HubModel
    from emote_cli.zoo.install import DownloadPlan
    from emote_cli.zoo.transfer import Hub


def download(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="What to fetch.", show_default=False)
    ] = None,
    show_list: Annotated[
        bool,
        typer.Option("--list", help="Show all names, sizes, licences, and what is installed."),
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="A plain folder for one model, which --model then accepts."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only what is in the hub's cache on this disk.")
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option("--revision", help="Branch, tag or commit (default: the recorded one, or main)."),
    ] = None,
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence",
            "--accept-license",
            help="Also fetch files that are for non-commercial use only.",
        ),
    ] = False,
) -> None:
    """Fetch the weights of NAME, going on where an earlier try stopped, and verify them.

    They go into the hub's cache (HF_HOME), from the hub or from the mirror that HF_ENDPOINT names.
    """
    from huggingface_hub import constants

    from emote_cli import console
    from emote_cli.zoo.catalog import KNOWN_MODELS
    from emote_cli.zoo.install import plan_install
    from emote_cli.zoo.transfer import Hub

    if show_list or not names:
        _show_list(folder)
        return
    models = _resolve(names)
    if folder is not None and len({model.base or model.name for model in models}) > 1:
        raise typer.BadParameter("--dir takes one model", param_hint="--dir")
    hub, done = Hub(), {}
    for model in models:
        _show_licences(model, folder, accept_licence)
        offline = offline or bool(constants.HF_HUB_OFFLINE)
        plan = plan_install(model, hub, folder, revision, offline, accept_licence)
        _carry_out(plan, hub)
        name = folder or (model.name if model.name in KNOWN_MODELS else model.base)
        done[plan.folder] = f"animate portrait.png speech.wav --model {name}" if name else "evaluate VIDEO"
    for place, further in done.items():
        console.result(place)
        console.say(f"next: emote {further}")


def _resolve(names: list[str]) -> list[HubModel]:
    """Registry entries of the names, an add-on after its base, each once."""
    from emote_cli import console
    from emote_cli.zoo.catalog import registry
    from emote_cli.zoo.locate import unknown_model

    table = registry()
    wanted: dict[str, HubModel] = {}
    for name in names:
        if name in ("tiny", "mini"):
            console.say(f"{name} comes with emote: nothing to fetch")
            continue
        if name not in table:
            raise unknown_model(name, tuple(table))
        for each in (table[name].base, name):
            if each:
                wanted[each] = table[each]
    return list(wanted.values())


def _show_licences(model: HubModel, folder: Path | None, accepted: bool) -> None:
    """Name all licences, and put the texts of restricted files before the user before they are fetched."""
    from emote_cli import console
    from emote_cli.zoo.catalog import licence_text
    from emote_cli.zoo.locate import home
    from emote_cli.zoo.lock import fault, read_lock

    place = folder or home(model.name)
    lock = read_lock(place)
    console.say(f"{model.name}: {'; '.join(model.licences)}")
    lacking = [file for file in model.files if file.restricted and fault(place / file.to, lock.get(file.to))]
    for key in dict.fromkeys(file.restricted for file in lacking):
        if accepted:
            console.say(licence_text(key))
        else:
            console.warn(f"{licence_text(key)} Left out now; to accept and fetch them add --accept-licence")


def _carry_out(plan: DownloadPlan, hub: Hub) -> None:
    from emote_cli import console
    from emote_cli.zoo.catalog import human_size
    from emote_cli.zoo.install import install

    if not plan.jobs:
        console.say(f"{plan.model.name}: all {len(plan.kept)} files are here, verified")
    else:
        console.say(
            f"{plan.model.name}: {len(plan.jobs)} files to install, {human_size(plan.fetch_bytes)} to download"
            + (f"; {len(plan.kept)} are here, verified" if plan.kept else "")
        )
    total_mb = sum(job.remote.size for job in plan.jobs) / 1e6
    with console.progress(plan.model.name, round(total_mb), "MB") as advance:
        n_bytes = shown_mb = 0
        for step in install(plan, hub):
            if step.doing == "convert":
                console.say(f"converting {step.job.file.path} to safetensors")
            n_bytes += step.n_bytes
            advance(int(n_bytes / 1e6) - shown_mb)
            shown_mb = int(n_bytes / 1e6)


def _show_list(folder: Path | None) -> None:
    from rich import box
    from rich.table import Table

    from emote_cli import console

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("name", "for", "size", "licence", "where", "installed"):
        table.add_column(title, overflow="fold", no_wrap=title in ("name", "size", "installed"))
    for row in _rows(folder):
        table.add_row(*row)
    if not console.out.is_terminal:
        console.out.width = 160
    console.out.print(table, soft_wrap=False)


def _rows(folder: Path | None) -> Iterator[tuple[str, str, str, str, str, str]]:
    """One row per name: what comes with emote first, then what can be fetched."""
    from emote_cli.errors import WeightsError
    from emote_cli.zoo.catalog import human_size, registry
    from emote_cli.zoo.locate import home, locate, locate_bundled
    from emote_cli.zoo.lock import fault, model_of, read_lock

    yield "tiny", "tests (random weights)", "-", "Apache-2.0", "built from a seed", "yes"
    mini = ("mini", "the default: small, for a CPU")
    try:
        place = locate_bundled("mini")
        size = human_size(sum(file.stat().st_size for file in place.iterdir()))
        locate("mini")
        yield *mini, size, "Apache-2.0", str(place), "yes"
    except WeightsError:
        yield *mini, "-", "Apache-2.0", "comes with emote", "damaged"
    for model in registry().values():
        base = model.base or model.name
        place = folder if folder is not None and model_of(folder) == base else home(model.name)
        lock = read_lock(place)
        faults = {fault(place / file.to, lock.get(file.to)) for file in model.free_files}
        state = "yes" if faults == {""} else "no" if faults == {"missing"} else "in part"
        where = model.main_repo if state == "no" else str(place)
        size = human_size(model.size_bytes)
        yield model.name, model.purpose, size, ", ".join(model.licences), where, state
