"""Metrics of every epoch, against scikit-learn on the same predictions."""

import keras
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax
from sklearn.metrics import average_precision_score, f1_score, mean_squared_error, r2_score, roc_auc_score

from keras_transfer.config.schema import HeadConfig
from keras_transfer.heads import HEADS

ROWS = 700
RANDOM = np.random.default_rng(0)
NAMES = ("a", "b", "c")
CLASSES = RANDOM.choice(3, ROWS, p=[0.6, 0.3, 0.1])
MARKS = (RANDOM.random((ROWS, 3)) < [0.5, 0.2, 0.03]).astype("float32")
VALUES = (RANDOM.normal(size=(ROWS, 3)) * [1.0, 50.0, 0.01] + [0.0, 1000.0, 5.0]).astype("float32")
# Logits of a new head lie close together, those of a trained one far apart.
SCALES = (0.01, 1.0, 8.0)


def measure(head, targets, raw, names):
    """In batches, as an epoch does."""
    metrics = head.metrics(names)
    encoded = head.encode(targets)
    for start in range(0, ROWS, 64):
        for metric in metrics:
            metric.update_state(encoded[start : start + 64], raw[start : start + 64])
    return {metric.name: float(metric.result()) for metric in metrics}


@pytest.mark.parametrize("scale", SCALES)
def test_of_classes(scale):
    head = HEADS["class"].fit(NAMES, HeadConfig(), CLASSES)
    raw = (scale * (RANDOM.normal(size=(ROWS, 3)) + np.eye(3)[CLASSES])).astype("float32")
    values = measure(head, CLASSES, raw, ["macro_f1", "auroc"])
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(raw)).astype("float64")
    areas = [roc_auc_score(CLASSES == index, probabilities[:, index]) for index in range(3)]
    assert set(values) == {"accuracy", "macro_f1", "auroc"}
    assert values["macro_f1"] == pytest.approx(f1_score(CLASSES, raw.argmax(axis=1), average="macro"), abs=1e-6)
    assert values["auroc"] == pytest.approx(np.mean(areas), abs=1e-3)


