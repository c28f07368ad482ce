"""Which examples to label next."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_transfer import ImageClassification, Run
from keras_transfer.errors import TransferWarning
from keras_transfer.run.suggestions import choose

# Three groups of alike examples, in three directions from the origin; the model is unsure of the first two of each.
GROUPS = np.repeat(np.eye(3), 4, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(12, 3))
UNSURE = np.array([0.1, 0.1, 0.9, 0.9] * 3)


def test_one_of_each_group_is_chosen_and_not_the_least_margins_of_one_group():
    margins = UNSURE.copy()
    margins[:4] = 0.05  # all of the first group are the least margins
    chosen = choose(GROUPS, margins, 3)
    assert sorted(chosen // 4) == [0, 1, 2]
    assert chosen[0] // 4 == 0  # it counts most: the model is unsure of all of it
    np.testing.assert_array_equal(chosen, choose(GROUPS, margins, 3))


def test_confident_predictions_hardly_count():
    margins = np.ones(12)
    margins[[1, 6]] = 0.0
    assert set(choose(GROUPS, margins, 2)) == {1, 6}


def test_without_margins_one_of_each_group_is_chosen():
    assert sorted(choose(GROUPS, None, 3) // 4) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 11, 12])
def test_the_requested_number_of_examples_is_chosen(count):
    for margins in (UNSURE, None):
        assert len(set(choose(GROUPS, margins, count))) == count
    assert len(set(choose(np.zeros((12, 3)), UNSURE, count))) == count  # indistinguishable examples


@pytest.fixture(scope="module")
def run(make_images, pebble, tmp_path_factory):
    root = tmp_path_factory.mktemp("suggestions")
    images = make_images(root / "images", {"a": 16, "b": 16}, size=16)
    recipe = ImageClassification(
        str(images), backbone={"name": "pebble", "weights": "none"}, policy="head", export={"formats": []}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        return recipe.fit(root / "run")


def new_images(make_images, folder):
    """Six new images, one of them twice; two of the run; one that is broken."""
    make_images(folder / "new", {"w": 0, "x": 0, "y": 3, "z": 3}, size=16)
    shown = folder / "new"
    image = Image.open(shown / "y" / "000.png")
    image.save(shown / "again.png")
    (shown / "again.png").write_bytes((shown / "y" / "000.png").read_bytes())
    (shown / "broken.png").write_bytes(b"not an image")
    return shown


def test_a_run_suggests_what_has_no_label_yet(run, make_images, tmp_path):
    shown = new_images(make_images, tmp_path)
    known = Path(run.config.data.source) / run.record["splits"]["train"]["rows"][0][0]
    (shown / "known.png").write_bytes(known.read_bytes())
    with pytest.warns(TransferWarning) as warned:
        suggestions = run.suggest(shown, count=4)
    text = "\n".join(str(warning.message) for warning in warned)
    assert "1 of 9 inputs cannot be read" in text
    assert "broken.png: not an image" in text
    assert "1 of 9 inputs have a label in this run" in text
    assert "1 of 9 inputs have the content of another one" in text
    assert [one.rank for one in suggestions] == [1, 2, 3, 4]
    assert len({one.name for one in suggestions}) == 4
    assert not {Path(one.name).name for one in suggestions} & {"known.png", "broken.png"}
    for one in suggestions:
        (prediction,) = run.predict(one.name)
        assert one.prediction.probabilities == pytest.approx(prediction.probabilities, abs=1e-5)
        first, second = sorted(prediction.probabilities.values(), reverse=True)
        assert one.margin == pytest.approx(first - second, abs=1e-6)


def test_the_command_writes_a_table_with_the_columns_of_the_input(run, make_images, tmp_path, command):
    shown = new_images(make_images, tmp_path)
    files = sorted(path.relative_to(shown) for path in shown.rglob("*.png"))
    pd.DataFrame({"path": [str(file) for file in files], "camera": range(len(files))}).to_csv(shown / "t.csv")
    result = command("suggest", run.folder, shown / "t.csv", "--n", 2, "--out", tmp_path / "next.csv")
    assert result.exit_code == 0, result.output
    assert "Suggestions: " in result.stdout
    assert "cannot be read" in result.stderr
    table = pd.read_csv(tmp_path / "next.csv")
    assert list(table["rank"]) == [1, 2]
    assert {"margin", "path", "camera", "predicted_label"} <= set(table.columns)
    for row in table.itertuples():
        assert str(files[row.camera]) == row.path
    printed = command("suggest", run.folder, shown, "--n", 2)
    assert [line.split("\t")[0] for line in printed.stdout.splitlines()] == ["1", "2"]


def test_bad_requests_are_refused(run, make_images, tmp_path, refused):
    known = Path(run.config.data.source) / "a" / "000.png"
    refused("suggest", run.folder, known, needs=["nothing to suggest", "have a label in this run"])
    (tmp_path / "broken.png").write_bytes(b"nothing")
    refused("suggest", run.folder, tmp_path / "broken.png", needs=["nothing to suggest", "broken.png: not an image"])
    refused("suggest", run.folder, known, "--out", tmp_path / "x.txt", needs=["--out", "x.txt is not a table"])


def test_a_model_of_another_structure_has_no_features(run, monkeypatch, refused, make_images, tmp_path):
    monkeypatch.setattr(type(Run(run.folder).task), "embed", lambda *_: None)
    shown = new_images(make_images, tmp_path)
    refused("suggest", run.folder, shown / "y", needs=["has no features", "image_classification"])
