"""What a recipe leaves to the run: the learning rate, the precision, and calibration without validation rows."""

import json

import pytest
import yaml

from keras_transfer import ImageClassification
from keras_transfer.training.precision import PrecisionTest


@pytest.mark.usefixtures("pebble")
def test_a_run_chooses_rate_precision_and_temperature_and_records_them(images, tmp_path, monkeypatch):
    rates = {"float32": 1.0, "mixed_bfloat16": 2.0}
    monkeypatch.setattr("keras_transfer.recipe.prepare.run_precision_test", lambda *_, **__: PrecisionTest(rates))
    recipe = ImageClassification(
        {"source": str(images), "image_size": 16, "validation": 0.0},
        backbone="pebble",
        policy="lp_ft",
        training={"epochs": 1, "batch_size": 8, "learning_rate": "auto", "precision": "auto"},
        export={"formats": []},
        report=False,
    )
    run = recipe.fit(tmp_path / "run")
    training = yaml.safe_load((run.folder / "recipe.yaml").read_text())["training"]
    assert training["precision"] == "mixed_bfloat16"
    assert 1e-7 <= training["learning_rate"] <= 10.0
    # Some 30 rows: networks trained without a third of them predict that third.
    rows = json.loads((run.folder / "data.json").read_text())["splits"]["train"]["count"]
    head = json.loads((run.folder / "head.json").read_text())
    assert head["calibrated_on"] == {"split": "train", "rows": rows}
    assert run.head.calibration.values[0] > 0
    assert (recipe.config.training.learning_rate, recipe.config.training.precision) == ("auto", "auto")
