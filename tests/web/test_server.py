"""The command, and the server that it starts."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emote_cli.cli import app
from emote_cli.errors import OutputError
from emote_cli.web.server import bind

ROOT = Path(__file__).parents[2]


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = CliRunner().invoke(app, ["web"])
    assert result.exit_code == 1
    assert "emote web needs packages that are not installed (gradio)" in result.stderr
    assert "hint: pip install 'emote-cli[web]'" in result.stderr
    assert len(result.stderr.splitlines()) == 2


def test_a_run_that_is_not_there_is_told_before_anything_else(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = CliRunner().invoke(app, ["web", "--run", "nowhere"])
    assert result.exit_code == 1
    assert "run nowhere is not a folder" in result.stderr


def test_a_taken_port_is_told_and_the_next_one_is_tried(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OutputError, match=f"port {port}"):
            bind("127.0.0.1", port)
        monkeypatch.setattr("emote_cli.web.server.FIRST_PORT", port)
        with bind("127.0.0.1", None) as other:
            assert other.getsockname()[0] == "127.0.0.1"
            assert port < other.getsockname()[1] < port + 20


def test_an_address_of_another_machine_is_told():
    with pytest.raises(OutputError, match=r"192\.0\.2\.1"):
        bind("192.0.2.1", 0)


def test_the_default_address_is_this_machine_alone():
    import inspect

    from emote_cli.commands.web import web

    parameters = inspect.signature(web).parameters
    assert parameters["host"].default == "127.0.0.1"
    assert parameters["share"].default is False


def get(server, path, method="GET", body=None, **headers):
    from http.client import HTTPConnection
    from urllib.parse import urlsplit

    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_the_page_is_answered_and_nothing_of_the_machine(server):
    assert get(server, "/")[0] == 200
    secret = Path(__file__).resolve()
    for path in (
        f"/gradio_api/file={secret}", f"/gradio_api/file=/../..{secret}", f"/gradio_api/file=%2e%2e%2f{secret}",
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=http://127.0.0.1:1/x", "/file=/etc/passwd",
        "/static/../../../../../../etc/passwd", "/assets/..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/static/%2e%2e/%2e%2e/__init__.py", "/run/../../etc/passwd", "/run/..%2f..%2fetc%2fpasswd",
        "/results/x/y/..%2f..%2f..%2fetc%2fpasswd", "/results/../../etc/passwd", "/svelte/../../etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:1/", "/gradio_api/file=C:%5CWindows%5Cwin.ini",
    ):  # fmt: skip
        status, body = get(server, path)
        assert status in (400, 403, 404), path
        assert b"root:" not in body, path
        assert b"def test" not in body, path


def test_other_sites_can_neither_send_nor_start_anything(server):
    before = server.files()
    head = 'Content-Disposition: form-data; name="files"; filename="a.png"'
    body = f"--x\r\n{head}\r\n\r\nhi\r\n--x--\r\n"
    form = {"Content_Type": "multipart/form-data; boundary=x"}
    assert get(server, "/gradio_api/upload", "POST", body, Origin="http://evil.example", **form)[0] == 403
    assert get(server, "/gradio_api/queue/join", "POST", "{}", Sec_Fetch_Site="cross-site")[0] == 403
    assert get(server, "/", Host="evil.example")[0] == 421
    assert server.files() == before
    assert get(server, "/gradio_api/upload", "POST", body, **form)[0] == 200
    assert len(server.files()) == len(before) + 1


def test_an_oversized_upload_is_refused_before_it_is_sent(server):
    before = server.files()
    for length in (300_000_000, 10**15):
        assert get(server, "/gradio_api/upload", "POST", b"", Content_Length=str(length))[0] == 413
    assert server.files() == before


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_ctrl_c_and_sigterm_leave_nothing(start_server, number):
    server = start_server("--model", "tiny")
    assert get(server, "/")[0] == 200
    assert list(server.temp.glob("emote-web-*"))
    assert server.stop(number) == 130
    assert not list(server.temp.glob("emote-web-*"))


def test_starting_imports_no_torch_and_reads_no_stub_files(tmp_path):
    pytest.importorskip("gradio")
    code = (
        "import sys\n"
        "stubs = []\n"
        "def hook(event, given):\n"
        "    if event == 'open' and str(given[0]).endswith('.pyi') and 'components' in str(given[0]):\n"
        "        stubs.append(given)\n"
        "sys.addaudithook(hook)\n"
        "from pathlib import Path\n"
        "from emote_cli.web.server import page_app, require_extra\n"
        "require_extra()\n"
        f"with page_app(Path({str(tmp_path)!r}), 'tiny'):\n"
        "    print({'torch', 'transformers', 'diffusers', 'mediapipe'} & set(sys.modules), len(stubs))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "set() 0"
