"""Reports, against results computed by hand."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, r2_score

from keras_transfer.config.schema import HeadConfig
from keras_transfer.heads import (
    ClassificationHead,
    ClassificationReport,
    MultilabelHead,
    MultilabelReport,
    NumberHead,
    RegressionReport,
)
from keras_transfer.heads.evaluation import MEAN_ABSOLUTE_ERROR, Gain, measure_gain
from keras_transfer.heads.multilabel import average_precision
from keras_transfer.heads.resampling import bootstrap

NAMES = ("a", "b")
LABELS = np.array([0, 0, 0, 1, 1])
HEAD = ClassificationHead(NAMES, HeadConfig())
PROBABILITIES = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.7, 0.3]], np.float32)


def test_a_report_of_five_rows():
    report = HEAD.report("test", PROBABILITIES, LABELS)
    assert report.n == 5
    assert report.accuracy == pytest.approx(3 / 5)
    assert report.confusion == ((2, 1), (1, 1))
    assert report.classes[0].precision == pytest.approx(2 / 3)
    assert report.classes[1].recall == pytest.approx(1 / 2)
    assert report.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    # Of the six pairs of an a and a b, the b scores higher in 0.7 > 0.1, 0.4 and 0.3 > 0.1: three.
    assert report.auroc == pytest.approx(3 / 6)
    assert report.loss == pytest.approx(-np.log([0.9, 0.6, 0.2, 0.7, 0.3]).mean(), rel=1e-6)


def test_the_interval_is_the_wilson_interval():
    labels = np.zeros(100, int)
    labels[90:] = 1
    probabilities = np.tile(np.array([[0.9, 0.1]], np.float32), (100, 1))
    low, high = HEAD.report("test", probabilities, labels).accuracy_interval
    # 90 of 100: Newcombe 1998, Statistics in Medicine 17, formula of method 3.
    z, p, n = 1.959964, 0.9, 100
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert (low, high) == pytest.approx(
        ((centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)), rel=1e-5
    )


def test_three_classes_have_no_auroc_and_a_class_without_rows_has_no_scores():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], np.float32)
    report = ClassificationHead(("a", "b", "c"), HeadConfig()).report("test", probabilities, np.array([0, 1]))
    assert report.auroc is None
    assert (report.classes[2].f1, report.classes[2].support) == (None, 0)


def test_a_report_survives_json():
    report = HEAD.report("test", PROBABILITIES, LABELS)
    assert ClassificationReport.from_json("test", report.to_json()) == report


def test_a_gain_is_a_paired_difference():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    head = np.where(random.uniform(size=400) < 0.7, labels, 1 - labels)
    tuned = np.where(random.uniform(size=400) < 0.5, labels, head)  # right wherever the head is, and more often

    def gain(one, other):
        options = {"head_seconds": 2.0, "seconds": 20.0}
        return measure_gain(
            HEAD.figure,
            lambda rows, counts: HEAD.score(rows, labels, counts),
            np.eye(2)[one],
            np.eye(2)[other],
            **options,
        )

    better = gain(tuned, head)
    assert better.head_value == (head == labels).mean()
    assert better.difference == pytest.approx((tuned == labels).mean() - (head == labels).mean())
    # The differences are 0 or 1: their standard error is known.
    error = np.sqrt(better.difference * (1 - better.difference) / 400)
    assert better.interval == pytest.approx(
        (better.difference - 1.96 * error, better.difference + 1.96 * error), abs=0.005
    )
    assert str(better).startswith("better than the solved head alone (0.") and "points (95 % interval +" in str(better)
    assert "10 times cheaper" in str(better)
    assert str(gain(head, tuned)).startswith("WORSE than")
    assert str(gain(head, head)) == (
        "no measurable gain, +0.0 points (95 % interval +0.0 to +0.0): the head alone is 10 times cheaper to train"
    )
    assert Gain.from_json(better.to_json()) == better
    assert set(better.to_json()) == {"head_accuracy", "difference", "interval", "head_seconds", "seconds"}


LABELS_OF_ROWS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], np.float32)
SCORES = np.array([[0.9, 0.2, 0.1], [0.4, 0.8, 0.3], [0.6, 0.7, 0.2], [0.1, 0.75, 0.4]], np.float32)


def multilabel(thresholds=(0.5, 0.5, 0.5)):
    return MultilabelHead(("a", "b", "c"), HeadConfig(), thresholds)


def test_a_report_of_labels():
    report = multilabel().report("test", SCORES, LABELS_OF_ROWS)
    a, b, c = report.labels
    # Ranked, a's rows are right, wrong, right, wrong: precision 1 and 2/3; b's right, wrong, right, wrong.
    assert a.average_precision == b.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert (c.average_precision, c.support) == (None, 0)
    assert report.mean_average_precision == pytest.approx(5 / 6)
    assert (a.precision, a.recall, a.f1) == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    assert (b.precision, b.recall, b.f1) == pytest.approx((2 / 3, 1, 4 / 5))
    assert report.macro_f1 == pytest.approx((1 / 2 + 4 / 5) / 2)
    assert report.micro_f1 == pytest.approx(2 * 3 / (2 * 3 + 2 + 1))
    given = np.where(LABELS_OF_ROWS > 0, SCORES, 1 - SCORES)
    assert report.loss == pytest.approx(-np.log(given).mean(), rel=1e-6)
    low, high = report.mean_average_precision_interval
    assert low <= report.mean_average_precision <= high <= 1
    assert MultilabelReport.from_json("test", json.loads(json.dumps(report.to_json()))) == report


@pytest.mark.parametrize("digits", [8, 1], ids=["all different", "ties"])
def test_average_precision_matches_scikit_learn_for_every_resample(digits):
    random = np.random.default_rng(0)
    truth = (random.uniform(size=60) < 0.3).astype("float32")
    scores = (random.uniform(size=60) + 0.3 * truth).round(digits)
    counts = random.integers(0, 3, (4, 60)).astype(float)
    expected = [average_precision_score(truth, scores, sample_weight=weights) for weights in counts]
    assert average_precision(scores, truth, counts) == pytest.approx(expected)


def test_rows_without_any_label_have_no_average_precision():
    report = multilabel().report("test", SCORES, np.zeros((4, 3), np.float32))
    assert (report.mean_average_precision, report.mean_average_precision_interval) == (None, None)
    assert "NaN" not in json.dumps(report.to_json())
    assert MultilabelReport.from_json("test", report.to_json()) == report


def test_smaller_errors_are_better():
    better = Gain(MEAN_ABSOLUTE_ERROR, 0.25, -0.05, (-0.07, -0.03), 2.0, 2.0)
    assert str(better) == (
        "better than the solved head alone (0.2500), -0.05 in mean absolute error (95 % interval -0.07 to -0.03); "
        "it costs as much"
    )
    assert Gain.from_json(json.loads(json.dumps(better.to_json()))) == better


def test_thresholds_maximize_f1_on_the_given_rows():
    config = HeadConfig(threshold={"metric": "f1"})
    head = MultilabelHead.fit(("a", "b", "c"), config, LABELS_OF_ROWS).choose_thresholds(SCORES, LABELS_OF_ROWS)
    a, b, c = head.thresholds
    # a: taking all down to 0.4 finds both with one too many, 0.8; only 0.9 finds one of two, 0.67.
    assert a == pytest.approx((0.4 + 0.1) / 2)
    assert b == pytest.approx((0.7 + 0.2) / 2)
    assert c == 0.5  # no row has it
    assert head.report("test", SCORES, LABELS_OF_ROWS).labels[0].f1 == pytest.approx(0.8)
    assert [prediction.labels for prediction in (head.to_prediction("x", row) for row in SCORES)] == [
        ("a",),
        ("a", "b"),
        ("a", "b"),
        ("b",),
    ]
    assert MultilabelHead.restore(head.names, head.config, json.loads(json.dumps(head.facts))) == head


NUMBERS = np.array([[1.0, 10.0], [2.0, 30.0], [3.0, 20.0], [6.0, 40.0]], np.float32)


def test_a_report_of_numbers():
    head = NumberHead.fit(("x", "y"), HeadConfig(), NUMBERS)
    said = NUMBERS + np.array([[1, -5], [-1, 5], [1, 5], [3, 5]], np.float32)
    report = head.report("test", said, NUMBERS)
    x, y = report.numbers
    assert (x.mae, x.rmse) == pytest.approx((6 / 4, np.sqrt(12 / 4)))
    assert (y.mae, y.rmse) == pytest.approx((5, 5))
    assert x.r2 == pytest.approx(r2_score(NUMBERS[:, 0], said[:, 0]))
    assert y.r2 == pytest.approx(r2_score(NUMBERS[:, 1], said[:, 1]))
    # Thrown together, errors are counted in standard deviations.
    deviations = NUMBERS.std(axis=0)
    assert report.mae == pytest.approx((1.5 / deviations[0] + 5 / deviations[1]) / 2)
    assert report.loss == pytest.approx((((said - NUMBERS) / deviations) ** 2).mean(), rel=1e-5)
    for figure, (low, high) in ((x.mae, x.mae_interval), (y.rmse, y.rmse_interval)):
        assert low <= figure <= high
    assert RegressionReport.from_json("test", json.loads(json.dumps(report.to_json()))) == report
    one = NumberHead.fit(("x",), HeadConfig(), NUMBERS[:, :1]).report("test", said[:, :1], NUMBERS[:, :1])
    assert one.mae == pytest.approx(1.5)


def test_bootstrap_intervals_match_those_of_the_mean():
    errors = np.random.default_rng(1).normal(5.0, 2.0, 500)
    low, high = bootstrap(lambda counts: counts @ errors / counts.sum(axis=1), 500)
    half = 1.96 * errors.std() / np.sqrt(500)
    assert (low, high) == pytest.approx((errors.mean() - half, errors.mean() + half), abs=0.02)
    assert (low, high) == bootstrap(lambda counts: counts @ errors / counts.sum(axis=1), 500)


def test_constant_numbers_have_no_r2():
    head = NumberHead.fit(("x",), HeadConfig(), NUMBERS[:, :1])
    report = head.report("test", np.array([[1.0], [2.0]]), np.array([[2.0], [2.0]]))
    assert (report.numbers[0].r2, report.numbers[0].r2_interval) == (None, None)
    assert report.mae == pytest.approx(0.5)
