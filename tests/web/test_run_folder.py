"""What --run shows, and what it does not."""

import pytest

from emote_cli.errors import InputError
from emote_cli.web.run_folder import RunFolder


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    for name in ("report.html", "curves.png", "samples/step-00000010-a <b>.mp4", "log.jsonl", "model.safetensors",
                 ".hidden/x.png", "stage2/curves.png"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")
    (tmp_path / "secret.html").write_bytes(b"secret")
    (folder / "link.html").symlink_to(tmp_path / "secret.html")
    return RunFolder.open(folder)


def test_reports_curves_and_samples_are_served(run):
    for name, kind in (
        ("report.html", "text/html"), ("curves.png", "image/png"), ("samples/step-00000010-a <b>.mp4", "video/mp4"),
    ):  # fmt: skip
        path, found = run.find(name)
        assert (path.read_bytes(), found) == (b"content", kind)


@pytest.mark.parametrize(
    "name",
    ["log.jsonl", "model.safetensors", "../secret.html", "link.html", "/etc/passwd", ".hidden/x.png", "", "a\0.png",
     "samples", "samples/../../secret.html", "missing.png"],
)  # fmt: skip
def test_nothing_else_is(run, name):
    assert run.find(name) is None


def test_the_page_shows_all_of_them_and_escapes_names(run):
    page = run.page()
    assert 'src="run/report.html" sandbox' in page
    assert 'src="run/curves.png"' in page
    assert 'src="run/stage2/curves.png"' in page
    assert "a &lt;b&gt;" in page
    assert "a <b>" not in page


def test_an_empty_folder_says_so(tmp_path):
    assert "no report" in RunFolder.open(tmp_path).page()


def test_a_run_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError):
        RunFolder.open(tmp_path / "missing")
