"""A coverage that a recipe cannot promise, and a confidence that a run does not have."""

import numpy as np
import pytest

from keras_transfer import ConfigError, TrainingError
from keras_transfer.config.recipe_file import parse_recipe
from keras_transfer.config.schema import HeadConfig
from keras_transfer.heads import ClassificationHead, MultilabelHead, NumberHead, TargetHead, make_head
from keras_transfer.run.predicted import check_min_confidence

TWO = ("cat", "dog")


def parse(coverage, **data):
    values = {"task": "image_classification", "data": {"source": "x", **data}, "head": {"coverage": coverage}}
    return parse_recipe(values, known={}, where="It")


@pytest.mark.parametrize(
    ("coverage", "data", "message"),
    [
        (90.0, {}, r"head\.coverage: .*less than 1.*Received: 90\.0"),
        (1.0, {}, r"head\.coverage: .*less than 1"),
        (0.0, {}, r"head\.coverage: .*greater than 0"),
        ("high", {}, r"head\.coverage: .*number"),
        (0.9, {"validation": 0.0}, r"head\.coverage: .* validation rows, and data\.validation is 0.*Set data\.validat"),
        (
            0.9,
            {"validation": 0.0, "target": "number", "label": "x"},
            r"head\.coverage: .* data\.validation is 0\. Received: 0\.9\. Set data\.validation, or leave",
        ),
    ],
    ids=["percent", "all", "none", "word", "no validation rows", "numbers without validation rows"],
)
def test_a_recipe_is_refused(coverage, data, message):
    with pytest.raises(ConfigError, match=message):
        parse(coverage, **data)


@pytest.mark.parametrize("head", [ClassificationHead, MultilabelHead, NumberHead])
@pytest.mark.parametrize(
    ("rows", "coverage", "message"),
    [
        (8, 0.9, r"0\.9 needs at least 9 validation rows\. Received: 8\. .* lower head\.coverage to 0\.88 at most"),
        (90, 0.99, r"0\.99 needs at least 99 validation rows\. Received: 90\. .* to 0\.989 at most"),
        (0, 0.9, r"0\.9 needs at least 9 validation rows\. Received: 0\. .* or leave head\.coverage out"),
    ],
)
def test_too_few_validation_rows_are_an_error_before_training(head, rows, coverage, message):
    targets = np.arange(200) % 2 if head is ClassificationHead else np.eye(2, dtype=np.float32)[np.arange(200) % 2]
    made = head.fit(TWO, HeadConfig(coverage=coverage), targets)
    made.check_validation(targets[:99])
    with pytest.raises(ConfigError, match=rf"head\.coverage: {message}"):
        made.check_validation(targets[:rows])


def test_the_coverage_that_an_error_names_is_possible():
    for rows in (1, 2, 3, 7, 8, 40, 90, 98, 99, 100, 999):
        head = NumberHead.fit(("x",), HeadConfig(coverage=0.9999), np.ones((3, 1)))
        with pytest.raises(ConfigError) as caught:
            head.check_validation(np.ones((rows, 1)))
        most = float(str(caught.value).split("lower head.coverage to ")[1].split()[0])
        NumberHead.fit(("x",), HeadConfig(coverage=most), np.ones((3, 1))).check_validation(np.ones((rows, 1)))


def test_thresholds_of_labels_need_validation_rows_too():
    head = MultilabelHead.fit(TWO, HeadConfig(threshold={"metric": "f1"}), np.eye(2))
    with pytest.raises(ConfigError, match=r"head\.threshold: .* there are none\. Increase data\.validation"):
        head.check_validation(np.zeros((0, 2), np.float32))


def test_a_head_without_sets_refuses_a_coverage(monkeypatch):
    monkeypatch.setattr(ClassificationHead, "has_coverage", TargetHead.has_coverage)
    with pytest.raises(ConfigError, match=r"head\.coverage: the head ClassificationHead predicts no sets"):
        make_head(parse(0.9), TWO, np.arange(2))


@pytest.mark.parametrize(
    ("head", "targets"),
    [(ClassificationHead, np.arange(20) % 2), (NumberHead, np.ones((20, 2), np.float32))],
    ids=["class", "number"],
)
def test_a_coverage_is_refused_for_predictions_that_are_nan(head, targets):
    predicted = np.full((20, 2), 0.5, np.float32)
    predicted[3, 0] = np.nan
    made = head.fit(TWO, HeadConfig(coverage=0.9), targets)
    with pytest.raises(TrainingError, match="NaN"):
        made.choose_coverage(predicted, targets)


@pytest.mark.parametrize(
    "coverage",
    [
        None,
        {"promised": 0.9, "rows": 20},
        {"promised": 0.8, "rows": 20, "bounds": 0.2},
        {"promised": 0.9, "rows": 20, "bounds": float("nan")},
        {"promised": 0.9, "rows": 20, "bounds": -0.1},
        {"promised": 0.9, "rows": 20, "bounds": "0.1"},
        {"promised": 0.9, "rows": 20, "bounds": {"cat": 0.1}},
    ],
    ids=["missing", "no bound", "another promise", "NaN", "negative", "a text", "of one class"],
)
def test_an_invalid_coverage_in_a_run_folder(coverage):
    facts = {} if coverage is None else {"coverage": coverage}
    with pytest.raises((KeyError, ValueError), match=r"bounds|coverage|value"):
        ClassificationHead.restore(TWO, HeadConfig(coverage=0.9), facts)


@pytest.mark.parametrize(
    ("head", "confidence", "message"),
    [
        (ClassificationHead(TWO, HeadConfig()), 1.5, r"expected a probability, from 0 to 1\. Received: 1\.5"),
        (ClassificationHead(TWO, HeadConfig()), float("nan"), r"expected a probability, from 0 to 1\. Received: nan"),
        (
            NumberHead(("x",), HeadConfig(), (0.0,), (1.0,)),
            0.5,
            r"this run predicts values, which have none\. Leave it out\. head\.coverage .* an interval",
        ),
    ],
    ids=["above 1", "NaN", "numbers"],
)
def test_a_confidence_that_predictions_do_not_have(head, confidence, message):
    with pytest.raises(ConfigError, match=rf"--min-confidence \(min_confidence\).*{message}"):
        check_min_confidence(head, confidence)
