"""The `emote` command: finds the subcommands, and turns errors into two lines and an exit code.

Exit codes: 0 done, 1 an `EmoteError`, 2 wrong usage, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import errno
import io
import sys
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from emote_cli import __version__
from emote_cli.errors import EmoteError, OutputError
from emote_cli.stopping import EXIT_CODE

COMMANDS = ("animate", "web", "prepare", "train", "download", "info", "evaluate", "bench", "doctor")
_BARE = ("web", "download", "evaluate", "bench", "doctor")
"""Commands that do their work without any argument; the others show their help."""
_HELP = {"help_option_names": ["-h", "--help"]}


class _LazyCommands(Mapping[str, Any]):
    """Subcommands by name; a command's module is imported when the command is looked up."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        function = getattr(import_module(f"emote_cli.commands.{name}"), name)
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(name=name, no_args_is_help=name not in _BARE, context_settings=_HELP)(function)
        return typer.main.get_command(single)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class EmoteGroup(TyperGroup):
    """The error boundary. It sits in `invoke` so that tests and the installed command behave alike."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _LazyCommands()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let `--traceback` stand anywhere on the line."""
        own = args[: args.index("--")] if "--" in args else args
        if "--traceback" in own:
            args = ["--traceback", *(a for a in own if a != "--traceback"), *args[len(own) :]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand; show errors that a user can mend as one line and a hint."""
        _take_any_letter()
        warnings.showwarning = _show_warning
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say("stopped")
            raise typer.Exit(EXIT_CODE) from None
        except (EmoteError, OSError) as error:
            known = _as_emote_error(error)
            if known is None or ctx.params.get("traceback"):
                raise
            _show(known)
            raise typer.Exit(1) from None


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show the library's own warnings as one line; others as Python does."""
    if category.__module__.startswith("emote_cli"):
        from emote_cli import console

        console.warn(message)
        return
    text = warnings.formatwarning(message, category, filename, lineno, line)
    print(text, end="", file=file or sys.stderr)


def _take_any_letter() -> None:
    """Let no name that the terminal cannot write, or that is no text at all, cost finished work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _as_emote_error(error: EmoteError | OSError) -> EmoteError | None:
    """The disk, or a permission, can fail anywhere: one line that names the place, if the system tells it."""
    if isinstance(error, EmoteError):
        return error
    place = "" if error.filename is None else str(error.filename)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = "no space left on the disk" + (f" for {place}" if place else "")
        return OutputError(text, hint="free some space and run the command again")
    if place and error.strerror:
        return OutputError(f"{place}: {error.strerror}", hint="check that file or folder and its permissions")
    return None


def _show(error: EmoteError) -> None:
    from emote_cli import console

    console.show_error(error)


def _say(text: str) -> None:
    from emote_cli import console

    console.say(text)


def _print_version(asked: bool) -> bool:
    if asked:
        typer.echo(f"emote {__version__}")
        raise typer.Exit
    return asked


app = typer.Typer(
    name="emote",
    cls=EmoteGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings=_HELP,
)


@app.callback()
def emote(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error came from (for bug reports).")
    ] = False,
) -> None:
    """One portrait and one speech recording in, one talking-head video out."""
