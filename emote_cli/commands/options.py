"""From declared options to parameters of a command; see animation/declare.py."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field
from functools import partial
from typing import Annotated, Any, get_args, get_type_hints

import typer

from emote_cli.animation.declare import Panel, check_value, list_options, option_of, read_value
from emote_cli.errors import SettingsError


def takes(*kinds: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command a parameter for every option that these dataclasses declare; they come in as keywords.

    The command's own parameters keep their declarations; `context` is Typer's. `--help` lists all of them by panel.
    """

    def give(command: Callable[..., Any]) -> Callable[..., Any]:
        hints = get_type_hints(command, include_extras=True) | {"context": typer.Context}
        own = [
            each.replace(annotation=hints[each.name])
            for each in inspect.signature(command).parameters.values()
            if each.kind is not each.VAR_KEYWORD
        ]
        known = list_options(*kinds)
        shown = [parameter(each) for each in known.values() if option_of(each).panel]
        together = sorted([*own, *shown], key=_place)
        named = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in together]
        command.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in named}
        return command

    return give


def parameter(declaration: Field[Any]) -> inspect.Parameter:
    """The parameter of a declared option."""
    said, name = option_of(declaration), declaration.name
    more: dict[str, Any] = {}
    is_checked = said.read is not None or bool(said.range_text())
    if is_checked:
        more["parser"] = partial(_parse, declaration)
    info = typer.Option(
        *(said.flags or (f"--{name.replace('_', '-')}",)),
        help=said.help,
        metavar=said.metavar or said.range_text() or None,
        rich_help_panel=said.panel,
        **more,
    )
    kind = Any if is_checked else declaration.type
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=declaration.default,
        annotation=Annotated[kind, info],
    )


def _parse(declaration: Field[Any], text: Any) -> Any:
    """A value from the command line; what is wrong with it is wrong usage."""
    try:
        return read_value(declaration, text) if isinstance(text, str) else check_value(declaration, text)
    except SettingsError as error:
        raise typer.BadParameter(f"{error.message}; {error.hint}") from None


def _place(given: inspect.Parameter) -> int:
    """Where a parameter stands in `--help`: arguments first, then panel by panel."""
    info = next((each for each in getattr(given.annotation, "__metadata__", ())), None)
    panel = getattr(info, "rich_help_panel", None)
    return get_args(Panel).index(panel) + 1 if panel else 0


def given_on_the_line(context: Any) -> frozenset[str]:
    """The parameters of the running command that were given on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, source in sources.items() if source and source.name == "COMMANDLINE")
