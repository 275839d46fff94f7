"""`emote doctor`: whether emote can work on this machine, and what to mend if not."""

from __future__ import annotations

import typer


def doctor() -> None:
    """Check this machine: versions, ffmpeg, devices, models, free memory and disk.

    One line says what is wrong and how to mend it. Exit code 1: `emote animate` cannot run here.
    torch is not loaded; to try a GPU, add --dry-run to an `emote animate` command.
    """
    from emote_cli import __version__, console
    from emote_cli.machine import examine

    findings = []
    for finding in examine(__version__):
        findings.append(finding)
        console.result(f"{finding.name}: {finding.value}")
    wrong = [finding for finding in findings if finding.problem]
    for finding in wrong:
        console.result(f"problem: {finding.problem}; remedy: {finding.remedy}")
    if any(finding.fatal for finding in wrong):
        console.say("emote animate cannot run here until this is fixed")
        raise typer.Exit(1)
    console.say("emote animate can run here")
