"""A coverage from the recipe to predictions, tables, exports and reports; and predictions that abstain."""

import csv
import json
from dataclasses import fields

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer import ImageClassification
from keras_transfer.batch_prediction.worker import to_columns
from keras_transfer.heads import ClassPrediction, MultilabelPrediction
from keras_transfer.run.predicted import count_abstained, to_json, to_line

NAMES = ("cat", "dog", "owl")


@pytest.fixture(scope="module")
def run(pebble, make_images, tmp_path_factory):
    """Of a network of random weights, which is wrong now and then."""
    root = tmp_path_factory.mktemp("covering")
    images = make_images(root / "images", dict.fromkeys(NAMES, 20), size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_TRANSFER_CACHE", str(root / "cache"))
        recipe = ImageClassification(
            {"source": str(images), "image_size": 16, "validation": 0.4, "test": 0.4},
            backbone={"name": "pebble", "weights": "none"},
            policy={"name": "head"},
            head={"coverage": 0.9},
            export={"formats": []},
        )
        yield recipe.fit(root / "run")


@pytest.fixture(scope="module")
def files(run):
    return sorted((run.folder.parent / "images").glob("*/*"))


@pytest.fixture(scope="module")
def predictions(run, files):
    return run.predict(files)


def sets_of(run, prediction):
    """Worked out from head.json and the probabilities."""
    bound = np.float32(json.loads((run.folder / "head.json").read_text())["coverage"]["bounds"])
    inside = {name for name, value in prediction.probabilities.items() if np.float32(value) >= bound}
    return inside | {prediction.label}


def test_predictions_have_the_set_of_the_run(run, predictions):
    assert len(predictions) == 60
    assert [set(one.prediction_set) for one in predictions] == [sets_of(run, one) for one in predictions]
    assert [one.abstain for one in predictions] == [len(one.prediction_set) > 1 for one in predictions]
    assert 0 < sum(one.abstain for one in predictions) < 60
    assert all(one.prediction_set[0] == one.label for one in predictions)


def test_the_report_counts_test_rows_whose_set_has_the_true_class(run, predictions):
    record = json.loads((run.folder / "data.json").read_text())["splits"]["test"]["rows"]
    truth = {name.rsplit("/", 2)[-2] + "/" + name.rsplit("/", 1)[-1]: label for name, label in record}
    tested = [one for one in predictions if "/".join(one.input.rsplit("/", 2)[-2:]) in truth]
    found = [truth["/".join(one.input.rsplit("/", 2)[-2:])] in one.prediction_set for one in tested]
    coverage = json.loads((run.folder / "metrics.json").read_text())["test"]["coverage"]
    assert coverage["covered"] == pytest.approx(np.mean(found))
    assert coverage["mean_size"] == pytest.approx(np.mean([len(one.prediction_set) for one in tested]))
    assert coverage["abstained"] == pytest.approx(np.mean([one.abstain for one in tested]))
    assert (coverage["promised"], coverage["validation_rows"]) == (0.9, run.reports["validation"].n)
    assert run.reports["test"].coverage == run.evaluate().coverage


@pytest.mark.slow  # the contract of heads compares predictions and serving outputs
def test_a_served_model_abstains_for_the_same_images(run, files, predictions, tmp_path):
    run.export(tmp_path / "1")
    served = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    chosen = [*files[::6]]
    contents = [b"no image", *(file.read_bytes() for file in chosen)]
    found = {name: x.numpy() for name, x in served(image_bytes=tf.constant(contents)).items()}
    assert (found["ok"][0], found["abstain"][0], found["in_set"][0].any()) == (False, False, False)
    expected = predictions[::6]
    assert found["abstain"][1:].tolist() == [one.abstain for one in expected]
    assert found["in_set"][1:].tolist() == [[name in one.prediction_set for name in NAMES] for one in expected]
    assert {name: x.dtype.name for name, x in found.items() if name in ("abstain", "in_set")} == {
        "abstain": "bool",
        "in_set": "bool",
    }


def test_the_command_line_prints_and_writes_abstentions(run, files, predictions, command):
    few, expected = files[:12], predictions[:12]
    plain = command("predict", run.folder, *few)
    lines = [line.split("\t") for line in plain.stdout.splitlines()]
    sets = [f"abstain: {', '.join(one.prediction_set)}" if one.abstain else None for one in expected]
    assert [line[3] if len(line) > 3 else None for line in lines] == sets
    assert f"{sum(one.abstain for one in expected)} of 12 abstained" in plain.stderr.splitlines()
    read = json.loads(command("predict", run.folder, *few, "--json").stdout)
    assert [(one["abstain"], one["prediction_set"]) for one in read] == [
        (one.abstain, list(one.prediction_set)) for one in expected
    ]
    command("predict", run.folder, few[0].parent, "--out", "table.csv", "--min-confidence", "0.6")
    with open("table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [json.loads(row["prediction_set"]) for row in rows] == [list(one.prediction_set) for one in predictions[:20]]
    unsure = [one.abstain or one.score < 0.6 for one in predictions[:20]]
    assert [row["abstain"] for row in rows] == [str(abstain) for abstain in unsure]
    assert [one.abstain for one in run.predict(files[:20], min_confidence=0.6)] == unsure


def test_without_coverage_and_confidence_outputs_are_unchanged(finished_run):
    inputs = finished_run.read_inputs(finished_run.folder.parent / "images" / "cat")
    found = finished_run.predict_inputs(inputs)
    new = ["predicted_label", "predicted_score", "probability_cat", "probability_dog"]
    assert list(to_columns(found, None).columns) == new
    assert sorted(to_json(found[0], None)) == ["input", "label", "probabilities", "score"]
    assert to_line(found[0], None).count("\t") == 2
    assert count_abstained(found) is None
    assert "coverage" not in json.loads((finished_run.folder / "metrics.json").read_text())["test"]


def test_a_confidence_without_a_coverage(finished_run, tmp_path):
    images = finished_run.folder.parent / "images" / "cat"
    (tmp_path / "broken.png").write_bytes(b"no image")
    inputs = [images / "000.png", images / "001.jpg", tmp_path / "broken.png"]
    scores = [one.score for one in finished_run.predict(inputs[:2])]
    between = sum(scores) / 2
    found = finished_run.predict(inputs, skip_broken=True, min_confidence=between)
    read = [to_json(one, None) for one in found]
    assert [one.get("abstain") for one in read] == [scores[0] < between, scores[1] < between, None]
    assert "prediction_set" not in read[0]
    assert count_abstained(found) == "1 of 2 abstained"


def test_a_prediction_of_labels_is_as_confident_as_its_least_confident_decision():
    prediction = MultilabelPrediction("x", ("p",), {"p": 0.8, "q": 0.3, "r": 0.05})
    assert prediction.confidence == pytest.approx(0.7)
    assert prediction.abstain_below(0.6).abstain is False
    assert prediction.abstain_below(0.75).abstain is True
    probabilities = {"probability_p": 0.8, "probability_q": 0.3, "probability_r": 0.05}
    assert prediction.columns() == {"predicted_labels": ("p",), **probabilities}
    assert "abstain" in prediction.abstain_below(0.75).columns()
    assert str(prediction.abstain_below(0.75)).endswith("\tabstain")
    assert {one.name for one in fields(ClassPrediction) if one.metadata} == {"abstain", "prediction_set"}
