"""Pre-training on texts without labels, and the recipe that starts from it; on a small BERT made on the spot."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_transfer import TextClassification, TextPretraining

SMALL = runpy.run_path(str(Path(__file__).parent / "test_text_recipe.py"))
CATS, DOGS, WORDS = SMALL["CATS"], SMALL["DOGS"], SMALL["WORDS"]
preset = SMALL["preset"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Texts whose every other word follows from the one before it: there is something to learn."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(64):
        label, words = [("cat", CATS), ("dog", DOGS)][number % 2]
        start = random.integers(5)
        text = " ".join(words[(start + step) % 5] for step in range(random.integers(4, 20)))
        rows.append({"text": text, "animal": label, "trust": 1.0})
    file = tmp_path_factory.mktemp("texts") / "texts.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def pretraining(table, preset, *, data=None, **sections):
    settings = {"training": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2}, "backbone": preset}
    return TextPretraining(str(table), test=0.25, validation=0.25, **(data or {}), **(settings | sections))


def classification(table, preset, run, **sections):
    settings = {"policy": "head", "export": {"formats": []}, "head": {"dropout": 0.0}}
    return TextClassification(
        str(table),
        label="animal",
        test=0.25,
        validation=0.25,
        backbone={"name": preset, "weights": str(run.folder)},
        **(settings | sections),
    )


@pytest.fixture(scope="module")
def finished(table, preset, tmp_path_factory):
    root = tmp_path_factory.mktemp("pretraining")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        return pretraining(
            table, preset, label="animal", training={"epochs": 12, "batch_size": 8, "learning_rate": 1e-2}
        ).fit(root / "run")


def test_x(finished):
    print(finished.reports)
    for line in (finished.folder / "history.jsonl").read_text().splitlines():
        print(line)
    print(sorted(p.name for p in finished.folder.iterdir()))
    print(finished.evaluate())
    assert 0