def test_the_area_of_two_classes_matches_the_report():
    targets = CLASSES.clip(max=1)
    head = HEADS["class"].fit(("a", "b"), HeadConfig(), targets)
    raw = (RANDOM.normal(size=(ROWS, 2)) + np.eye(2)[targets]).astype("float32")
    report = head.report("test", head.predictions(raw), targets)
    values = measure(head, targets, raw, ["auroc", "macro_f1"])
    assert values["auroc"] == pytest.approx(report.auroc, abs=1e-3)
    assert values["macro_f1"] == pytest.approx(report.macro_f1, abs=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_of_labels(scale):
    head = HEADS["multilabel"].fit(NAMES, HeadConfig(), MARKS)
    raw = (scale * (RANDOM.normal(size=(ROWS, 3)) + MARKS - 0.5)).astype("float32")
    values = measure(head, MARKS, raw, ["macro_f1", "micro_f1", "mean_average_precision", "auroc"])
    report = head.report("test", head.predictions(raw), MARKS)
    assert values["f1"] == values["macro_f1"] == pytest.approx(report.macro_f1, abs=1e-6)
    assert values["micro_f1"] == pytest.approx(report.micro_f1, abs=1e-6)
    precisions = [average_precision_score(MARKS[:, index], raw[:, index]) for index in range(3)]
    assert values["mean_average_precision"] == pytest.approx(np.mean(precisions), abs=2e-3)
    assert values["auroc"] == pytest.approx(roc_auc_score(MARKS, raw, average="macro"), abs=1e-3)


def test_labels_that_no_row_has_are_left_out():
    marks = MARKS * [1.0, 1.0, 0.0]
    head = HEADS["multilabel"].fit(NAMES, HeadConfig(), MARKS)
    raw = RANDOM.normal(size=(ROWS, 3)).astype("float32")
    values = measure(head, marks, raw, ["mean_average_precision", "auroc"])
    assert values["auroc"] == pytest.approx(roc_auc_score(marks[:, :2], raw[:, :2], average="macro"), abs=1e-3)
    report = head.report("test", head.predictions(raw), marks)
    assert values["mean_average_precision"] == pytest.approx(report.mean_average_precision, abs=2e-3)
    nothing = measure(head, 0 * marks, raw, ["mean_average_precision", "auroc"])
    assert np.isnan([nothing["mean_average_precision"], nothing["auroc"]]).all()


@pytest.mark.parametrize("columns", [1, 3])
def test_of_numbers(columns):
    targets = VALUES[:, :columns]
    head = HEADS["number"].fit(NAMES[:columns], HeadConfig(), targets)
    raw = head.encode(targets) + RANDOM.normal(0.0, 0.3, targets.shape).astype("float32")
    values = measure(head, targets, raw, ["rmse", "r2"])
    predicted = head.predictions(raw).astype("float64")
    unit = targets.astype("float64").std(axis=0) if columns > 1 else 1.0
    errors = mean_squared_error(targets, predicted, multioutput="raw_values") ** 0.5
    assert values["rmse"] == pytest.approx(np.mean(errors / unit), rel=1e-4)
    assert values["r2"] == pytest.approx(r2_score(targets, predicted), rel=1e-4)
    assert values["mae"] == pytest.approx(head.report("test", predicted.astype("float32"), targets).mae, rel=1e-4)


def test_only_the_main_metric_is_measured_by_default():
    for kind, targets in (("class", CLASSES), ("multilabel", MARKS), ("number", VALUES)):
        head = HEADS[kind].fit(NAMES, HeadConfig(), targets)
        assert [metric.name for metric in head.metrics()] == [head.metric]
        assert head.epoch_metrics()[0].name == head.metric


def least_loss(kind, truth, raw):
    """With one row more of which nothing is known, and a normal prior of the logarithm of temperatures."""
    rows, outputs = truth.shape
    exact, doubt = raw.astype("float64"), 1.0 / (rows + 1)

    def objective(power, column):
        logits = np.exp(power) * exact
        if kind == "class":
            losses = -(((1.0 - doubt) * truth + doubt / outputs) * log_softmax(logits, axis=1)).sum(axis=1)
        else:
            known = (1.0 - doubt) * truth[:, column] + doubt / 2
            losses = -(known * log_expit(logits[:, column]) + (1 - known) * log_expit(-logits[:, column]))
        return losses.mean() + (power / 0.7) ** 2 / (2 * rows)

    columns = [0] if kind == "class" else range(outputs)
    return np.mean([minimize_scalar(objective, args=(k,), bounds=(-5, 5), method="bounded").fun for k in columns])


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("kind", ["class", "multilabel"])
def test_calibrated_loss_is_that_of_the_best_temperature(kind, scale):
    targets = CLASSES if kind == "class" else MARKS
    head = HEADS[kind].fit(NAMES, HeadConfig(), targets)
    truth = head.encode(targets).astype("float64")
    raw = (scale * (RANDOM.normal(size=(ROWS, 3)) + truth)).astype("float32")
    measured = measure(head, targets, raw, ["calibrated_loss"])
    assert measured["calibrated_loss"] == pytest.approx(least_loss(kind, truth, raw), rel=5e-3)
    at_once = head.measure(raw, targets, head.metrics(["calibrated_loss"]))
    assert at_once["calibrated_loss"] == pytest.approx(measured["calibrated_loss"], rel=1e-4)


@pytest.mark.parametrize("answer", [0, 1])
def test_calibrated_loss_of_extreme_logits_is_finite(answer):
    head = HEADS["class"].fit(NAMES, HeadConfig(), CLASSES)
    metric = head.metrics(["calibrated_loss"])[-1]
    truth, raw = np.eye(3, dtype="float32")[[answer] * 8], np.tile([[40.0, 0.0, -40.0]], (8, 1))
    metric.update_state(truth, raw)
    assert float(metric.result()) == pytest.approx(least_loss("class", truth, raw), rel=0.02)


def test_calibrated_loss_of_thousands_of_classes():
    head = HEADS["class"].fit(tuple(map(str, range(4000))), HeadConfig(), np.arange(64))
    raw = RANDOM.normal(size=(64, 4000)).astype("float32")
    raw[np.arange(64), np.arange(64)] += 5.0
    metric = head.metrics(["calibrated_loss"])[-1]
    truth = head.encode(np.arange(64))
    metric.update_state(truth, raw)
    assert float(metric.result()) == pytest.approx(least_loss("class", truth, raw), rel=5e-3)
