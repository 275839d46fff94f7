"""A server of the page in a process of its own, and a Chromium to drive it; both skip where they are missing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_SPY = """
import sys, os
def spy(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        where = args[1] if event != "socket.getaddrinfo" else args[0]
        with open(os.environ["EMOTE_SPY"], "a") as file:
            file.write(f"{event} {where!r}\\n")
sys.addaudithook(spy)
from emote_cli.__main__ import main
main()
"""
"""Runs the command and writes down every address that its process asks for."""


class Server:
    """`emote web` in a process.

    Attributes:
        url: of the page.
        temp: the folder in which it keeps its files.
        log: addresses that the process connected to.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.temp, self.log = folder / "temp", folder / "connections.txt"
        self.temp.mkdir()
        self.log.touch()
        root = Path(__file__).parents[2]
        environment = os.environ | {
            "TMPDIR": str(self.temp), "EMOTE_SPY": str(self.log), "PYTHONPATH": str(root),
        }  # fmt: skip
        self.errors = (folder / "stderr.txt").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SPY, "web", *arguments],
            stdout=subprocess.PIPE, stderr=self.errors, env=environment, text=True, cwd=folder,
        )  # fmt: skip
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http"):
            self.stop()
            raise RuntimeError((folder / "stderr.txt").read_text())

    def files(self) -> list[Path]:
        """All files of the page."""
        return [file for file in self.temp.rglob("*") if file.is_file()]

    def resident_mb(self) -> float:
        """Memory that its process holds (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.process.stdout.close()
        self.errors.close()
        return code


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A page with `tiny`, for tests that leave nothing that others mind."""
    pytest.importorskip("gradio")
    server = Server(tmp_path_factory.mktemp("web"), "--model", "tiny", "--port", str(free_port()))
    yield server
    server.stop()


def free_port() -> int:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Tab:
    """A Chromium with one tab, and what tests do with the page.

    Args:
        driver: Selenium's.
        url: of the page.
    """

    def __init__(self, driver, url: str) -> None:
        self.driver, self.url = driver, url

    def open(self) -> None:
        self.driver.get(self.url)
        self.find("#animate")

    def find(self, selector: str, seconds: float = 30):
        return self.wait(lambda: self.all(selector), seconds, selector)[0]

    def all(self, selector: str):
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        return self.driver.execute_script(
            "return document.querySelector(arguments[0])?.innerText ?? ''", selector
        )

    def wait(self, what, seconds: float = 30, name: str = ""):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.1)
        raise AssertionError(f"not seen within {seconds} s: {name}; status: {self.text('#status')!r}")

    def wait_text(self, selector: str, part: str, seconds: float = 30) -> str:
        self.wait(lambda: part in self.text(selector), seconds, f"{part!r} in {selector}")
        return self.text(selector)

    def click(self, selector: str) -> None:
        element = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def give(self, selector: str, path: Path) -> None:
        """Upload a file into a field, in place of what is there."""
        if not self.all(f"{selector} input[type=file]"):
            self.click(f'{selector} button[aria-label="Clear"]')
        self.find(f"{selector} input[type=file]").send_keys(str(path))

    def give_both(self, portrait: Path, sound: Path) -> None:
        self.give("#portrait", portrait)
        self.find("#portrait img")
        self.give("#sound", sound)
        self.wait_text("#planned", "frames")

    def requests(self) -> list[str]:
        """Addresses of everything that the browser asked for since the last call."""
        urls = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.append(message["params"]["request"]["url"])
        return urls


@pytest.fixture(scope="session")
def start_chromium(tmp_path_factory):
    """Call with a width and a height for a Chromium of that size."""
    webdriver = pytest.importorskip("selenium.webdriver")
    browser, tool = shutil.which("chromium"), shutil.which("chromedriver")
    if not (browser and tool):
        pytest.skip("no chromium and chromedriver here")
    drivers = []

    def start(width: int = 1280, height: int = 1000, scale: float = 1.0):
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in (
            "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
            "disable-component-update", "disable-sync", "disable-dev-shm-usage", "mute-audio",
            "use-fake-device-for-media-stream", "use-fake-ui-for-media-stream",
            f"user-data-dir={tmp_path_factory.mktemp('chromium')}", f"window-size={width},{height}",
            f"force-device-scale-factor={scale}",
        ):  # fmt: skip
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        downloads = tmp_path_factory.mktemp("downloads")
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(tool))
        driver.downloads = downloads
        drivers.append(driver)
        return driver

    yield start
    for driver in drivers:
        driver.quit()


@pytest.fixture
def new_tab():
    """Call with a driver and an address for what tests do with a page."""
    return Tab


@pytest.fixture(scope="session")
def chromium(start_chromium):
    """One Chromium for all tests."""
    return start_chromium()


@pytest.fixture
def tab(server, chromium):
    """The page in a fresh tab."""
    chromium.switch_to.new_window("tab")
    handle = chromium.current_window_handle
    tab = Tab(chromium, server.url)
    tab.open()
    yield tab
    chromium.switch_to.window(handle)
    chromium.close()
    chromium.switch_to.window(chromium.window_handles[0])


@pytest.fixture
def start_server(tmp_path):
    """Call with arguments of `emote web` for a server of one test."""
    pytest.importorskip("gradio")
    servers = []

    def start(*arguments: str) -> Server:
        servers.append(Server(tmp_path / f"web{len(servers)}", "--port", str(free_port()), *arguments))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()
