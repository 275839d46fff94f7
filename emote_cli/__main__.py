"""`python -m emote_cli` is the `emote` command; Ctrl-C works before the first import."""

from __future__ import annotations

from emote_cli import stopping


def main() -> None:
    """Run the command line; the entry point of the installed `emote`."""
    stopping.watch()
    try:
        from emote_cli.cli import app

        app(prog_name="emote")
    except KeyboardInterrupt:  # outside of a subcommand
        stopping.leave()
    except SystemExit as end:
        if end.code == stopping.EXIT_CODE:
            stopping.leave()
        raise
    finally:
        stopping.done()


if __name__ == "__main__":
    main()
