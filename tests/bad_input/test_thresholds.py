"""Thresholds that a recipe cannot have."""

import numpy as np
import pytest

from keras_transfer import ConfigError
from keras_transfer.config.recipe_file import parse_recipe
from keras_transfer.config.schema import HeadConfig
from keras_transfer.heads import ClassificationHead, MultilabelHead, TargetHead, make_head


def parse(threshold, **data):
    values = {"task": "image_classification", "data": {"source": "x", **data}, "head": {"threshold": threshold}}
    return parse_recipe(values, known={}, where="It")


@pytest.mark.parametrize(
    ("threshold", "data", "message"),
    [
        ({}, {}, r"head\.threshold: expected one of value, metric and costs\. Received: none of them"),
        ({"positive": "dog"}, {}, r"expected one of value, metric and costs\. Received: none of them"),
        ({"value": 0.3, "metric": "f1"}, {}, r"Received: value, metric\. Keep one"),
        ({"value": 1.0}, {}, r"head\.threshold\.value: .*less than 1"),
        ({"value": {}}, {}, r"head\.threshold\.value: "),
        ({"metric": "f2"}, {}, r"head\.threshold\.metric: .*f1.*Received: 'f2'"),
        ({"metrics": "f1"}, {}, r"head\.threshold\.metrics: .*Did you mean metric\?"),
        (
            {"metric": "f1"},
            {"validation": 0.0},
            r"head\.threshold\.metric: .* validation rows, and data\.validation is 0",
        ),
        ({"costs": {"a": 1.0}}, {"validation": 0.0}, r"head\.threshold\.costs: .* data\.validation is 0"),
        ({"costs": {"a": -1.0}}, {}, r"head\.threshold\.costs\.a: .*greater than 0"),
        ({"value": 0.3}, {"target": "number", "label": "x"}, r"head\.threshold: numbers have no thresholds"),
        (
            {"value": 0.3, "positive": "a"},
            {"target": "multilabel", "label": ["a", "b"]},
            r"head\.threshold\.positive: each label has a threshold of its own",
        ),
        ({"costs": {"a": 1.0}, "positive": "a"}, {}, r"head\.threshold\.positive: head\.threshold\.costs names both"),
    ],
)
def test_a_recipe_is_refused(threshold, data, message):
    with pytest.raises(ConfigError, match=message):
        parse(threshold, **data)


TWO, THREE = ("cat", "dog"), ("cat", "dog", "owl")


@pytest.mark.parametrize(
    ("head", "names", "threshold", "message"),
    [
        (ClassificationHead, TWO, {"value": {"dgo": 0.3}}, r"value: there is no class 'dgo'\. Did you mean dog\?"),
        (ClassificationHead, TWO, {"value": 0.3, "positive": "Dog"}, r"positive: there is no class 'Dog'"),
        (ClassificationHead, TWO, {"value": {"cat": 0.3, "dog": 0.3}}, r"value: two classes have one threshold"),
        (ClassificationHead, TWO, {"value": {"cat": 0.3}, "positive": "dog"}, r"value: two classes have one threshold"),
        (ClassificationHead, TWO, {"costs": {"dog": 2.0}}, r"costs: no cost for 'cat'\. Name every class\."),
        (ClassificationHead, THREE, {"value": 0.3}, r"value: a single number requires exactly two classes.*: 3"),
        (ClassificationHead, THREE, {"value": {"cat": 0.3}}, r"value: no threshold for 'dog', 'owl'"),
        (ClassificationHead, THREE, {"metric": "f1", "positive": "cat"}, r"positive: requires exactly two classes"),
        (MultilabelHead, THREE, {"value": {"cow": 0.3}}, r"value: there is no label 'cow'"),
        (MultilabelHead, THREE, {"costs": {"cat": 2.0}}, r"costs: no cost for 'dog', 'owl'\. Name every label\."),
    ],
)
def test_names_are_checked_before_training(head, names, threshold, message):
    targets = np.arange(len(names)) if head is ClassificationHead else np.eye(len(names))
    with pytest.raises(ConfigError, match=rf"head\.threshold\.{message}"):
        head.fit(names, HeadConfig(threshold=threshold), targets)


def test_a_threshold_cannot_be_chosen_for_a_class_without_validation_rows():
    head = ClassificationHead.fit(THREE, HeadConfig(threshold={"metric": "f1"}), np.arange(3))
    head.check_validation(np.array([0, 1, 2]))
    with pytest.raises(ConfigError, match=r"these classes have none: 'owl'\. Increase data\.validation"):
        head.check_validation(np.array([0, 1, 1]))


def test_a_head_without_decisions_refuses_thresholds(monkeypatch):
    monkeypatch.setattr(ClassificationHead, "has_thresholds", TargetHead.has_thresholds)
    with pytest.raises(ConfigError, match=r"head\.threshold: the head ClassificationHead has no decision thresholds"):
        make_head(parse({"value": 0.3}), TWO, np.arange(2))


@pytest.mark.parametrize(
    "facts",
    [
        {"thresholds": {"cat": float("nan"), "dog": 0.5}},
        {"thresholds": {"cat": 0.5, "dog": 2.0}},
        {"thresholds": {"cat": "0.5", "dog": 0.5}},
        {"thresholds": {"cat": 0.5}},
        {"thresholds": {"cat": 0.5, "dog": 0.5}, "positive": "owl"},
    ],
    ids=str,
)
def test_invalid_thresholds_in_a_run_folder(facts):
    with pytest.raises(ValueError, match="threshold"):
        ClassificationHead.restore(TWO, HeadConfig(threshold={"value": 0.5}), facts)
