"""Python blocks of the pages run on finished runs; what trains is slow. The pages on writing parts have own tests."""

import re
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import keras_transfer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "extend")]
BLOCKS = {
    f"{page.relative_to(ROOT)}-{number}": block
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python[ \w]*\n(.*?)```", page.read_text(encoding="utf-8"), re.S))
}
# What a block needs besides images and the finished run on them.
TRAINS = ("README.md-0", "docs/index.md-0", "docs/audit.md-0", "docs/backbones.md-0", "docs/data.md-0")
TRAINS += ("docs/quantization.md-0", "docs/training.md-0", "docs/training.md-2", "docs/labels.md-0")
EXPORTS = {"docs/serving.md-0": "onnx", "docs/serving.md-1": "litert"}
TEXTS = ("docs/labels.md-1",)
# A piece of the package's own code, which explains it.
PIECES = ("docs/design.md-0",)


@pytest.fixture
def desk(tmp_path, monkeypatch, finished_run, make_images):
    """A working folder with the files that the pages name."""
    monkeypatch.chdir(tmp_path)
    for name in ("cells", "mine"):
        shutil.copytree(finished_run.folder, tmp_path / "runs" / name)
    images = make_images(tmp_path / "new", {"a": 2, "b": 2})
    shutil.copy(images / "a" / "000.png", "new/cell0001.png")
    shutil.copy(images / "a" / "001.jpg", "one.jpg")
    shutil.copy(images / "b" / "000.png", "two.png")
    return tmp_path


def run_block(name, **names):
    space = {**{public: getattr(keras_transfer, public) for public in ("ImageClassification", "Run")}, **names}
    exec(compile(BLOCKS[name], name, "exec"), space)
    return space


@pytest.mark.parametrize("name", sorted(BLOCKS.keys() - {*TRAINS, *EXPORTS, *TEXTS, *PIECES}))
def test_blocks_run_on_a_finished_run(name, desk):
    import keras

    run_block(name, keras=keras)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINS)
def test_blocks_train(name, desk, make_images):
    import keras
    import tensorflow as tf

    folder = make_images(desk / "path" / "to" / "images", {"cat": 24, "dog": 24}, size=32)
    shutil.copytree(folder, desk / "images")
    files = sorted(folder.rglob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    labels = np.array([int(file.parent.name == "dog") for file in files])
    recipe = keras_transfer.ImageClassification(
        str(folder), image_size=16, backbone="pebble", policy="head", training={"epochs": 1}, export={"formats": []}
    )
    bare = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, 2)])
    reviews = [(f"{word} pet {n}", word) for n in range(20) for word in ("good", "bad")]
    quick = {"policy": "head", "export": {"formats": []}}
    if "runs/mine" in BLOCKS[name] and ".fit(" in BLOCKS[name]:
        shutil.rmtree("runs/mine")
    if "runs/news" in BLOCKS[name]:
        recipe.fit("runs/news")
    run_block(
        name,
        images=pixels,
        labels=labels,
        dataset=tf.data.Dataset.from_tensor_slices((pixels, labels)),
        dataframe=pd.DataFrame(reviews, columns=["review", "stars"]),
        reviews=reviews,
        model=keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255), bare.layers[0]]),
        bare_model=bare,
        recipe=recipe,
        MyCallback=keras.callbacks.Callback,
        ImageClassification=partial(keras_transfer.ImageClassification, **quick),
        TextClassification=partial(keras_transfer.TextClassification, **quick),
    )


@pytest.mark.parametrize("name", EXPORTS)
def test_blocks_run_on_an_export(name, desk, exported, monkeypatch):
    for run in ("cells", "mine"):
        folder = desk / "runs" / run / "export" / EXPORTS[name] / "1"
        shutil.copytree(exported(EXPORTS[name]), folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "serve", raising=False)
    run_block(name)


@pytest.mark.parametrize("name", TEXTS)
def test_blocks_run_on_texts(name, desk, finished_text_run):
    shutil.copytree(finished_text_run.folder, desk / "runs" / "news")
    pd.DataFrame({"review": ["the cat sat", "a dog ran"], "reply": ["a ball", "the sofa"]}).to_csv("unlabelled.csv")
    run_block(name)
