"""What the README says is true: its commands parse, its files and classes exist."""

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main

from emote_cli import __version__
from emote_cli.cli import COMMANDS, app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Every `emote ...` of a block of shell lines, without comments."""
    lines = [line.split("  #")[0].split(" #")[0] for line in text.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if part.split(" ")[0] == "emote"]


LINES = [line for block in BLOCKS for line in commands(block)]


def parse(line: str) -> str:
    """Let the command line parse a command without running it; returns the subcommand's name."""
    program, *arguments = shlex.split(line)
    assert program == "emote"
    group = typer.main.get_command(app)
    context = group.make_context("emote", arguments)
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, rest, parent=context)
    return name


@pytest.mark.parametrize("line", LINES)
def test_every_command_line_parses(line):
    assert parse(line) in COMMANDS


def test_every_command_has_an_example():
    assert {parse(line) for line in LINES} == set(COMMANDS)


@pytest.mark.parametrize(
    "line",
    ["emote animate one.png two.wav --nonsense", "emote animate one.png two.wav three", "emote anime a b"],
)
def test_a_wrong_line_would_be_noticed(line):
    with pytest.raises(Exception, match=r"(?i)nonsense|three|anime"):
        parse(line)


def test_the_two_commands_are_on_the_first_screen():
    top = README.splitlines()[:30]
    assert any(
        "pip install . && emote animate tests/assets/portrait.png tests/assets/speech.wav" in s for s in top
    )
    assert any('pip install -e ".[test]" && pytest' in s for s in top)


def test_every_option_of_animate_is_explained():
    command = typer.main.get_command(app).get_command(None, "animate")
    table = README.split("## Models")[0]
    missing = [
        option for p in command.params for option in p.opts if option.startswith("-") and option not in table
    ]
    assert set(missing) <= {"-h", "--help"}


def parts() -> list[tuple[str, str]]:
    """(class or function, file) pairs of the table of the sketch's parts."""
    pairs = []
    for row in README.split("### The parts of the original sketch")[1].splitlines():
        cells = [cell.strip() for cell in row.split("|")]
        if row.startswith("|") and "`" in row:
            files = re.findall(r"`([^`]+)`", cells[3])
            pairs += [(name, " ".join(files)) for name in re.findall(r"`([^`]+)`", cells[2])]
    return pairs


@pytest.mark.parametrize(("name", "files"), parts())
def test_every_part_is_where_the_table_says(name, files):
    texts = [(ROOT / "emote_cli" / file).read_text() for file in files.split()]
    last = name.split(".")[-1]
    assert any(re.search(rf"^\s*(class|def) {last}\b", text, flags=re.MULTILINE) for text in texts)


def test_the_table_names_every_part_of_the_sketch():
    sketch = (
        "FramesEncodingVAE DownsampleBlock UpsampleBlock ReferenceNet SpeedEncoder CrossAttentionLayer "
        "AudioAttentionLayers EMOModel Wav2VecFeatureExtractor AudioFeatureModel FaceLocator FaceHelper "
        "EmoVideoReader EMODataset EMOAnimationPipeline"
    )
    table = README.split("### The parts of the original sketch")[1]
    first_column = " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("|"))
    assert [name for name in sketch.split() if name not in first_column] == []


def test_the_changelog_tells_of_this_version():
    """Newest first: what is not released yet, then this version with its date."""
    heads = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d", heads[1]), heads[1]
    assert len(set(heads)) == len(heads)


def test_the_assets_are_named_with_their_origin():
    text = (ROOT / "tests" / "assets" / "README.md").read_text()
    files = {path.name for path in (ROOT / "tests" / "assets").iterdir()} - {"README.md"}
    assert files
    assert [name for name in files if f"`{name}`" not in text] == []


def test_the_module_is_the_installed_program():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"emote": "emote_cli.__main__:main"}
    assert callable(importlib.import_module("emote_cli.__main__").main)
