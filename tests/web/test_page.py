"""The page in a real browser: what a visitor does, from the upload to the download."""

import json
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

ASSETS = Path(__file__).parents[1] / "assets"

# A browser takes its time on a busy machine: pytest -m slow tests/web
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of good and bad inputs."""
    folder = tmp_path_factory.mktemp("pictures")
    face = cv2.imread(str(ASSETS / "portrait.png"))
    two = np.full((512, 912, 3), 255, np.uint8)
    two[:, :512], two[56:456, 512:] = face, cv2.resize(face[:, ::-1], (400, 400))
    cv2.imwrite(str(folder / "two.png"), two)
    cv2.imwrite(str(folder / "blank.png"), np.full((200, 200, 3), 128, np.uint8))
    (folder / "broken.png").write_bytes(b"\x89PNG and then nonsense")
    (folder / "${x} {{value}} nonsense.wav").write_bytes(b"nothing")
    return folder


@pytest.fixture
def short_speech(tiny_speech):
    return tiny_speech


def checked_face(tab):
    return tab.driver.execute_script(
        "return [...document.querySelectorAll('#face input')].findIndex(each => each.checked) + 1"
    )


def test_from_two_faces_to_a_video_that_says_how_it_was_made(tab, server, pictures, short_speech):
    from selenium.webdriver import ActionChains

    tab.requests()
    tab.give("#portrait", pictures / "two.png")
    picture = tab.find("#faces img")
    tab.wait(lambda: checked_face(tab) == 1, name="face 1 is chosen")
    tab.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    time.sleep(0.3)  # until the page stands still
    aside = round(picture.size["width"] * 0.28)
    ActionChains(tab.driver).move_to_element_with_offset(picture, aside, 0).click().perform()
    tab.wait(lambda: checked_face(tab) == 2, name="face 2 is chosen")
    tab.give("#sound", short_speech)
    tab.wait_text("#planned", "frames of 32 x 32")
    tab.click("#animate")
    tab.wait_text("#status", "made in", 60)
    line = tab.driver.execute_script("return document.querySelector('#command textarea').value")
    assert line == f"emote animate two.png {short_speech.name} -o two.mp4 --model tiny --face 2"
    video = tab.find("#result video")
    tab.wait(
        lambda: tab.driver.execute_script("return arguments[0].readyState >= 2", video),
        name="it can be played",
    )
    tab.driver.execute_script("arguments[0].muted = true; arguments[0].play()", video)
    tab.wait(
        lambda: tab.driver.execute_script("return arguments[0].currentTime > 0.1", video), name="it plays"
    )
    tab.click("#result a.download")
    saved = tab.driver.downloads / "two.mp4"
    tab.wait(lambda: saved.exists() and saved.stat().st_size, name="the download")
    done = subprocess.run(
        [sys.executable, "-m", "emote_cli", "info", "--json", str(saved)],
        capture_output=True, text=True, check=True, cwd=ASSETS.parents[1],
    )  # fmt: skip
    making = json.loads(done.stdout)
    assert making["portrait"]["name"] == "two.png"
    assert making["settings"]["model"] == "tiny"
    home = urlsplit(server.url).netloc
    foreign = [
        url
        for url in tab.requests()
        if urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc != home
    ]
    assert foreign == []
    assert "'api." not in server.log.read_text()
    asked = [line for line in server.log.read_text().splitlines() if "127.0.0.1" not in line]
    assert asked == []


def test_bad_input_gets_the_words_of_the_command(tab, pictures):
    tab.click("#animate")
    assert "hint:" in tab.wait_text("#status", "error: there is no portrait yet")
    tab.give("#portrait", pictures / "broken.png")
    assert "hint:" in tab.wait_text("#unseen", "error: broken.png is not an image")
    tab.give("#portrait", ASSETS / "portrait.png")
    tab.wait(lambda: not tab.text("#unseen"), name="the error is gone")
    tab.give("#sound", pictures / "${x} {{value}} nonsense.wav")
    assert "hint:" in tab.wait_text("#planned", "is not readable")


@pytest.mark.slow
def test_a_picture_without_a_face_and_a_wrong_option_too(tab, pictures, short_speech):
    tab.give("#portrait", pictures / "blank.png")
    tab.give("#sound", short_speech)
    assert "hint:" in tab.wait_text("#planned", "error: no face found in blank.png", 60)
    tab.give("#portrait", ASSETS / "portrait.png")
    tab.wait_text("#planned", "frames of 32 x 32", 60)
    tab.click("#more button")
    field = tab.find("#option-fps textarea, #option-fps input")
    field.send_keys("fast\t")
    tab.click("#animate")
    assert "for example 25" in tab.wait_text("#status", "error: 'fast' is not a frame rate")


def test_the_example_works_without_any_file(tab):
    tab.click("#example")
    assert "119 frames" in tab.wait_text("#planned", "frames")


@pytest.mark.slow
def test_every_field_has_a_name_for_screen_readers(tab):
    nameless = tab.driver.execute_script("""
        const named = (each) => each.getAttribute("aria-label") || each.title || each.innerText.trim()
            || each.closest("label")?.innerText.trim() || each.labels?.[0]?.innerText.trim()
            || each.getAttribute("aria-labelledby") || each.querySelector("img[alt], svg[aria-label]");
        const fields = document.querySelectorAll("button, select, textarea, input:not([type=hidden])");
        const seen = [...fields].filter((each) => each.offsetParent);
        return seen.filter((each) => !named(each)).map((each) => each.outerHTML.slice(0, 200));
    """)
    assert nameless == []
    assert tab.driver.execute_script("return document.documentElement.lang") == "en"
    assert tab.driver.execute_script("return [...document.querySelectorAll('#status')].length") == 1


@pytest.mark.slow
def test_the_keyboard_reaches_the_button(tab):
    from selenium.webdriver import ActionChains, Keys

    names = []
    for _ in range(60):
        ActionChains(tab.driver).send_keys(Keys.TAB).perform()
        names.append(tab.driver.execute_script("return document.activeElement.id"))
        if names[-1] == "animate":
            break
    assert "animate" in names
    ActionChains(tab.driver).send_keys(Keys.ENTER).perform()
    tab.wait_text("#status", "there is no portrait yet")


@pytest.mark.slow
def test_stop_leaves_nothing_and_a_reload_and_a_second_tab_find_their_own(
    tab, server, short_speech, chromium
):
    long = short_speech.with_name("long.wav")
    long.write_bytes(short_speech.read_bytes())
    _lengthen(long, 100)
    tab.give_both(ASSETS / "portrait.png", long)
    tab.click("#animate")
    tab.wait_text("#status", " frames, ", 60)
    first = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    tab.open()
    assert "No video yet." in tab.text("#status")
    tab.give_both(ASSETS / "portrait.png", short_speech)
    tab.click("#animate")
    tab.wait_text("#status", "1 before this one")
    chromium.refresh()
    tab.find("#animate")
    tab.wait_text("#status", "1 before this one")
    second = chromium.current_window_handle
    chromium.switch_to.window(first)
    chromium.refresh()
    tab.find("#stop")
    tab.wait_text("#status", " frames, ", 30)
    tab.click("#stop")
    tab.wait_text("#status", "Stopped. Nothing of it was kept.", 30)
    assert not tab.all("#result video")
    chromium.switch_to.window(second)
    tab.wait_text("#status", "made in", 60)
    assert tab.find("#result video").get_attribute("src").endswith("portrait.mp4")
    chromium.refresh()
    tab.find("#result video")
    left = {file.name for file in server.files() if "/jobs/" in str(file)}
    assert "long.wav" not in left
    chromium.close()
    chromium.switch_to.window(first)


def _lengthen(path: Path, times: int) -> None:
    import wave

    with wave.open(str(path)) as file:
        parameters, data = file.getparams(), file.readframes(file.getnframes())
    with wave.open(str(path), "wb") as file:
        file.setparams(parameters)
        file.writeframes(data * times)


@pytest.mark.slow
def test_a_run_is_shown_with_its_report_curves_and_samples(start_server, chromium, new_tab, tmp_path):
    run = tmp_path / "my run"
    (run / "samples").mkdir(parents=True)
    (run / "report.html").write_text(
        "<title>r</title><h1>Report of clips</h1><script>parent.hacked = 1</script>"
    )
    cv2.imwrite(str(run / "curves.png"), np.zeros((20, 30, 3), np.uint8))
    cv2.imwrite(str(run / "samples/step-1.png"), np.zeros((20, 30, 3), np.uint8))
    server = start_server("--model", "tiny", "--run", str(run))
    chromium.switch_to.new_window("tab")
    tab = new_tab(chromium, server.url)
    chromium.get(server.url)
    tab.wait_text("#run", "Report")
    for image in tab.all("#run img"):
        tab.wait(lambda image=image: image.get_property("naturalWidth") == 30, name="pictures")
    assert len(tab.all("#run img")) == 2
    chromium.switch_to.frame(tab.find("#run iframe"))
    assert "Report of clips" in tab.text("body")
    chromium.switch_to.default_content()
    assert chromium.execute_script("return window.hacked") is None
    chromium.close()
    chromium.switch_to.window(chromium.window_handles[0])


@pytest.mark.slow
def test_a_second_of_mini(start_server, start_chromium, new_tab, short_speech):
    server = start_server("--model", "mini")
    tab = new_tab(start_chromium(400, 800), server.url)
    tab.open()
    tab.give_both(ASSETS / "portrait.png", short_speech)
    tab.click("#animate")
    tab.wait_text("#status", "made in", 300)
    tab.find("#result video")
    wide = tab.driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0  # nothing sticks out on a phone


@pytest.mark.slow
def test_memory_is_flat_over_twenty_renders(start_server, start_chromium, new_tab, short_speech):
    server = start_server("--model", "tiny")
    tab = new_tab(start_chromium(), server.url)
    tab.open()
    tab.give_both(ASSETS / "portrait.png", short_speech)
    sizes = []
    for number in range(20):
        tab.click("#animate")
        tab.wait(lambda number=number: len(tab.all("#recent li")) == number, 60, "the next result")
        tab.wait_text("#status", "made in", 60)
        sizes.append(server.resident_mb())
    assert max(sizes[5:]) - sizes[4] < 0.1 * sizes[4], sizes
