"""Metrics of every epoch, against scikit-learn on the same predictions."""

import keras
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax
from sklearn.metrics import average_precision_score, f1_score, mean_squared_error, r2_score, roc_auc_score

from keras_transfer.config import HeadConfig
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


def test_of_two_classes_the_area_is_that_of_the_report():
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


def test_nothing_is_measured_that_nobody_asked_for():
    for kind, targets in (("class", CLASSES), ("multilabel", MARKS), ("number", VALUES)):
        head = HEADS[kind].fit(NAMES, HeadConfig(), targets)
        assert [metric.name for metric in head.metrics()] == [head.metric]
        assert head.epoch_metrics()[0].name == head.metric


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("kind", ["class", "multilabel"])
def test_calibrated_loss_is_that_of_the_best_temperature(kind, scale):
    targets = CLASSES if kind == "class" else MARKS
    head = HEADS[kind].fit(NAMES, HeadConfig(), targets)
    truth = head.encode(targets).astype("float64")
    raw = (scale * (RANDOM.normal(size=(ROWS, 3)) + truth)).astype("float32")
    doubt = 1.0 / (ROWS + 1)

    def loss(factor, column):
        logits = factor * raw.astype("float64")
        if kind == "class":
            known = (1.0 - doubt) * truth + doubt / 3
            return -(known * log_softmax(logits, axis=1)).sum(axis=1).mean()
        known = (1.0 - doubt) * truth[:, column] + doubt / 2
        return -(known * log_expit(logits[:, column]) + (1 - known) * log_expit(-logits[:, column])).mean()

    columns = [0] if kind == "class" else range(3)
    found = [minimize_scalar(lambda x, k=k: loss(np.exp(x), k), bounds=(-5, 5), method="bounded").fun for k in columns]
    assert measure(head, targets, raw, ["calibrated_loss"])["calibrated_loss"] == pytest.approx(
        np.mean(found), rel=3e-3
    )


@pytest.mark.parametrize("answer", [0, 1])
def test_calibrated_loss_of_certain_logits_is_finite(answer):
    head = HEADS["class"].fit(NAMES, HeadConfig(), CLASSES)
    (metric,) = [one for one in head.metrics(["calibrated_loss"]) if one.name == "calibrated_loss"]
    metric.update_state(np.eye(3, dtype="float32")[[answer] * 8], np.tile([[40.0, 0.0, -40.0]], (8, 1)))
    # Right, the loss is less than that of one doubtful row of nine; wrong, hardly more than that of a guess.
    assert 0.0 < float(metric.result()) < (0.45 if answer == 0 else 1.3)


def test_calibrated_loss_of_thousands_of_classes():
    names = tuple(map(str, range(4000)))
    targets = np.arange(64)
    head = HEADS["class"].fit(names, HeadConfig(), targets)
    raw = RANDOM.normal(size=(64, 4000)).astype("float32")
    raw[targets, targets] += 5.0
    metric = head.metrics(["calibrated_loss"])[-1]
    metric.update_state(head.encode(targets), raw)
    known = head.encode(targets) * 64 / 65 + 1 / 65 / 4000

    def loss(power):
        return -(known * log_softmax(np.exp(power) * raw.astype("float64"), axis=1)).sum(axis=1).mean()

    found = minimize_scalar(loss, bounds=(-5, 5), method="bounded").fun
    assert float(metric.result()) == pytest.approx(found, rel=5e-3)
