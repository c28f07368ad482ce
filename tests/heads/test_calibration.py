"""Temperatures and standard deviations, against independent optima; metrics of calibration, against scikit-learn."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from keras_transfer.config.schema import HeadConfig
from keras_transfer.errors import TrainingError
from keras_transfer.heads import ClassificationHead, MultilabelHead, NumberHead
from keras_transfer.heads.calibration import Calibration, Fitted, to_class_logits, to_label_logits

NAMES = ("a", "b", "c")


def overconfident(rows, temperature, seed=0):
    """Logits of a model that is calibrated once they are divided by the temperature, and classes."""
    random = np.random.default_rng(seed)
    true = random.normal(size=(rows, len(NAMES))) * 2
    classes = np.array([random.choice(len(NAMES), p=row) for row in softmax(true, axis=1)])
    return true * temperature, classes


def class_head(**options):
    return ClassificationHead.fit(NAMES, HeadConfig(**options), np.arange(3))


def label_head():
    return MultilabelHead.fit(NAMES, HeadConfig(), np.eye(3, dtype=np.float32))


def labels_of(rows, temperatures, seed=0):
    random = np.random.default_rng(seed)
    true = random.normal(size=(rows, 3)) * 2
    labels = (random.uniform(size=true.shape) < expit(true)).astype(np.float32)
    return true * np.array(temperatures), labels


@pytest.mark.parametrize("temperature", [0.4, *(pytest.param(value, marks=pytest.mark.slow) for value in (1.0, 3.0))])
def test_temperature_is_the_optimum_on_a_fine_grid_and_near_the_true_one(temperature):
    logits, classes = overconfident(4000, temperature)
    head = class_head().calibrate(softmax(logits, axis=1).astype(np.float32), classes)
    (found,) = head.calibration.values
    grid = np.geomspace(0.2, 5.0, 801)
    losses = [log_loss(classes, softmax(logits / value, axis=1)) for value in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.01)
    assert found == pytest.approx(temperature, rel=0.1)
    assert head.calibration.fitted == Fitted("validation", 4000)


def test_a_label_has_the_slope_of_a_logistic_regression_on_its_own_logit():
    logits, labels = labels_of(3000, (0.5, 2.0, 5.0))
    head = label_head().calibrate(expit(logits).astype(np.float32), labels)
    for column, found in enumerate(head.calibration.values):
        # Without penalty and intercept, the slope is the inverse temperature.
        model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8)
        slope = model.fit(logits[:, [column]], labels[:, column]).coef_[0, 0]
        assert found == pytest.approx(1.0 / slope, rel=0.02)


def test_a_label_that_few_rows_have_shares_the_temperature_of_all():
    logits, labels = labels_of(400, (2.0, 2.0, 2.0))
    labels[:, 1], labels[4:, 2] = 0.0, 1.0
    own, never, nearly_always = label_head().calibrate(expit(logits).astype(np.float32), labels).calibration.values
    assert never == nearly_always != own


def test_order_never_changes():
    logits, classes = overconfident(300, 4.0)
    predicted = softmax(logits, axis=1).astype(np.float32)
    head = class_head().calibrate(predicted, classes)
    assert head.calibration.values[0] > 2.0
    assert np.array_equal(np.argsort(head.calibrated(predicted), axis=1), np.argsort(predicted, axis=1))
    logits, labels = labels_of(300, (0.5, 2.0, 5.0))
    predicted = np.unique(expit(logits[:, 0])).astype(np.float32)[:, None].repeat(3, axis=1)
    calibrated = label_head().calibrate(expit(logits).astype(np.float32), labels).calibrated(predicted)
    assert (np.diff(calibrated, axis=0) >= 0).all()


@pytest.mark.parametrize("values", [(0.5,), (3.0,)])
def test_probabilities_of_zero_and_one_stay_probabilities(values):
    certain = np.array([[1.0, 0.0, 0.0], [0.0, 1e-40, 1.0]], np.float32)
    for head, count in ((class_head(), 1), (label_head(), 3)):
        calibrated = replace(head, calibration=Calibration(values * count, Fitted("validation", 9)))
        found = calibrated.calibrated(certain)
        inputs = keras.Input((3,))
        served = np.asarray(keras.Model(inputs, calibrated.add_calibration(inputs))(certain))
        assert np.isfinite(found).all() and ((found >= 0) & (found <= 1)).all()
        np.testing.assert_allclose(served, found, rtol=1e-4, atol=1e-7)
        assert found[0].argmax() == 0 and found[1].argmax() == 2


def test_metrics_before_and_after_match_scikit_learn():
    logits, classes = overconfident(500, 3.0)
    raw = softmax(logits, axis=1).astype(np.float32)
    head = class_head().calibrate(raw, classes)
    predicted = head.calibrated(raw)
    report = head.report("test", predicted, classes)
    for part, probabilities in ((report.calibration.before, raw), (report.calibration.after, predicted)):
        exact = probabilities.astype(np.float64) / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
        assert part["log_loss"].value == pytest.approx(log_loss(classes, exact), rel=1e-4)
        assert part["brier_score"].value == pytest.approx(brier_score_loss(classes, exact), rel=1e-4)
        confidence, right = exact.max(axis=1), exact.argmax(axis=1) == classes
        error = 0.0
        for low in np.arange(15) / 15:
            inside = (confidence > low) & (confidence <= low + 1 / 15)
            error += abs(confidence[inside].sum() - right[inside].sum()) / 500
        assert part["expected_calibration_error"].value == pytest.approx(error, rel=1e-3)
        assert part["log_loss"].interval[0] < part["log_loss"].value < part["log_loss"].interval[1]
    assert report.calibration.after["log_loss"].value == pytest.approx(report.loss)
    assert report.calibration.after["log_loss"].value < report.calibration.before["log_loss"].value
    values = json.loads(json.dumps(report.to_json()))
    assert report.to_json() == values
    assert type(report).from_json("test", values) == report


def test_reliability_of_labels_matches_the_calibration_curve_of_scikit_learn():
    logits, labels = labels_of(400, (3.0, 3.0, 3.0))
    predicted = expit(logits).astype(np.float32)
    head = label_head()
    bins = head.reliability(predicted, labels)
    accuracy, confidence = calibration_curve(labels.ravel(), predicted.ravel(), n_bins=15)
    np.testing.assert_allclose([one.accuracy for one in bins.before], accuracy)
    np.testing.assert_allclose([one.confidence for one in bins.before], confidence, rtol=1e-5)
    assert sum(one.rows for one in bins.before) == labels.size and bins.after == ()
    assert head.calibrate(predicted, labels).reliability(predicted, labels).after


@pytest.mark.slow
def test_standard_deviations_of_numbers_are_those_of_residuals():
    random = np.random.default_rng(0)
    targets = random.normal(size=(3000, 2)).astype(np.float32) * np.array([10.0, 0.1], np.float32)
    errors = random.normal(size=targets.shape) * np.array([2.0, 0.03])
    head = NumberHead.fit(("x", "y"), HeadConfig(), targets)
    head = head.calibrate((targets + errors).astype(np.float32), targets)
    np.testing.assert_allclose(head.calibration.values, errors.std(axis=0), rtol=0.02)
    report = head.report("test", (targets + errors).astype(np.float32), targets).calibration
    assert report.after["coverage"].value == pytest.approx(0.95, abs=0.01)
    # The entropy of normal distributions, the mean of both.
    entropy = np.mean(np.log(np.array([2.0, 0.03]) * np.sqrt(2 * np.pi * np.e)))
    assert report.after["negative_log_likelihood"].value == pytest.approx(entropy, abs=0.05)
    assert NumberHead.restore(head.names, head.config, json.loads(json.dumps(head.facts))) == head


def test_thresholds_are_chosen_on_calibrated_probabilities():
    logits, classes = overconfident(400, 5.0)
    raw = softmax(logits, axis=1).astype(np.float32)
    head = class_head(threshold={"metric": "f1"}).calibrate(raw, classes)
    apart = class_head(threshold={"metric": "f1"})
    apart = replace(apart, calibration=head.calibration).calibrate(raw, classes)
    assert head.decision == apart.decision
    assert head.decision.choice.value == pytest.approx(head.report("v", head.calibrated(raw), classes).macro_f1)


ROWS = np.full(6, 0)
CERTAIN = np.tile(np.array([[1.0, 0.0, 0.0]], np.float32), (6, 1))


@pytest.mark.parametrize(
    ("predicted", "classes", "holds"),
    [
        pytest.param(CERTAIN, ROWS, lambda p: 0.9 < p[0, 0] < 1.0, id="all confident and right"),
        pytest.param(CERTAIN, ROWS + 1, lambda p: p[0, 0] < 0.8, id="all confident and wrong"),
        pytest.param(np.full((6, 3), 1 / 3, np.float32), ROWS, lambda p: np.allclose(p, 1 / 3), id="nothing learned"),
        pytest.param(CERTAIN[:1], ROWS[:1], lambda p: p[0, 0] < 1.0, id="a single row"),
        pytest.param(CERTAIN * 0.8 + 0.2 / 3, ROWS, lambda p: 0.86 < p[0, 0] < 1.0, id="one class only"),
    ],
)
def test_few_rows_give_neither_extreme_probabilities_nor_nan(predicted, classes, holds):
    head = class_head().calibrate(predicted, classes)
    assert holds(head.calibrated(predicted)), head.calibrated(predicted)
    assert np.isfinite(head.report("validation", head.calibrated(predicted), classes).loss)


def test_many_classes():
    predicted = softmax(np.random.default_rng(0).normal(size=(50, 5000)) * 5, axis=1).astype(np.float32)
    names = tuple(map(str, range(5000)))
    head = ClassificationHead.fit(names, HeadConfig(), np.arange(5000)).calibrate(predicted, np.arange(50))
    assert head.calibration.values[0] > 5.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_predictions_that_are_not_finite_are_refused(bad):
    predicted = np.full((4, 3), 1 / 3, np.float32)
    predicted[2, 1] = bad
    for head, targets in ((class_head(), np.zeros(4, int)), (label_head(), np.zeros((4, 3)))):
        with pytest.raises(TrainingError, match="1 of 4 validation rows are NaN or infinite"):
            head.calibrate(predicted, targets)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), "x", None])
def test_a_damaged_temperature_is_an_error(value):
    facts = {"temperature": value, "calibrated_on": {"split": "validation", "rows": 9}}
    with pytest.raises((ValueError, TypeError)):
        ClassificationHead.restore(NAMES, HeadConfig(), facts)


def test_facts_of_an_old_run_have_no_temperature():
    assert ClassificationHead.restore(NAMES, HeadConfig(), {}).calibration is None


def test_logits_of_probabilities():
    logits = np.array([[2.0, -1.0, 0.5]])
    np.testing.assert_allclose(softmax(to_class_logits(softmax(logits))), softmax(logits))
    np.testing.assert_allclose(to_label_logits(expit(logits)), logits)
