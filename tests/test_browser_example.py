"""examples/browser classifies an image in headless Chromium as ``predict`` does.

``apt-get install chromium chromium-driver npm`` and ``pip install keras-transfer[browser]``. Screenshots go to the
folder that the environment variable ``SCREENSHOTS`` names.
"""

import functools
import os
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[1] / "examples" / "browser"


@pytest.fixture(scope="module")
def page(finished_run, tmp_path_factory):
    """The address of the example, with a model next to it."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    site = tmp_path_factory.mktemp("site") / "browser"
    shutil.copytree(EXAMPLE, site, ignore=shutil.ignore_patterns("node_modules", "model"))
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=site, check=True, capture_output=True)
    finished_run.export(site / "model", format="onnx")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    if shutil.which("chromium"):
        options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--window-size=900,800"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def test_it_classifies_an_image(page, browser, finished_run, tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    wide, alpha, broken = tmp_path / "wide.jpg", tmp_path / "alpha.png", tmp_path / "broken.png"
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    planes = random.integers(0, 256, (7, 12, 4), np.uint8)
    picture = Image.fromarray(planes).resize((240, 140))
    picture.convert("RGB").save(wide, quality=90, exif=exif)
    picture.save(alpha)
    broken.write_bytes(wide.read_bytes()[:200])

    def status():
        return browser.find_element("id", "status").text

    def shown():
        return browser.find_element("id", "image").get_attribute("alt")

    browser.get(page)
    WebDriverWait(browser, 60).until(lambda _: status() != "Loading the model...")
    assert status() == "Choose an image."
    for file in (wide, alpha):
        expected = finished_run.predict(file)[0]
        browser.find_element("id", "file").send_keys(str(file))
        WebDriverWait(browser, 30).until(lambda _, name=file.name: shown() == name)
        assert status() == expected.label
        cells = [row.text.split() for row in browser.find_elements("css selector", "#answer tr")]
        found = {name: float(score) for name, score in cells}
        assert found == pytest.approx(expected.probabilities, abs=2e-3)
        if "SCREENSHOTS" in os.environ:
            browser.save_screenshot(str(Path(os.environ["SCREENSHOTS"]) / f"browser-{file.stem}.png"))
    browser.find_element("id", "file").send_keys(str(broken))
    WebDriverWait(browser, 30).until(lambda _: "broken.png is not an image" in status())
