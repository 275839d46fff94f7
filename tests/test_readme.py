"""What the READMEs say is true: their commands parse, their files, links and classes exist."""

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
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.rglob("README.md"))}
PAGES |= {
    path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted((ROOT / ".github").glob("*.md"))
}
HOUSE = PAGES["emote_cli/README.md"]


def blocks(text: str) -> list[str]:
    """The shell lines of a page."""
    return re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Every `emote ...` of a block of shell lines, without comments."""
    text = text.replace("\\\n", " ")  # a line that goes on
    lines = [line.split("  #")[0].split(" #")[0] for line in text.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if part.split(" ")[0] == "emote"]


LINES = {page: [line for block in blocks(text) for line in commands(block)] for page, text in PAGES.items()}


def parse(line: str) -> str:
    """Let the command line parse a command without running it; returns the subcommand's name."""
    program, *arguments = shlex.split(line)
    assert program == "emote"
    group = typer.main.get_command(app)
    context = group.make_context("emote", arguments)
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, rest, parent=context)
    return name


@pytest.mark.parametrize("line", [line for lines in LINES.values() for line in lines])
def test_every_command_line_parses(line):
    assert parse(line) in COMMANDS


def test_every_command_has_an_example():
    assert {parse(line) for line in LINES["README.md"]} == set(COMMANDS)


def test_the_readme_is_read_to_the_end():
    assert len(README.splitlines()) <= 140


@pytest.mark.parametrize("page", PAGES)
def test_links_and_named_files_exist(page):
    """Links of a page, and the paths inside the project that it names."""
    folder = (ROOT / page).parent
    links = [link for link in re.findall(r"\]\(([^)#]+)", PAGES[page]) if "://" not in link]
    assert [link for link in links if not (folder / link).exists()] == []
    named = re.findall(r"`((?:emote_cli|tests|weights|\.github|\.ci)/[\w./-]+)`", PAGES[page])
    assert [path for path in named if not (ROOT / path).exists() and path != "emote_cli/_bundled"] == []


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


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained_by_the_help(command):
    parameters = typer.main.get_command(app).get_command(None, command).params
    assert [parameter.name for parameter in parameters if not (parameter.help or "").strip()] == []


def test_the_four_places_exist():
    """Where a newcomer adds an option, a metric, a model family, a training stage."""
    table = HOUSE.split("## Where to add")[1].split("\n## ")[0]
    rows = [row.split("|")[1:] for row in table.splitlines() if row.startswith("| a")]
    assert [row[0].strip() for row in rows] == ["an option", "a metric", "a model family", "a training stage"]
    for row in rows:
        paths = re.findall(r"`([\w/.-]+\.(?:py|yaml))`", " ".join(row[1:]))
        paths = [path for path in paths if "NAME" not in path]
        assert paths
        assert [p for p in paths if not ((ROOT / "emote_cli" / p).exists() or (ROOT / p).exists())] == []


def test_the_rooms_are_those_of_the_house():
    table = HOUSE.split("| room |")[1].split("\n\n")[0]
    named = {
        name.rstrip("/") for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])
    }
    folder = ROOT / "emote_cli"
    modules = {
        path.name for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert modules - named <= {"__init__.py", "__main__.py"}
    assert [name for name in named if not (folder / name).exists()] == []


def parts() -> list[tuple[str, str]]:
    """(class or function, file) pairs of the table of the sketch's parts."""
    pairs = []
    for row in HOUSE.split("## The parts of the original sketch")[1].splitlines():
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
    table = HOUSE.split("## The parts of the original sketch")[1]
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
