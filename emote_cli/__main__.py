"""`python -m emote_cli` is the `emote` command."""

from emote_cli.cli import main

if __name__ == "__main__":
    main()
