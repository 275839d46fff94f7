"""Ctrl-C: every command ends within seconds with 130, whatever it is doing, and leaves nothing half-written."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tiny_dataset import make_dataset

ROOT = Path(__file__).parent.parent
LIMIT_S = 3.0
BUSY_S = 5.0
"""What a machine that runs other tests, too, may take longer."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")


def start(arguments: list[str], folder: Path, **variables: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), **variables}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, env=environment, stdout=pipe, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def interrupt(process: subprocess.Popen[bytes]) -> tuple[float, str]:
    """Press Ctrl-C: the whole group hears it. Returns how long the end took, and what was said."""
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    try:
        said = process.communicate(timeout=30)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return time.monotonic() - begin, said.decode()


def is_gone(number: int) -> bool:
    for _ in range(20):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return True
        stat = Path(f"/proc/{number}/stat")  # ended, but its new parent has not asked for it yet
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


SWALLOWED = "while True:\n    try: time.sleep(60)\n    except BaseException: pass"
FOREIGN = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)"
CALLBACK = """
class Late:
    def __del__(self): time.sleep(1)
while True: Late()
"""
CLEANING = "try: time.sleep(60)\nfinally: time.sleep(60)"


@pytest.mark.parametrize("work", [SWALLOWED, FOREIGN, CALLBACK, CLEANING, "time.sleep(60)"])
def test_it_ends_what_foreign_code_holds_up(tmp_path, work):
    program = textwrap.dedent(
        """
        import subprocess, sys, time
        from pathlib import Path
        from emote_cli import stopping
        from emote_cli.files import part_name
        stopping.watch()
        part_name(Path("video.mp4"))
        Path("folder").mkdir(); Path("folder/file").touch(); stopping.mark_unfinished(Path("folder"))
        Path("kept").touch(); stopping.mark_unfinished(Path("kept")); stopping.mark_finished(Path("kept"))
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        stopping.watch_process(child)
        print(child.pid, flush=True)
        def main():
        {work}
        try:
            main()
        except KeyboardInterrupt:
            stopping.leave()
        """
    ).replace("{work}", textwrap.indent(work.strip(), "    "))
    process = start(["-c", program], tmp_path)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    time.sleep(0.3)
    took_s, said = interrupt(process)
    assert (process.returncode, "Traceback" in said) == (130, False), said
    assert took_s < LIMIT_S
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert is_gone(child)


def test_what_is_being_saved_is_saved(tmp_path):
    program = (
        "import time; from pathlib import Path; from emote_cli import stopping\nstopping.watch()\n"
        "print(flush=True)\ntry: time.sleep(60)\nexcept KeyboardInterrupt:\n"
        "    with stopping.saving(): time.sleep(3); Path('saved').touch()\n"
        "    while True:\n        try: time.sleep(60)\n        except KeyboardInterrupt: pass"
    )
    process = start(["-c", program], tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.3)  # until it sleeps inside the try
    interrupt(process)
    assert process.returncode == 130
    assert (tmp_path / "saved").exists()


def test_after_the_end_there_is_nothing_to_stop(tmp_path):
    program = (
        "import time; from emote_cli import stopping\nstopping.watch()\nstopping.done()\n"
        "print(flush=True)\ntime.sleep(1)"
    )
    process = start(["-c", program], tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    interrupt(process)
    assert process.returncode == 0


# ------------------------------------------------------------------------------------------------ commands


@pytest.fixture
def commands(tmp_path, portrait_path, speech_path):
    """The arguments of a command of each name, made ready in this test's folder, and how long it runs at most."""
    server = socket.create_server(("127.0.0.1", 0))  # takes calls and never answers

    def ready(name: str) -> tuple[list[str], dict[str, str], float]:
        variables = {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}",
            "HF_HOME": str(tmp_path / "hub"),
        }
        run = ["-m", "emote_cli", name]
        if name == "animate":
            files = [str(portrait_path), str(speech_path)]
            return [*run, *files, "--model", "tiny", "-o", "x.mp4", "--force"], variables, 9.0
        if name == "prepare":
            raw = tmp_path / "raw"
            raw.mkdir()
            for number in range(3):
                made = make_dataset(tmp_path / f"made{number}", ("one",), frames=200)
                shutil.copy(made / "clips" / "one.mp4", raw / f"{number}.mp4")
                shutil.rmtree(made)
            return [*run, "raw", "ds", "--size", "64", "--no-audio", "--keep-all"], variables, 8.0
        if name == "train":
            make_dataset(tmp_path / "data")
            options = ["--stage", "1", "--model", "tiny", "--data", "data", "--max-steps", "100000"]
            return [*run, *options, "--out", "run", "--set", "data.cache=disk"], variables, 15.0
        return [*run, "hallo"], variables, 4.0

    with server:
        yield ready


def check(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], wait_s: float, limit_s: float
) -> None:
    process = start(arguments, tmp_path, **variables)
    try:
        process.communicate(timeout=wait_s)
    except subprocess.TimeoutExpired:
        took_s, said = interrupt(process)
    else:
        return  # it was done before
    if process.returncode == -signal.SIGINT:
        assert wait_s < 0.5, "Python itself had not started"
    elif process.returncode == 0:
        assert (tmp_path / "x.mp4").exists(), said
    else:
        assert (process.returncode, "Traceback" in said) == (130, False), f"after {wait_s:.2f} s: {said}"
    assert took_s < limit_s, f"after {wait_s:.2f} s: {said}"
    left = [path.name for path in tmp_path.rglob(".part-*")]
    assert left == [], f"after {wait_s:.2f} s: {said}"
    members = subprocess.run(
        ["ps", "-o", "stat=", "-g", str(process.pid)], capture_output=True, text=True
    ).stdout
    assert [stat for stat in members.split() if stat[0] != "Z"] == []


@pytest.mark.parametrize(
    ("name", "wait_s"), [("animate", 0.4), ("animate", 4.5), ("prepare", 3.0), ("download", 2.0)]
)
def test_commands_end_quickly(tmp_path, commands, name, wait_s):
    arguments, variables, _ = commands(name)
    check(tmp_path, arguments, variables, wait_s, BUSY_S)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["animate", "prepare", "train", "download"])
def test_commands_end_at_any_moment(tmp_path, commands, name):
    arguments, variables, longest_s = commands(name)
    chance = random.Random(name)
    for _ in range(20):
        check(tmp_path, arguments, variables, chance.uniform(0.1, longest_s), LIMIT_S)
        for made in ("ds", "run", "x.mp4"):
            shutil.rmtree(tmp_path / made) if (tmp_path / made).is_dir() else (tmp_path / made).unlink(
                missing_ok=True
            )
