"""Prediction sets and intervals: worked out by hand, and the promise over many draws of exchangeable rows."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from keras_transfer.config.schema import HeadConfig
from keras_transfer.heads import ClassificationHead, MultilabelHead, NumberHead
from keras_transfer.heads.coverage import conformal_quantile, rows_needed

COVERING = HeadConfig(coverage=0.75)


def again(head):
    return type(head).restore(head.names, head.config, json.loads(json.dumps(head.facts)))


@pytest.mark.parametrize(
    ("rows", "coverage", "rank"),
    [
        pytest.param(9, 0.9, 9, id="the least number of rows"),
        pytest.param(10, 0.9, 10, id="one more"),
        pytest.param(19, 0.9, 18, id="an exact rank"),
        pytest.param(99, 0.95, 95, id="an exact rank of many"),
        pytest.param(99, 0.07, 7, id="100 * 0.07 is 7.000000000000001 in binary"),
        pytest.param(999, 0.57, 570, id="1000 * 0.57 is 569.9999999999999 in binary"),
        pytest.param(1000, 0.9, 901, id="never n * coverage alone"),
    ],
)
def test_the_quantile_is_the_corrected_rank(rows, coverage, rank):
    scores = np.random.default_rng(rows).permutation(np.arange(1.0, rows + 1))
    assert conformal_quantile(scores, coverage) == rank
    if rows < 500:
        assert rank == math.ceil(round((rows + 1) * coverage, 6))


@pytest.mark.parametrize(("coverage", "rows"), [(0.5, 1), (0.75, 3), (0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999)])
def test_the_number_of_rows_that_a_coverage_needs(coverage, rows):
    assert rows_needed(coverage) == rows


def test_sets_of_classes_by_hand():
    """Of seven rows, the bound is the sixth in order; rows whose class is predicted come first."""
    probabilities = np.array(
        [
            [0.6, 0.3, 0.1],  # right
            [0.1, 0.8, 0.1],  # right
            [0.2, 0.2, 0.6],  # right
            [0.55, 0.35, 0.10],  # the second, 0.35
            [0.45, 0.25, 0.30],  # the third, 0.30
            [0.55, 0.20, 0.25],  # the second, 0.20
            [0.90, 0.05, 0.05],  # the third, 0.05
        ],
        np.float32,
    )
    targets = np.array([0, 1, 2, 1, 2, 1, 2])
    head = ClassificationHead.fit(("a", "b", "c"), COVERING, targets).choose_coverage(probabilities, targets)
    assert head.facts == {"coverage": {"promised": 0.75, "rows": 7, "bounds": pytest.approx(0.20)}}
    assert again(head) == head
    rows = np.array([[0.5, 0.2, 0.3], [0.19, 0.19, 0.62], [0.1, 0.5, 0.4], [0.2, 0.2, 0.6]], np.float32)
    predictions = [head.to_prediction("x", row) for row in rows]
    assert [one.prediction_set for one in predictions] == [("a", "c", "b"), ("c",), ("b", "c"), ("c", "a", "b")]
    assert [one.abstain for one in predictions] == [True, False, True, True]
    assert [one.label for one in predictions] == ["a", "c", "b", "c"]
    report = head.report("test", probabilities, targets)
    coverage = report.to_json()["coverage"]
    assert (coverage["covered"], coverage["promised"], coverage["validation_rows"]) == (6 / 7, 0.75, 7)
    assert coverage["mean_size"] == (2 + 1 + 3 + 2 + 3 + 3 + 1) / 7
    assert coverage["abstained"] == 5 / 7
    assert type(report).from_json("test", json.loads(json.dumps(report.to_json()))) == report


def test_no_set_is_empty_and_a_model_that_is_right_often_enough_never_abstains():
    random = np.random.default_rng(0)
    targets = random.integers(0, 3, 200)
    rows = np.full((200, 3), 0.05, np.float32) + 0.85 * np.eye(3, dtype=np.float32)[targets]
    rows[:10] = [0.4, 0.3, 0.3]
    head = ClassificationHead.fit(("a", "b", "c"), HeadConfig(coverage=0.9), targets).choose_coverage(rows, targets)
    found = [head.to_prediction("x", row) for row in (*rows, np.full(3, 1 / 3, np.float32))]
    assert {len(one.prediction_set) for one in found} == {1}
    assert not any(one.abstain for one in found)
    assert head.report("test", rows, targets).coverage.covered == pytest.approx(np.mean(rows.argmax(1) == targets))


def test_all_confident_and_all_wrong_is_a_set_of_all_classes():
    rows, targets = np.tile(np.array([[1.0, 0.0, 0.0]], np.float32), (20, 1)), np.full(20, 1)
    head = ClassificationHead.fit(("a", "b", "c"), HeadConfig(coverage=0.9), targets).choose_coverage(rows, targets)
    assert head.to_prediction("x", rows[0]).prediction_set == ("a", "b", "c")
    assert head.report("test", rows, targets).coverage.covered == 1.0


def test_the_class_that_thresholds_predict_is_in_the_set():
    config = HeadConfig(coverage=0.75, threshold={"value": 0.2, "positive": "bad"})
    targets = np.array([0, 0, 0, 0, 1, 1, 1])
    bad = np.array([0.1, 0.15, 0.05, 0.3, 0.25, 0.6, 0.1], np.float32)
    head = ClassificationHead.fit(("ok", "bad"), config, targets)
    head = head.choose_coverage(np.stack([1 - bad, bad], axis=1), targets)
    # Wrong are the fourth row, whose class has 0.7, and the last, whose class has 0.1: the sixth of seven is 0.7.
    assert head.coverage.bounds == (pytest.approx(0.7),)
    one, other, third = (head.to_prediction("x", np.array([1 - p, p], np.float32)) for p in (0.25, 0.31, 0.1))
    assert (one.label, one.prediction_set, one.abstain) == ("bad", ("ok", "bad"), True)
    assert (other.label, other.prediction_set) == ("bad", ("bad",))
    assert (third.label, third.prediction_set) == ("ok", ("ok",))
    assert again(head) == head


def test_labels_by_hand():
    """Each label has its own bound: the probability of the decision that was not made."""
    truth = np.array([[1, 0], [1, 0], [0, 0], [0, 0], [1, 1], [0, 0], [0, 0]], np.float32)
    scores = np.array([[9, 1], [8, 2], [7, 1], [1, 6], [2, 3], [1, 1], [2, 1]], np.float32) / 10
    head = MultilabelHead.fit(("p", "q"), COVERING, truth).choose_coverage(scores, truth)
    # Wrong about p are the third row (0.7, so 0.3 for the truth) and the fifth (0.2); the sixth of seven is 0.3.
    # Wrong about q are the fourth row (0.6, so 0.4 for the truth) and the fifth (0.3); the sixth of seven is 0.4.
    assert head.coverage.bounds == pytest.approx((0.3, 0.4))
    assert again(head) == head
    rows = np.array([[0.9, 0.1], [0.6, 0.1], [0.35, 0.1], [0.1, 0.45], [0.25, 0.55]], np.float32)
    found = [head.to_prediction("x", row) for row in rows]
    assert [one.labels for one in found] == [("p",), ("p",), (), (), ("q",)]
    assert [one.uncertain for one in found] == [(), ("p",), ("p",), ("q",), ("q",)]
    assert [one.prediction_set for one in found] == [("p",), ("p",), ("p",), ("q",), ("q",)]
    assert [one.abstain for one in found] == [False, True, True, True, True]
    report = head.report("test", scores, truth)
    coverage = report.to_json()["coverage"]
    assert coverage["labels"]["p"]["covered"] == coverage["labels"]["q"]["covered"] == 6 / 7
    assert (coverage["labels"]["p"]["uncertain"], coverage["labels"]["q"]["uncertain"]) == (1 / 7, 1 / 7)
    assert (coverage["abstained"], coverage["mean_size"]) == (2 / 7, (1 + 1 + 1 + 1 + 0) / 7)
    assert type(report).from_json("test", json.loads(json.dumps(report.to_json()))) == report


def test_intervals_by_hand():
    truth = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
    predicted = truth + np.array([[0.5], [-1.0], [0.25], [2.0], [-4.0], [0.75], [1.5]])
    head = NumberHead.fit(("price",), COVERING, truth).choose_coverage(predicted.astype(np.float32), truth)
    assert head.coverage.bounds == (2.0,)  # of 0.25, 0.5, 0.75, 1, 1.5, 2 and 4 the sixth
    assert again(head) == head
    prediction = head.to_prediction("x", np.array([10.0], np.float32))
    assert prediction.intervals == {"price": (8.0, 12.0)}
    assert prediction.columns() == {"predicted_price": 10.0, "low_price": 8.0, "high_price": 12.0}
    assert str(prediction) == "price 10 (8 to 12)"
    report = head.report("test", predicted, truth)
    coverage = report.to_json()["coverage"]["numbers"]["price"]
    assert (coverage["covered"], coverage["mean_width"]) == (6 / 7, 4.0)
    assert type(report).from_json("test", json.loads(json.dumps(report.to_json()))) == report


# The promise.


def draw_classes(random, rows):
    """Four classes of 80, 15, 4 and 1 %; probabilities that are too confident, and right for half of the rows."""
    targets = random.choice(4, rows, p=[0.80, 0.15, 0.04, 0.01])
    logits = random.normal(size=(rows, 4)) + np.eye(4)[targets] + [0.0, 0.5, 0.0, 0.5]
    exact = np.exp(3.0 * logits)
    return (exact / exact.sum(axis=1, keepdims=True)).astype(np.float32), targets


def draw_labels(random, rows):
    """Two labels of 50 and 20 %; the second is predicted too often."""
    truth = (random.uniform(size=(rows, 2)) < [0.5, 0.2]).astype(np.float32)
    logits = 1.5 * random.normal(size=(rows, 2)) + 0.5 * (2 * truth - 1) + [0.0, 1.0]
    return (1.0 / (1.0 + np.exp(-2.0 * logits))).astype(np.float32), truth


def draw_numbers(random, rows):
    """Two numbers with heavy tails, whose spread depends on the row."""
    predicted = random.normal(size=(rows, 2)).astype(np.float32)
    spread = 0.1 + np.abs(predicted)
    return predicted, predicted + spread * random.standard_t(2.5, size=(rows, 2)) * [1.0, 10.0]


KINDS = {
    "class": (ClassificationHead, ("a", "b", "c", "d"), draw_classes),
    "multilabel": (MultilabelHead, ("p", "q"), draw_labels),
    "number": (NumberHead, ("x", "y"), draw_numbers),
}


def covered(head, predicted, targets):
    """Of each output, the share of rows whose set or interval has the truth, from what an export returns."""
    served = {name: np.asarray(x) for name, x in head.serving_outputs(tf.constant(predicted)).items()}
    if "low" in served:
        return ((served["low"] <= targets) & (targets <= served["high"])).mean(axis=0)
    if "uncertain" in served:
        return ((served["present"] == (targets > 0.5)) | served["uncertain"]).mean(axis=0)
    return np.array([served["in_set"][np.arange(len(targets)), targets].mean()])


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_coverage_is_as_promised(kind):
    """Within [coverage, coverage + 1 / (n + 1)], of models that are right less often than is promised.

    The rank is ceil(21 * 0.9) = 19 of 20, and the expected coverage 19 / 21. Without the correction, ceil(20 * 0.9) is
    18, and the coverage 18 / 21 = 0.857.
    """
    head, names, draw = KINDS[kind]
    rows, coverage, splits, tested = 20, 0.9, 250, 200
    random, shares = np.random.default_rng(8), []
    for _ in range(splits):
        predicted, targets = draw(random, rows)
        made = head.fit(names, HeadConfig(coverage=coverage), targets).choose_coverage(predicted, targets)
        shares.append(covered(made, *draw(random, tested)))
    means, errors = np.mean(shares, axis=0), np.std(shares, axis=0) / np.sqrt(splits)
    assert (errors < 0.005).all()
    assert (means > coverage - 3 * errors).all(), means
    assert (means < coverage + 1 / (rows + 1) + 3 * errors).all(), means
    assert (np.abs(means - 19 / 21) < 4 * errors).all(), means
